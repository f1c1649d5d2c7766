// SPDX-License-Identifier: Apache-2.0
//
// Planning and doing the transfer of one sequence between peers that keep keys
// and values differently: 1,024 tokens of Llama-3-8B (32 layers, 8 KV heads of
// 128 elements, fp16), 128 MiB, in scattered blocks.
//   BM_Create/<pair>: what is done once, when peers meet.
//   BM_Copies/<pair>: the list of copies for a sequence; `block` is the time
//   for
//       16 tokens, `copies` the length of the list.
//   BM_Execute/<pair>: doing that list on one thread.
//   BM_Memcpy: the same number of bytes at once.
//   BM_Check/<pair>: proving such a list.
// The pairs, source to destination, blocks of 16 tokens unless said otherwise:
//   same, block_first (both sides), nhd_to_hnd, block_16_to_64, tp_1_to_4, all
//   (nhd, K and V apart, TP 1 to hnd, block first, blocks of 64, TP 4).
// Compare bytes_per_second of BM_Execute with that of BM_Memcpy.

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"

#include "pagedkv/kv_transfer_plan.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kTokens = 1024;
constexpr std::int32_t kLayers = 32;
constexpr std::int32_t kHeads = 8;
constexpr std::int32_t kHeadSize = 128;

struct SideOptions {
  KvOrder order = KvOrder::kNhd;
  KvArrangement arrangement = KvArrangement::kSplit;
  std::int32_t block_size = 16;
  std::int32_t tensor_parallel = 1;
};

struct PairOptions {
  const char* name;
  SideOptions source;
  SideOptions destination;
};

constexpr SideOptions kBlockFirst = {.arrangement = KvArrangement::kBlockFirst};
constexpr PairOptions kPairs[] = {
    {"same", {}, {}},
    {"block_first", kBlockFirst, kBlockFirst},
    {"nhd_to_hnd", {}, {.order = KvOrder::kHnd}},
    {"block_16_to_64", {}, {.block_size = 64}},
    {"tp_1_to_4", {}, {.tensor_parallel = 4}},
    {"all",
     {},
     {.order = KvOrder::kHnd,
      .arrangement = KvArrangement::kBlockFirst,
      .block_size = 64,
      .tensor_parallel = 4}},
};

std::vector<KvLayer> Layers(std::int32_t heads) {
  KvLayer layer;
  layer.key = layer.value = {heads, kHeadSize, {}};
  return std::vector<KvLayer>(kLayers, layer);
}

// The ranks of a peer, with a sequence in blocks of random order.
class Side {
 public:
  Side(const SideOptions& options, std::uint64_t seed) {
    const std::int64_t num_blocks = kTokens / options.block_size + 1;
    for (std::int32_t id = 1; id < num_blocks; ++id) {
      blocks_.push_back(BlockId(id));
    }
    std::mt19937_64 random(seed);
    std::shuffle(blocks_.begin(), blocks_.end(), random);
    table_ = blocks_;
    tables_ = {&table_, 1};

    KvLayoutOptions layout;
    layout.num_blocks = BlockCount(num_blocks);
    layout.groups = {{BlockSize(options.block_size),
                      Layers(kHeads / options.tensor_parallel)}};
    layout.order = options.order;
    layout.arrangement = options.arrangement;
    for (std::int32_t rank = 0; rank < options.tensor_parallel; ++rank) {
      ranks_.push_back({.shard = {rank, options.tensor_parallel},
                        .layout = *KvLayout::Create(layout)});
    }
  }
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  void Allocate() {
    for (const KvTransferRank& rank : ranks_) {
      const BlockStorageLayout& storage = rank.layout.storage_layout();
      std::vector<std::byte*>& arenas = arenas_.emplace_back();
      for (const LayerLayout& layer : storage.groups[0].layers) {
        memory_.emplace_back(
            static_cast<std::size_t>(layer.bytes_per_block.value() *
                                     storage.num_blocks.value()),
            std::byte{1});
        arenas.push_back(memory_.back().data());
      }
    }
    arena_spans_.assign(arenas_.begin(), arenas_.end());
  }

