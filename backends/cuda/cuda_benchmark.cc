// SPDX-License-Identifier: Apache-2.0
//
// Speed of the CUDA backend, beside what the device itself does: prints a table
// for docs/benchmarks.md. No arguments.
//   copy:    lists of 512 block copies in a pool of 4 GiB with 32 layers,
//   beside
//            cudaMemcpyAsync of as many bytes within the device.
//   scatter, gather: 8,192 tokens of 8 heads of 128 elements, fp16 in rows and
//   in
//            blocks, beside the same.
//   swap:    lists of 256 MiB between the pool and pinned memory, random blocks
//            or runs of 64, beside cudaMemcpyAsync over the link.
//   decode:  attention of 64 sequences of 4,096 tokens, 64 query heads on 8 KV
//            heads of 128 elements: the bytes of keys and values per second,
//            beside what cudaMemcpyAsync within the device reads and writes.
// Medians of 9 runs of 10 calls, timed by events on the stream.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "cuda_runtime_api.h"

#include "backends/cuda/cuda_block_storage.h"
#include "backends/cuda/cuda_status.h"
#include "backends/cuda/kv_kernels.h"
#include "backends/cuda/pinned_memory.h"
#include "pagedkv/host_block_storage.h"
#include "pagedkv/kv_layout.h"

