// SPDX-License-Identifier: Apache-2.0

/// The prefix cache on the workloads of workloads.h. Times are of the manager's
/// own calls: an insertion includes taking the block, an eviction giving it to
/// a sequence, a match copying the block ids out.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"

#include "benchmarks/workloads.h"
#include "pagedkv/kv_cache_manager.h"

namespace pagedkv {
namespace {

using Clock = std::chrono::steady_clock;
using workloads::Require;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Setup {
  BlockCount blocks = workloads::kPoolBlocks;
  TokenCount max_tokens{8192};
  std::string policy = "lru";
  bool vllm_compatible = false;
  bool explain_misses = false;
  double lifetime_sample_rate = 0;
  bool events = false;
  bool digest = false;
};

KvCacheManager MakeManager(const Setup& setup) {
  return *KvCacheManager::Create(
      {.pool = {.num_blocks = setup.blocks, .prefix_caching = true},
       .groups = {{.block_size = workloads::kBlockSize}},
       .max_sequence_tokens = setup.max_tokens,
       .prefix_cache = {
           .secret = 1,
           .content_hash =
               setup.events ? std::optional(ContentHashOptions{
                                  .algorithm = BlockHashAlgorithm::kXxh3Cbor})
                            : std::nullopt,
           .events = setup.events,
           .vllm_compatible = setup.vllm_compatible,
           .eviction_policy = setup.policy,
           .explain_misses = setup.explain_misses,
           .lifetime_sample_rate = setup.lifetime_sample_rate}});
}

std::vector<TokenId> Tokens(std::size_t count, std::uint64_t seed) {
  std::vector<TokenId> tokens(count);
  workloads::FillTokens(tokens, seed);
  return tokens;
}

// A sequence with all of `tokens`, shared from the cache as far as they are.
SequenceId Admit(KvCacheManager& manager, std::span<const TokenId> tokens,
                 PrefixMatch& match) {
  const SequenceId sequence = *manager.AddSequence();
  Require(manager.Match(sequence, tokens, match).ok());
  const TokenCount count(static_cast<std::int64_t>(tokens.size()));
  Require(*manager.TryAppend(sequence, count - match.num_tokens,
                             {.tokens = tokens, .match = &match}));
  return sequence;
}

void Insert(KvCacheManager& manager, std::span<const TokenId> tokens) {
  const SequenceId sequence = *manager.AddSequence();
  const TokenCount count(static_cast<std::int64_t>(tokens.size()));
  Require(*manager.TryAppend(sequence, count, tokens));
  Require(manager.Release(sequence).ok());
  manager.ClearDirty();
}

// Workload b with a full pool: every block evicts another.
void SequenceLife(benchmark::State& state, const Setup& setup) {
  KvCacheManager manager = MakeManager(setup);
  if (setup.digest) Require(manager.index_digest().ok());
  constexpr std::size_t kSequences = 2000;  // twice what the pool holds
  constexpr std::size_t kPrompt = 1024;
  std::vector<std::vector<TokenId>> sequences;
  for (std::size_t i = 0; i < kSequences; ++i) {
    sequences.push_back(Tokens(kPrompt + workloads::kDecodeTokens, i));
  }
  PrefixMatch match;
  std::size_t next = 0;
  const auto live = [&] {
    const std::span<const TokenId> tokens = sequences[next];
    next = (next + 1) % kSequences;
    const SequenceId sequence = Admit(manager, tokens.first(kPrompt), match);
    for (std::size_t i = 1; i <= workloads::kDecodeTokens; ++i) {
      benchmark::DoNotOptimize(*manager.TryAppend(sequence, TokenCount(1),
                                                  tokens.first(kPrompt + i)));
    }
    Require(manager.Release(sequence).ok());
    manager.ClearDirty();
    if (setup.events) benchmark::DoNotOptimize(manager.TakeEvents());
  };
  for (std::size_t i = 0; i < kSequences; ++i) live();
  for (auto _ : state) live();
}
BENCHMARK_CAPTURE(SequenceLife, lru, Setup{});
BENCHMARK_CAPTURE(SequenceLife, vllm_compatible,
                  Setup{.vllm_compatible = true});
BENCHMARK_CAPTURE(SequenceLife, s3_fifo, Setup{.policy = "s3-fifo"});
BENCHMARK_CAPTURE(SequenceLife, gdsf, Setup{.policy = "gdsf"});
BENCHMARK_CAPTURE(SequenceLife, explain_misses, Setup{.explain_misses = true});
BENCHMARK_CAPTURE(SequenceLife, lifetimes, Setup{.lifetime_sample_rate = 0.01});
BENCHMARK_CAPTURE(SequenceLife, events, Setup{.events = true});
BENCHMARK_CAPTURE(SequenceLife, digest, Setup{.events = true, .digest = true});

// One append of workload b, its share of new and of evicted blocks included.
void BM_Append(benchmark::State& state) {
  KvCacheManager manager = MakeManager({});
  constexpr std::size_t kPrompt = 1024;
  for (std::size_t i = 0; i < 1000; ++i) Insert(manager, Tokens(1152, i));
  const std::vector<TokenId> tokens = Tokens(8192, 1u << 20);
  PrefixMatch match;
  double seconds = 0;
  std::int64_t appends = 0;
  for (auto _ : state) {
    const SequenceId sequence =
        Admit(manager, std::span(tokens).first(kPrompt), match);
    const auto start = Clock::now();
    for (std::size_t i = kPrompt + 1; i <= tokens.size(); ++i) {
      benchmark::DoNotOptimize(*manager.TryAppend(sequence, TokenCount(1),
                                                  std::span(tokens).first(i)));
    }
    seconds = SecondsSince(start);
    state.SetIterationTime(seconds);
    appends += static_cast<std::int64_t>(tokens.size() - kPrompt);
    Require(manager.Release(sequence).ok());
    Require(manager.ResetPrefixCache());
    manager.ClearDirty();
  }
  state.SetItemsProcessed(appends);
}
BENCHMARK(BM_Append)->UseManualTime();

// Workload c1: match 128 shared and 4 own blocks; then the same with admission
// and release.
std::vector<std::vector<TokenId>> SharedPrefixSequences() {
  const std::vector<TokenId> shared = Tokens(2048, 11);
  std::vector<std::vector<TokenId>> sequences;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    sequences.push_back(shared);
    const std::vector<TokenId> own = Tokens(64, 1000 + i);
    sequences.back().insert(sequences.back().end(), own.begin(), own.end());
  }
  return sequences;
}

void BM_MatchShared(benchmark::State& state) {
  KvCacheManager manager = MakeManager({});
  const auto sequences = SharedPrefixSequences();
  Insert(manager, sequences[0]);
  PrefixMatch match;
  std::size_t next = 1;
  for (auto _ : state) {
    manager.Match(sequences[next], ContentKeys{}, match);
    benchmark::DoNotOptimize(match.blocks[0].data());
    if (++next == sequences.size()) next = 1;
  }
  Require(match.num_tokens == TokenCount(2048));
}
BENCHMARK(BM_MatchShared);

void BM_AdmitShared(benchmark::State& state) {
  KvCacheManager manager = MakeManager({});
  const auto sequences = SharedPrefixSequences();
  for (const auto& tokens : sequences) Insert(manager, tokens);
  PrefixMatch match;
  std::size_t next = 0;
  for (auto _ : state) {
    const SequenceId sequence = Admit(manager, sequences[next], match);
    Require(manager.Release(sequence).ok());
    manager.ClearDirty();
    next = (next + 1) % sequences.size();
  }
}
BENCHMARK(BM_AdmitShared);

// Workload c2: `range` cached blocks, as unrelated sequences of 64 blocks or as
// a tree of 25 x 25 x 25 paths of 16 + 16 + 63 blocks. Queries in random order,
// so that what they touch is in no cache.
struct Corpus {
  bool is_tree = false;
  std::int64_t sequences = 0;