  [[nodiscard]] const std::vector<KvTransferRank>& ranks() const {
    return ranks_;
  }
  [[nodiscard]] std::span<const KvTables> tables() const {
    return {&tables_, 1};
  }
  [[nodiscard]] std::span<const KvArenas> arenas() const {
    return arena_spans_;
  }

 private:
  std::vector<BlockId> blocks_;
  std::span<const BlockId> table_;
  KvTables tables_;
  std::vector<KvTransferRank> ranks_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<std::vector<std::byte*>> arenas_;
  std::vector<KvArenas> arena_spans_;
};

struct Pair {
  explicit Pair(const PairOptions& options)
      : source(options.source, 1), destination(options.destination, 2) {
    peers = {.model = Layers(kHeads),
             .source = source.ranks(),
             .destination = destination.ranks()};
    range = {.source = source.tables(),
             .destination = destination.tables(),
             .first = TokenCount(0),
             .num_tokens = TokenCount(kTokens)};
  }
  Side source;
  Side destination;
  KvTransferPeers peers;
  KvTransferRange range;
};

void BM_Create(benchmark::State& state, const PairOptions& options) {
  const Pair pair(options);
  for (auto _ : state) {
    auto plan = KvTransferPlan::Create(pair.peers);
    if (!plan.ok()) state.SkipWithError("no plan");
    benchmark::DoNotOptimize(plan);
  }
}

void BM_Copies(benchmark::State& state, const PairOptions& options) {
  const Pair pair(options);
  const auto plan = KvTransferPlan::Create(pair.peers);
  std::vector<KvCopy> copies;
  bool ok = plan.ok();
  for (auto _ : state) {
    ok = ok && plan->Copies(pair.range, copies).ok();
    benchmark::DoNotOptimize(copies.data());
  }
  if (!ok) state.SkipWithError("no copies");
  state.counters["copies"] = static_cast<double>(copies.size());
  state.counters["block"] = benchmark::Counter(
      kTokens / 16.0, benchmark::Counter::kIsIterationInvariantRate |
                          benchmark::Counter::kInvert);
}

void BM_Execute(benchmark::State& state, const PairOptions& options) {
  Pair pair(options);
  pair.source.Allocate();
  pair.destination.Allocate();
  const auto plan = KvTransferPlan::Create(pair.peers);
  std::vector<KvCopy> copies;
  if (!plan.ok() || !plan->Copies(pair.range, copies).ok()) {
    state.SkipWithError("no copies");
    return;
  }
  for (auto _ : state) {
    ExecuteKvCopies(copies, pair.source.arenas(), pair.destination.arenas());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * TotalBytes(copies).value());
}

void BM_Check(benchmark::State& state, const PairOptions& options) {
  const Pair pair(options);
  const auto plan = KvTransferPlan::Create(pair.peers);
  std::vector<KvCopy> copies;
  bool ok = plan.ok() && plan->Copies(pair.range, copies).ok();
  for (auto _ : state) {
    ok = ok && CheckKvCopies(pair.peers, pair.range, copies).ok();
  }
  if (!ok) state.SkipWithError("no copies");
}

void BM_Memcpy(benchmark::State& state) {
  const std::size_t bytes =
      std::size_t{2} * kLayers * kHeads * kHeadSize * 2 * kTokens;
  const std::vector<std::byte> from(bytes, std::byte{1});
  std::vector<std::byte> to(bytes);
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), bytes);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() *
                          static_cast<std::int64_t>(bytes));
}
BENCHMARK(BM_Memcpy)->Unit(benchmark::kMillisecond);

const bool kRegistered = [] {
  for (const PairOptions& pair : kPairs) {
    const auto add = [&](const char* name, auto* run,
                         benchmark::TimeUnit unit) {
      benchmark::RegisterBenchmark(
          (std::string(name) + "/" + pair.name).c_str(), run, pair)
          ->Unit(unit);
    };
    add("BM_Create", BM_Create, benchmark::kMicrosecond);
    add("BM_Copies", BM_Copies, benchmark::kMicrosecond);
    add("BM_Execute", BM_Execute, benchmark::kMillisecond);
    add("BM_Check", BM_Check, benchmark::kMillisecond);
  }
  return true;
}();

}  // namespace
}  // namespace pagedkv
