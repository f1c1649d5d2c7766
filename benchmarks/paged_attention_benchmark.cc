// SPDX-License-Identifier: Apache-2.0
//
// Attention over keys and values in blocks, in one thread: 8 KV heads of 128
// elements, each read by 4 query heads, in blocks of 16 tokens whose order is
// random.
//   BM_Decode/<dtype>/<tokens>: a step of sequences that have 1 query each, as
//       many as make 256 MiB in fp16. Keys and values read are counted, scales
//       included.
//   BM_Read, BM_Memcpy: a sum of 256 MiB, and a copy of them: what memory
//   gives. BM_Prefill/<tokens before>: a chunk of 512 tokens of one prompt,
//   fp16. Counts
//       multiplications and additions of the two matrix products, without what
//       the causal mask leaves out.
// <dtype> is an index of kKvDtypes. Medians of 5 runs; compare
// bytes_per_second.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"

#include "pagedkv/host_block_storage.h"
#include "pagedkv/kv_kernels.h"
#include "pagedkv/kv_layout.h"

namespace pagedkv {
namespace {

constexpr std::int32_t kKvHeads = 8;
constexpr std::int32_t kQueryHeads = 32;
constexpr std::int32_t kHeadSize = 128;
constexpr std::int32_t kBlockSize = 16;
constexpr std::size_t kReadBytes = std::size_t{256} << 20;

// Sequences of equal length with their tables, and rows for their queries.
class Cache {
 public:
  Cache(KvDtype dtype, std::int32_t num_sequences, std::int32_t num_tokens,
        std::int32_t num_queries)
      : num_tokens_(static_cast<std::size_t>(num_sequences), num_tokens),
        query_(RowElements(num_sequences * num_queries), 0.01F),
        output_(query_.size()) {
    KvLayer layer;
    layer.key = {kKvHeads, kHeadSize, KvFormat::For(dtype)};
    layer.value = layer.key;
    const std::int32_t per_sequence = num_tokens / kBlockSize;
    const std::int32_t num_blocks = num_sequences * per_sequence + 1;
    const auto layout =
        KvLayout::Create({.num_blocks = BlockCount(num_blocks),
                          .groups = {{BlockSize(kBlockSize), {layer}}},
                          .order = KvOrder::kHnd,
                          .alignment = 64});
    if (!layout.ok()) return;
    auto storage = HostBlockStorage::Create(
        {.layout = layout->storage_layout(), .huge_pages = true});
    if (!storage.ok()) return;
    storage_ = *std::move(storage);
    for (std::int32_t id = 0; id < num_blocks; ++id) blocks_.emplace_back(id);
    // A small number in every format, as a scale as well.
    ok_ = storage_->FillBlocks(blocks_, std::byte{0x2c}).ok();
    std::mt19937_64 random(1);
    for (std::size_t i = blocks_.size() - 1; i > 1; --i) {
      std::swap(blocks_[i], blocks_[1 + random() % i]);
    }
    for (std::int32_t i = 0; i < num_sequences; ++i) {
      tables_.push_back(blocks_.data() + 1 + i * per_sequence);
      query_begin_.push_back((i + 1) * num_queries);
    }
    args_.key = layout->View(*storage_, 0, 0, KvRole::kKey);
    args_.value = layout->View(*storage_, 0, 0, KvRole::kValue);
    args_.batch = {query_begin_, num_tokens_, tables_, {}};
    constexpr std::int64_t kRow = std::int64_t{kQueryHeads} * kHeadSize;
    args_.query = {.data = reinterpret_cast<const std::byte*>(query_.data()),
                   .token_stride = kRow,
                   .head_stride = kHeadSize};
    args_.num_query_heads = kQueryHeads;
    args_.output = {.data = reinterpret_cast<std::byte*>(output_.data()),
                    .token_stride = kRow,
                    .head_stride = kHeadSize};
    args_.softmax_scale = 0.09F;
  }