  [[nodiscard]] std::int64_t blocks_per_sequence() const {
    return is_tree ? 95 : 64;
  }
  [[nodiscard]] std::vector<TokenId> sequence(std::int64_t i) const {
    const auto seed = static_cast<std::uint64_t>(i);
    if (!is_tree) return Tokens(64 * 16, 500000 + seed);
    std::vector<TokenId> tokens(95 * 16);
    const std::span<TokenId> all(tokens);
    workloads::FillTokens(all.subspan(0, 256), 700000 + seed / 625);
    workloads::FillTokens(all.subspan(256, 256), 710000 + seed / 25);
    workloads::FillTokens(all.subspan(512), 800000 + seed);
    return tokens;
  }
};

Corpus CorpusOf(const benchmark::State& state) {
  if (state.range(1) != 0) return {.is_tree = true, .sequences = 25 * 25 * 25};
  return {.is_tree = false, .sequences = state.range(0) / 64};
}

double Fill(KvCacheManager& manager, const Corpus& corpus) {
  double seconds = 0;
  PrefixMatch match;
  for (std::int64_t i = 0; i < corpus.sequences; ++i) {
    const std::vector<TokenId> tokens = corpus.sequence(i);
    const auto start = Clock::now();
    const SequenceId sequence = Admit(manager, tokens, match);
    Require(manager.Release(sequence).ok());
    seconds += SecondsSince(start);
    manager.ClearDirty();
  }
  return seconds;
}

void BM_MatchCold(benchmark::State& state) {
  const Corpus corpus = CorpusOf(state);
  KvCacheManager manager =
      MakeManager({.blocks = BlockCount(state.range(0) + state.range(0) / 64)});
  Fill(manager, corpus);
  std::vector<std::int64_t> order(static_cast<std::size_t>(corpus.sequences));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(77));
  PrefixMatch match;
  std::size_t next = 0;
  std::int64_t found = 0;
  for (auto _ : state) {
    std::vector<TokenId> tokens = corpus.sequence(order[next]);
    tokens.push_back(0);  // so that the last block can be hit
    next = (next + 1) % order.size();
    const auto start = Clock::now();
    manager.Match(tokens, ContentKeys{}, match);
    state.SetIterationTime(SecondsSince(start));
    found += static_cast<std::int64_t>(match.blocks[0].size());
  }
  Require(found == corpus.blocks_per_sequence() * state.iterations());
  state.SetItemsProcessed(found);
}
BENCHMARK(BM_MatchCold)
    ->ArgNames({"blocks", "tree"})
    ->Args({10'000, 0})
    ->Args({100'000, 0})
    ->Args({1'000'000, 0})
    ->Args({10'000'000, 0})
    ->Args({1'000'000, 1})
    ->UseManualTime();

// Admission and release of sequences that are new, in a pool with room: per
// block, its share of the sequence included. Memory is what the index holds per
// block beside the 64 bytes of its tokens.
void BM_InsertNew(benchmark::State& state) {
  const Corpus corpus = CorpusOf(state);
  std::int64_t blocks = 0;
  for (auto _ : state) {
    KvCacheManager manager = MakeManager(
        {.blocks = BlockCount(state.range(0) + state.range(0) / 64)});
    state.SetIterationTime(Fill(manager, corpus));
    const std::int64_t inserted = manager.prefix_cache_metrics().blocks_stored;
    blocks += inserted;
    state.counters["index_bytes_per_block"] =
        static_cast<double>(manager.prefix_cache_bytes().value()) /
            static_cast<double>(inserted) -
        64.0;
  }
  state.SetItemsProcessed(blocks);
}
BENCHMARK(BM_InsertNew)
    ->ArgNames({"blocks", "tree"})
    ->Args({10'000, 0})
    ->Args({1'000'000, 0})
    ->Args({10'000'000, 0})
    ->Args({1'000'000, 1})
    ->UseManualTime();

// Workload d: the pool is full of cached blocks that nobody uses, and a
// sequence grows by `batch` blocks at a time. `pinned`: the oldest blocks are
// in use; `length`: blocks of the finished sequences.
void Evict(benchmark::State& state, const Setup& setup) {
  const std::int64_t batch = state.range(0);
  const std::int64_t pinned = state.range(1);
  const std::int64_t length = state.range(2);
  Setup large = setup;
  large.max_tokens = TokenCount(16 * 32768);
  std::int64_t evicted = 0;
  for (auto _ : state) {
    KvCacheManager manager = MakeManager(large);
    PrefixMatch match;
    const auto finish = [&](std::int64_t blocks, std::uint64_t seed) {
      return Admit(manager, Tokens(static_cast<std::size_t>(16 * blocks), seed),
                   match);
    };
    // One sequence holds the oldest blocks: rows of its own would only cool
    // the cache.
    if (pinned > 0) finish(pinned, 900000);
    for (std::int64_t i = 0; i < (65535 - pinned) / length; ++i) {
      const auto seed = static_cast<std::uint64_t>(900001 + i);
      Require(manager.Release(finish(length, seed)).ok());
    }
    manager.ClearDirty();
    const SequenceId growing = *manager.AddSequence();
    const auto stored = manager.prefix_cache_metrics().blocks_evicted;
    const auto start = Clock::now();
    for (std::int64_t i = 0; i < 32768; i += batch) {
      benchmark::DoNotOptimize(
          *manager.TryAppend(growing, TokenCount(16 * batch)));
    }
    state.SetIterationTime(SecondsSince(start));
    evicted += manager.prefix_cache_metrics().blocks_evicted - stored;
  }
  state.SetItemsProcessed(evicted);
}
void EvictionCases(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"batch", "pinned", "length"})
      ->Args({1, 0, 64})
      ->Args({64, 0, 64})
      ->Args({1, 16384, 64})
      ->Args({64, 16384, 64})
      ->Args({1, 0, 8192})
      ->Args({64, 0, 8192})
      ->UseManualTime();
}
BENCHMARK_CAPTURE(Evict, lru, Setup{})->Apply(EvictionCases);
BENCHMARK_CAPTURE(Evict, vllm_compatible, Setup{.vllm_compatible = true})
    ->ArgNames({"batch", "pinned", "length"})
    ->Args({1, 0, 64})
    ->Args({64, 0, 64})
    ->UseManualTime();
BENCHMARK_CAPTURE(Evict, sieve, Setup{.policy = "sieve"})
    ->ArgNames({"batch", "pinned", "length"})
    ->Args({64, 0, 64})
    ->Args({64, 16384, 64})
    ->UseManualTime();

}  // namespace
}  // namespace pagedkv
