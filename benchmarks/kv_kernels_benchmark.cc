// SPDX-License-Identifier: Apache-2.0
//
// Bandwidth of scatter and gather, beside that of memcpy.
//   BM_Scatter/<dtype>/<tokens>: rows of fp16, as a model computes, into blocks
//       of the dtype with its usual scales.
//   BM_Gather/<dtype>/<tokens>: back to rows of fp16, from one sequence.
//   BM_Memcpy/<tokens>: the fp16 bytes of so many tokens.
// Keys of 8 heads of 128 elements, 16 tokens in a block, blocks in random order
// in 256 MiB of fp16; rows in as much memory, gone through in order. A call has
// 2,048 tokens: a step's prefill chunk, 4 MiB of fp16.
//
// bytes_per_second counts source bytes read plus target bytes written, scales
// included; for memcpy, so, twice the bytes copied. Compare it:
//   kv_kernels_benchmark --benchmark_repetitions=9
//       --benchmark_enable_random_interleaving=true
//       --benchmark_report_aggregates_only=true
// and take the ratio of the medians.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"

#include "pagedkv/host_block_storage.h"
#include "pagedkv/kv_geometry.h"
#include "pagedkv/kv_kernels.h"
#include "pagedkv/kv_layout.h"

namespace pagedkv {
namespace {

constexpr std::int32_t kHeads = 8;
constexpr std::int32_t kHeadSize = 128;
constexpr std::int32_t kBlockSize = 16;
constexpr std::int64_t kTokens = 2048;
constexpr std::int64_t kRowBytes = std::int64_t{kHeads} * kHeadSize * 2;
constexpr std::int64_t kAllTokens = (std::int64_t{256} << 20) / kRowBytes;

// A storage for all tokens, blocks that are handed out in random order, and
// rows for all tokens.
class Data {
 public:
  explicit Data(KvDtype dtype)
      : rows_(static_cast<std::size_t>(kAllTokens * kRowBytes)) {
    KvLayer layer;
    layer.key = {kHeads, kHeadSize, KvFormat::For(dtype)};
    const BlockCount num_blocks(kAllTokens / kBlockSize + 1);
    const auto layout =
        KvLayout::Create({.num_blocks = num_blocks,
                          .groups = {{BlockSize(kBlockSize), {layer}}},
                          .alignment = 64});
    if (!layout.ok()) return;
    auto storage = HostBlockStorage::Create(
        {.layout = layout->storage_layout(), .huge_pages = true});
    if (!storage.ok()) return;
    storage_ = *std::move(storage);
    view_ = layout->View(*storage_, 0, 0, KvRole::kKey);
    bytes_per_block_ =
        layout->storage_layout().groups[0].layers[0].bytes_per_block;

    std::mt19937 random(1);
    for (std::size_t i = 0; i < rows_.size(); i += 2) {
      // fp16 from 2^-7 to 4, either sign.
      const auto bits = static_cast<std::uint32_t>(random()) % 0x2400 + 0x2000;
      rows_[i] = static_cast<std::byte>(bits & 0xff);
      rows_[i + 1] = static_cast<std::byte>(bits >> 8 | (random() & 0x80));
    }
    for (std::int32_t id = 1; id < num_blocks.value(); ++id) {
      table_.push_back(BlockId(id));
    }
    std::shuffle(table_.begin(), table_.end(), random);
    for (std::int64_t t = 0; t < kAllTokens; ++t) {
      slots_.push_back(
          std::int64_t{
              table_[static_cast<std::size_t>(t / kBlockSize)].value()} *
              kBlockSize +
          t % kBlockSize);
    }
    ok_ = Scatter(0, kAllTokens);
  }

  [[nodiscard]] bool ok() const { return ok_; }
  bool Scatter(std::int64_t first, std::int64_t count) {
    return ScatterKv(view_,
                     {rows_.data() + first * kRowBytes, KvDtype::kFp16,
                      kHeads * kHeadSize, kHeadSize},
                     std::span(slots_).subspan(static_cast<std::size_t>(first),
                                               static_cast<std::size_t>(count)))
        .ok();
  }
  bool Gather(std::int64_t first, std::int64_t count) {
    return GatherKv(view_, table_, first, count,
                    {rows_.data() + first * kRowBytes, KvDtype::kFp16,
                     kHeads * kHeadSize, kHeadSize})
        .ok();
  }
  [[nodiscard]] std::int64_t bytes_per_token() const {
    return kRowBytes + bytes_per_block_.value() / kBlockSize;
  }

 private:
  std::vector<std::byte> rows_;
  std::unique_ptr<HostBlockStorage> storage_;
  KvTensorView view_;
  Bytes bytes_per_block_{0};
  std::vector<BlockId> table_;
  std::vector<std::int64_t> slots_;
  bool ok_ = false;
};

template <typename Kernel>
void Run(benchmark::State& state, KvDtype dtype, const Kernel& kernel) {
  Data data(dtype);
  bool ok = data.ok();
  std::int64_t first = 0;
  for (auto _ : state) {
    ok = ok && kernel(data, first);
    first = (first + kTokens) % kAllTokens;
  }
  if (!ok) state.SkipWithError("a kernel was refused");
  state.SetBytesProcessed(state.iterations() * kTokens *
                          data.bytes_per_token());
}

void BM_Scatter(benchmark::State& state, KvDtype dtype) {
  Run(state, dtype, [](Data& data, std::int64_t first) {
    return data.Scatter(first, kTokens);
  });
}

void BM_Gather(benchmark::State& state, KvDtype dtype) {
  Run(state, dtype, [](Data& data, std::int64_t first) {
    return data.Gather(first, kTokens);
  });
}

#define FOR_EACH_DTYPE(kernel)                            \
  BENCHMARK_CAPTURE(kernel, fp32, KvDtype::kFp32);        \
  BENCHMARK_CAPTURE(kernel, fp16, KvDtype::kFp16);        \
  BENCHMARK_CAPTURE(kernel, bf16, KvDtype::kBf16);        \
  BENCHMARK_CAPTURE(kernel, fp8, KvDtype::kFp8);          \
  BENCHMARK_CAPTURE(kernel, fp8_e5m2, KvDtype::kFp8E5m2); \
  BENCHMARK_CAPTURE(kernel, int8, KvDtype::kInt8);        \
  BENCHMARK_CAPTURE(kernel, int4, KvDtype::kInt4);        \
  BENCHMARK_CAPTURE(kernel, int2, KvDtype::kInt2)
FOR_EACH_DTYPE(BM_Scatter);
FOR_EACH_DTYPE(BM_Gather);
#undef FOR_EACH_DTYPE

void BM_Memcpy(benchmark::State& state) {
  std::vector<std::byte> from(static_cast<std::size_t>(kAllTokens * kRowBytes),
                              std::byte{1});
  std::vector<std::byte> to(from.size(), std::byte{2});
  std::int64_t first = 0;
  for (auto _ : state) {
    std::memcpy(to.data() + first * kRowBytes, from.data() + first * kRowBytes,
                static_cast<std::size_t>(kTokens * kRowBytes));
    benchmark::ClobberMemory();
    first = (first + kTokens) % kAllTokens;
  }
  state.SetBytesProcessed(state.iterations() * kTokens * kRowBytes * 2);
}
BENCHMARK(BM_Memcpy);

}  // namespace
}  // namespace pagedkv