namespace pagedkv::cuda {
namespace {

constexpr std::int32_t kBlockSize = 16;
constexpr std::int64_t kGiB = std::int64_t{1} << 30;

// A benchmark that cannot be done ends the program.
void Must(const absl::Status& status) {
  if (status.ok()) return;
  absl::FPrintF(stderr, "%s\n", std::string(status.message()));
  std::exit(1);
}
template <typename Value>
Value Must(absl::StatusOr<Value> value) {
  Must(value.status());
  return *std::move(value);
}
void Must(cudaError_t error) { Must(RuntimeStatus(error, "CUDA")); }

// Memory of the device, given back at the end.
class Buffer {
 public:
  explicit Buffer(std::int64_t bytes)
      : address_(Must(CudaApi().Allocate(bytes))) {
    Must(cudaMemset(address_, 0, static_cast<std::size_t>(bytes)));
  }
  template <typename Item>
  explicit Buffer(const std::vector<Item>& items)
      : Buffer(static_cast<std::int64_t>(items.size() * sizeof(Item))) {
    Must(cudaMemcpy(address_, items.data(), items.size() * sizeof(Item),
                    cudaMemcpyDefault));
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { CudaApi().Free(address_).IgnoreError(); }

  [[nodiscard]] std::byte* get() const { return address_; }
  template <typename Item>
  [[nodiscard]] const Item* as() const {
    return reinterpret_cast<const Item*>(address_);
  }

 private:
  std::byte* address_;
};

// Seconds of one call.
template <typename Call>
double Seconds(Stream stream, Call call) {
  constexpr int kRuns = 9;
  constexpr int kCalls = 10;
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  Must(cudaEventCreate(&begin));
  Must(cudaEventCreate(&end));
  call(0);  // to warm up
  std::vector<float> milliseconds;
  int index = 1;
  for (int run = 0; run < kRuns; ++run) {
    Must(cudaEventRecord(begin, stream));
    for (int i = 0; i < kCalls; ++i) call(index++);
    Must(cudaEventRecord(end, stream));
    Must(cudaEventSynchronize(end));
    float elapsed = 0;
    Must(cudaEventElapsedTime(&elapsed, begin, end));
    milliseconds.push_back(elapsed / kCalls);
  }
  std::nth_element(milliseconds.begin(), milliseconds.begin() + kRuns / 2,
                   milliseconds.end());
  Must(cudaEventDestroy(begin));
  Must(cudaEventDestroy(end));
  return milliseconds[kRuns / 2] * 1e-3;
}

// A line: bytes per second, and as a share of what the device does itself.
void Report(const std::string& what, std::int64_t bytes, double seconds,
            double peer_bytes_per_second) {
  const double rate = static_cast<double>(bytes) / seconds;
  absl::PrintF("| %s | %.1f | %.1f | %.2f |\n", what, rate * 1e-9,
               peer_bytes_per_second * 1e-9, rate / peer_bytes_per_second);
  std::fflush(stdout);
}

// Bytes copied per second.
double MemcpyRate(std::byte* to, const std::byte* from, std::int64_t bytes,
                  Stream stream) {
  return static_cast<double>(bytes) / Seconds(stream, [&](int) {
           Must(CudaApi().Copy(to, from, bytes, stream));
         });
}

BlockStorageLayout Layers(std::int64_t pool_bytes, std::int64_t layers,
                          std::int64_t block_bytes) {
  return {.num_blocks = BlockCount(pool_bytes / layers / block_bytes),
          .groups = {{.block_size = BlockSize(kBlockSize),
                      .layers = std::vector<LayerLayout>(
                          static_cast<std::size_t>(layers),
                          {.bytes_per_block = Bytes(block_bytes)})}}};
}

// Ids from 1 on, in random order.
std::vector<std::int32_t> ShuffledBlocks(BlockCount num_blocks,
                                         std::mt19937_64& random) {
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 1; i < num_blocks.value(); ++i) ids.push_back(i);
  std::shuffle(ids.begin(), ids.end(), random);
  return ids;
}

void BenchmarkCopies(Stream stream, double device_rate) {
  constexpr std::int64_t kLayers = 32;
  for (const std::int64_t block_bytes : {4 << 10, 16 << 10, 64 << 10}) {
    const auto storage = Must(CudaBlockStorage::Create(
        {.layout = Layers(4 * kGiB, kLayers, block_bytes), .stream = stream}));
    std::mt19937_64 random(1);
    const auto ids = ShuffledBlocks(storage->layout().num_blocks, random);
    const std::size_t count = std::min<std::size_t>(512, ids.size() / 2);
    std::vector<BlockCopy> copies;
    for (std::size_t i = 0; i < count; ++i) {
      copies.push_back(
          {0, BlockId(ids[2 * i]), BlockId(ids[2 * i + 1]), kBlockSize});
    }
    const double seconds =
        Seconds(stream, [&](int) { Must(storage->CopyBlocks(copies)); });
    Report(absl::StrFormat("copy, blocks of %d KiB", block_bytes >> 10),
           static_cast<std::int64_t>(count) * kLayers * block_bytes, seconds,
           device_rate);
  }
}

void BenchmarkSwaps(Stream stream) {
  constexpr std::int64_t kLayers = 32;
  constexpr std::int64_t kListBytes = 256 << 20;
  for (const std::int64_t block_bytes : {16 << 10, 64 << 10, 256 << 10}) {
    const BlockStorageLayout layout = Layers(kGiB, kLayers, block_bytes);
    const auto storage =
        Must(CudaBlockStorage::Create({.layout = layout, .stream = stream}));
    const auto swap_space = Must(HostBlockStorage::Create({.layout = layout}));
    const auto pinned = Must(PinnedMemory::Create(swap_space->memory()));
    const double out_rate =
        MemcpyRate(swap_space->arena(0, 0).base, storage->arena(0, 0).base,
                   layout.num_blocks.value() * block_bytes, stream);
    const double in_rate =
        MemcpyRate(storage->arena(0, 0).base, swap_space->arena(0, 0).base,
                   layout.num_blocks.value() * block_bytes, stream);
    std::mt19937_64 random(2);
    const auto ids = ShuffledBlocks(layout.num_blocks, random);
    const auto spaces = ShuffledBlocks(layout.num_blocks, random);
    const auto count =
        static_cast<std::size_t>(kListBytes / kLayers / block_bytes);
    for (const bool is_run : {false, true}) {
      std::vector<BlockSwap> swaps;
      for (std::size_t i = 0; i < count; ++i) {
        const auto next = static_cast<std::int32_t>(i + 1);
        swaps.push_back({0, BlockId(is_run ? next : ids[i]),
                         BlockId(is_run ? next : spaces[i]), kBlockSize});
      }
      const std::string blocks =
          absl::StrFormat("%s of %d KiB", is_run ? "a run" : "random blocks",
                          block_bytes >> 10);
      Report("swap out, " + blocks, kListBytes,
             Seconds(stream,
                     [&](int) { Must(storage->SwapOut(*swap_space, swaps)); }),
             out_rate);
      Report("swap in, " + blocks, kListBytes,
             Seconds(stream,
                     [&](int) { Must(storage->SwapIn(*swap_space, swaps)); }),
             in_rate);
    }
  }
}

// A pool for one layer of 8 KV heads of 128 elements.
struct OneLayer {
  OneLayer(std::int32_t num_blocks, const KvFormat& format) {
    KvLayer layer;
    layer.key = {8, 128, format};
    layer.value = layer.key;
    const KvLayout layout =
        Must(KvLayout::Create({.num_blocks = BlockCount(num_blocks),
                               .groups = {{BlockSize(kBlockSize), {layer}}},
                               .alignment = 16}));
    storage =
        Must(CudaBlockStorage::Create({.layout = layout.storage_layout()}));
    key = layout.View(*storage, 0, 0, KvRole::kKey);
    value = layout.View(*storage, 0, 0, KvRole::kValue);
    Must(cudaMemset(storage->arena(0, 0).base, 0x21,
                    static_cast<std::size_t>(storage->size().value() / 2)));
    Must(cudaMemset(storage->arena(0, 1).base, 0x21,
                    static_cast<std::size_t>(storage->size().value() / 2)));
  }
  std::unique_ptr<CudaBlockStorage> storage;
  KvTensorView key;
  KvTensorView value;
};

void BenchmarkRows(Stream stream, double device_rate) {
  constexpr std::int32_t kBlocks = 16384;
  constexpr std::int64_t kTokens = 8192;
  const OneLayer layer(kBlocks, KvFormat::For(KvDtype::kFp16));
  std::mt19937_64 random(3);
  const auto ids = ShuffledBlocks(BlockCount(kBlocks), random);
  std::vector<std::int64_t> slots;
  for (std::int64_t t = 0; t < kTokens; ++t) {
    slots.push_back(
        std::int64_t{ids[static_cast<std::size_t>(t / kBlockSize)]} *
            kBlockSize +
        t % kBlockSize);
  }
  const std::int64_t bytes = kTokens * 8 * 128 * 2;
  const Buffer rows(bytes);
  const Buffer device_slots(slots);
  const Buffer table(ids);
  Report(
      "scatter of fp16", bytes,
      Seconds(stream,
              [&](int) {
                Must(ScatterKv(
                    layer.key, {rows.get(), KvDtype::kFp16, 1024, 128},
                    {device_slots.as<std::int64_t>(), slots.size()}, stream));
              }),
      device_rate);
  Report("gather of fp16", bytes,
         Seconds(stream,
                 [&](int) {
                   Must(GatherKv(
                       layer.key, {table.as<BlockId>(), ids.size()}, 0, kTokens,
                       {rows.get(), KvDtype::kFp16, 1024, 128}, stream));
                 }),
         device_rate);
}

void BenchmarkDecode(Stream stream, double device_rate) {
  constexpr std::int32_t kSequences = 64;
  constexpr std::int32_t kTokens = 4096;
  constexpr std::int32_t kQueryHeads = 64;
  constexpr std::int32_t kBlocksEach = kTokens / kBlockSize;
  constexpr KvFormat kInt8 = {
      .dtype = KvDtype::kInt8, .scheme = ScaleScheme::kToken, .scale_bits = 32};
  for (const auto& [name, format] :
       std::vector<std::pair<const char*, KvFormat>>{
           {"fp16", KvFormat::For(KvDtype::kFp16)},
           {"bf16", KvFormat::For(KvDtype::kBf16)},
           {"fp8", KvFormat::For(KvDtype::kFp8)},
           {"int8 per token", kInt8}}) {
    constexpr std::int32_t kBlocks = kSequences * kBlocksEach + 1;
    const OneLayer layer(kBlocks, format);
    std::mt19937_64 random(4);
    const Buffer ids(ShuffledBlocks(BlockCount(kBlocks), random));
    std::vector<const BlockId*> tables;
    std::vector<std::int32_t> query_begin = {0};
    for (std::int32_t s = 0; s < kSequences; ++s) {
      tables.push_back(ids.as<BlockId>() + std::ptrdiff_t{s} * kBlocksEach);
      query_begin.push_back(s + 1);
    }
    const std::vector<std::int32_t> num_tokens(kSequences, kTokens);
    const Buffer device_tables(tables);
    const Buffer device_begin(query_begin);
    const Buffer device_tokens(num_tokens);
    const Buffer rows(std::int64_t{kSequences} * kQueryHeads * 128 * 2);
    const Buffer output(std::int64_t{kSequences} * kQueryHeads * 128 * 2);
    PagedAttentionArgs args;
    args.key = layer.key;
    args.value = layer.value;
    args.batch.query_begin = {device_begin.as<std::int32_t>(),
                              query_begin.size()};
    args.batch.num_tokens = {device_tokens.as<std::int32_t>(),
                             num_tokens.size()};
    args.batch.tables = {device_tables.as<const BlockId*>(), tables.size()};
    args.query = {rows.get(), KvDtype::kFp16, kQueryHeads * 128, 128};
    args.output = {output.get(), KvDtype::kFp16, kQueryHeads * 128, 128};
    args.num_query_heads = kQueryHeads;
    args.softmax_scale = 0.088F;
    const std::int64_t workspace_bytes = AttentionWorkspaceBytes(args, kTokens);
    const Buffer workspace(workspace_bytes);
    const AttentionLaunch launch = {
        .max_tokens = kTokens,
        .workspace = {workspace.get(),
                      static_cast<std::size_t>(workspace_bytes)}};
    const std::int64_t bytes =
        std::int64_t{kSequences} * kTokens * 8 * 2 *
        (128 * KvDtypeBits(format.dtype) / 8 + layer.key.scale_bytes());
    // Copies read and write: twice their bytes.
    Report(absl::StrFormat("decode attention, %s", name), bytes,
           Seconds(stream,
                   [&](int) { Must(PagedAttention(args, launch, stream)); }),
           2 * device_rate);
  }
}

void Run() {
  cudaDeviceProp properties{};
  Must(cudaGetDeviceProperties(&properties, 0));
  int driver = 0;
  Must(cudaDriverGetVersion(&driver));
  absl::PrintF("%s, driver for CUDA %d.%d\n\n", properties.name, driver / 1000,
               driver % 1000 / 10);
  cudaStream_t stream = nullptr;
  Must(cudaStreamCreate(&stream));
  double device_rate = 0;
  {
    const Buffer from(kGiB);
    const Buffer to(kGiB);
    device_rate = MemcpyRate(to.get(), from.get(), kGiB, stream);
  }
  absl::PrintF(
      "| what | GB/s | of the device itself | ratio |\n|---|---:|---:|---:|\n");
  BenchmarkCopies(stream, device_rate);
  BenchmarkRows(stream, device_rate);
  BenchmarkSwaps(stream);
  BenchmarkDecode(stream, device_rate);
  Must(cudaStreamDestroy(stream));
}

}  // namespace
}  // namespace pagedkv::cuda

int main() {
  if (pagedkv::cuda::NumDevices() == 0) {
    std::fprintf(stderr, "no CUDA device, or no driver: nothing to measure\n");
    return 2;
  }
  pagedkv::cuda::Run();
  return 0;
}
