// SPDX-License-Identifier: Apache-2.0
//
// Bandwidth of block copies, the work of copy-on-write, beside that of one
// memcpy of the same bytes.
//   BM_CopyBlocks/<bytes per layer and block>/<huge pages>: lists of 32 copies
//       between random blocks of a pool of 1 GiB with 32 layers.
//   BM_Memcpy/<bytes per layer and block>: the bytes of such a list at once,
//       from one half of 1 GiB to the other, going on through it.
// 65,536 bytes are 16 tokens of Llama-3-8B in fp16. Bytes copied, not moved
// (read plus written), are counted. Compare bytes_per_second.

#include <cstring>
#include <random>
#include <vector>

#include "benchmark/benchmark.h"

#include "pagedkv/block_storage.h"
#include "pagedkv/host_block_storage.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kPoolBytes = std::int64_t{1} << 30;
constexpr std::int64_t kLayers = 32;
constexpr std::int64_t kCopies = 32;
constexpr std::int32_t kBlockSize = 16;

void BM_CopyBlocks(benchmark::State& state) {
  const Bytes bytes_per_block(state.range(0));
  const BlockCount num_blocks(kPoolBytes / (kLayers * state.range(0)));
  const auto storage = HostBlockStorage::Create(
      {.layout = {.num_blocks = num_blocks,
                  .groups = {{.block_size = BlockSize(kBlockSize),
                              .layers = std::vector<LayerLayout>(
                                  kLayers,
                                  {.bytes_per_block = bytes_per_block})}}},
       .huge_pages = state.range(1) != 0});
  if (!storage.ok()) {
    state.SkipWithError(std::string(storage.status().message()).c_str());
    return;
  }
  std::vector<BlockId> all;
  for (std::int32_t id = 0; id < num_blocks.value(); ++id) {
    all.push_back(BlockId(id));
  }
  bool ok = (*storage)->FillBlocks(all, std::byte{1}).ok();

  std::mt19937_64 random(1);
  const auto random_block = [&] {
    std::uniform_int_distribution<std::int32_t> ids(
        1, static_cast<std::int32_t>(num_blocks.value()) - 1);
    return BlockId(ids(random));
  };
  std::vector<std::vector<BlockCopy>> lists(64);
  for (std::vector<BlockCopy>& list : lists) {
    while (list.size() < kCopies) {
      const BlockCopy copy{0, random_block(), random_block(), kBlockSize};
      if (copy.source != copy.destination) list.push_back(copy);
    }
  }
  std::size_t next = 0;
  for (auto _ : state) {
    ok = ok && (*storage)->CopyBlocks(lists[next++ % lists.size()]).ok();
  }
  if (!ok) state.SkipWithError("a copy was refused");
  state.SetBytesProcessed(state.iterations() * kCopies * kLayers *
                          state.range(0));
}
BENCHMARK(BM_CopyBlocks)->ArgsProduct({{4096, 65536, 262144}, {0, 1}});

void BM_Memcpy(benchmark::State& state) {
  const std::int64_t bytes = kCopies * kLayers * state.range(0);
  std::vector<std::byte> pool(kPoolBytes, std::byte{1});
  std::int64_t from = 0;
  for (auto _ : state) {
    std::memcpy(pool.data() + (from + kPoolBytes / 2) % kPoolBytes,
                pool.data() + from, static_cast<std::size_t>(bytes));
    benchmark::ClobberMemory();
    from = (from + bytes) % kPoolBytes;
  }
  state.SetBytesProcessed(state.iterations() * bytes);
}
BENCHMARK(BM_Memcpy)->Arg(4096)->Arg(65536)->Arg(262144);

}  // namespace
}  // namespace pagedkv