  [[nodiscard]] bool Attend() const {
    return ok_ && PagedAttention(args_).ok();
  }
  // Of all sequences.
  [[nodiscard]] std::int64_t num_bytes() const {
    return ok_ ? static_cast<std::int64_t>(num_tokens_.size()) *
                     num_tokens_[0] / kBlockSize *
                     (args_.key.block_stride + args_.value.block_stride)
               : 0;
  }

 private:
  static std::size_t RowElements(std::int32_t rows) {
    return static_cast<std::size_t>(rows) * kQueryHeads * kHeadSize;
  }

  std::vector<std::int32_t> query_begin_ = {0};
  std::vector<std::int32_t> num_tokens_;
  std::vector<float> query_;
  std::vector<float> output_;
  std::unique_ptr<BlockStorage> storage_;
  std::vector<BlockId> blocks_;
  std::vector<const BlockId*> tables_;
  PagedAttentionArgs args_;
  bool ok_ = false;
};

void Medians(benchmark::internal::Benchmark* benchmark) {
  benchmark->Repetitions(5)->ReportAggregatesOnly();
}

void BM_Decode(benchmark::State& state) {
  const KvDtype dtype = kKvDtypes[static_cast<std::size_t>(state.range(0))];
  const auto num_tokens = static_cast<std::int32_t>(state.range(1));
  const Cache cache(dtype, 65536 / num_tokens, num_tokens, 1);
  bool ok = true;
  for (auto _ : state) ok = ok && cache.Attend();
  if (!ok) state.SkipWithError("refused");
  state.SetLabel(std::string(KvDtypeName(dtype)));
  state.SetBytesProcessed(state.iterations() * cache.num_bytes());
}
BENCHMARK(BM_Decode)
    ->ArgsProduct({benchmark::CreateDenseRange(
                       0, static_cast<std::int64_t>(kKvDtypes.size()) - 1, 1),
                   {4096}})
    ->Unit(benchmark::kMillisecond)
    ->Apply(Medians);

void BM_Read(benchmark::State& state) {
  const std::vector<std::uint64_t> words(kReadBytes / sizeof(std::uint64_t), 1);
  for (auto _ : state) {
    std::uint64_t sum = 0;
    for (const std::uint64_t word : words) sum += word;
    benchmark::DoNotOptimize(sum);
  }
  state.SetBytesProcessed(state.iterations() *
                          static_cast<std::int64_t>(kReadBytes));
}
BENCHMARK(BM_Read)->Unit(benchmark::kMillisecond)->Apply(Medians);

void BM_Memcpy(benchmark::State& state) {
  const std::vector<std::byte> from(kReadBytes, std::byte{1});
  std::vector<std::byte> to(kReadBytes);
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), kReadBytes);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() *
                          static_cast<std::int64_t>(kReadBytes));
}
BENCHMARK(BM_Memcpy)->Unit(benchmark::kMillisecond)->Apply(Medians);

void BM_Prefill(benchmark::State& state) {
  constexpr std::int64_t kChunk = 512;
  const std::int64_t before = state.range(0);
  const Cache cache(KvDtype::kFp16, 1,
                    static_cast<std::int32_t>(before + kChunk), kChunk);
  bool ok = true;
  for (auto _ : state) ok = ok && cache.Attend();
  if (!ok) state.SkipWithError("refused");
  const std::int64_t pairs =
      kQueryHeads * (kChunk * before + kChunk * (kChunk + 1) / 2);
  state.counters["flops"] = benchmark::Counter(
      static_cast<double>(state.iterations() * pairs * 4 * kHeadSize),
      benchmark::Counter::kIsRate);
}
BENCHMARK(BM_Prefill)
    ->Arg(0)
    ->Arg(3584)
    ->Unit(benchmark::kMillisecond)
    ->Apply(Medians);

}  // namespace
}  // namespace pagedkv
