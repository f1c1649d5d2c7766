// SPDX-License-Identifier: Apache-2.0
//
// Bandwidth of what a storage does with lists of blocks, beside that of one
// memcpy or memset of the same bytes. A pool of 1 GiB with 32 layers; lists of
// 32 blocks.
//   BM_CopyBlocks/<bytes per layer and block>/<huge pages>: between random
//       blocks, the work of copy-on-write.
//   BM_SwapOut, BM_SwapIn/<bytes>/<side by side>: to and from a swap space of
//       1 GiB, random blocks on both sides, or runs of 32.
//   BM_Memcpy/<bytes>/<huge pages>: the bytes of such a list at once, from one
//       half of 1 GiB to the other, going on through it.
//   BM_FillBlocks/<bytes>: random blocks, the work of cleaning.
//   BM_Memset/<bytes>: the same bytes at once, going on through 1 GiB.
//   BM_Resize/<bytes>: a pool of 1 GiB to half and back, each page touched.
// 65,536 bytes are 16 tokens of Llama-3-8B in fp16. Bytes copied, not moved
// (read plus written), are counted. Compare bytes_per_second.

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"

#include "benchmarks/workloads.h"
#include "pagedkv/block_storage.h"
#include "pagedkv/host_block_storage.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kPoolBytes = std::int64_t{1} << 30;
constexpr std::int64_t kLayers = 32;
constexpr std::int64_t kListLength = 32;
constexpr std::int32_t kBlockSize = 16;

BlockCount NumBlocks(std::int64_t bytes_per_block) {
  return BlockCount(kPoolBytes / (kLayers * bytes_per_block));
}

std::vector<BlockId> AllBlocks(const BlockStorage& storage) {
  std::vector<BlockId> all;
  for (std::int32_t id = 0; id < storage.layout().num_blocks.value(); ++id) {
    all.push_back(BlockId(id));
  }
  return all;
}

// With every page touched.
std::unique_ptr<HostBlockStorage> Storage(std::int64_t bytes_per_block,
                                          bool huge_pages,
                                          BlockCount max_num_blocks = {}) {
  auto storage = HostBlockStorage::Create(
      {.layout = {.num_blocks = NumBlocks(bytes_per_block),
                  .groups = {{.block_size = BlockSize(kBlockSize),
                              .layers = std::vector<LayerLayout>(
                                  kLayers, {.bytes_per_block =
                                                Bytes(bytes_per_block)})}},
                  .max_num_blocks = max_num_blocks},
       .huge_pages = huge_pages});
  workloads::Require(storage.ok());
  workloads::Require(
      (*storage)->FillBlocks(AllBlocks(**storage), std::byte{1}).ok());
  return *std::move(storage);
}

class RandomBlocks {
 public:
  explicit RandomBlocks(const BlockStorage& storage)
      : ids_(1, static_cast<std::int32_t>(storage.layout().num_blocks.value()) -
                    1) {}
  BlockId Next() { return BlockId(ids_(random_)); }

 private:
  std::mt19937_64 random_{1};
  std::uniform_int_distribution<std::int32_t> ids_;
};

// Lists of things that `make` gives, one after the other. A list may name a
// block more than once.
template <typename Make>
auto Lists(Make make) {
  std::vector<std::vector<decltype(make())>> lists(64);
  for (auto& list : lists) {
    for (std::int64_t i = 0; i < kListLength; ++i) list.push_back(make());
  }
  return lists;
}

void CountBytes(benchmark::State& state) {
  state.SetBytesProcessed(state.iterations() * kListLength * kLayers *
                          state.range(0));
}

void BM_CopyBlocks(benchmark::State& state) {
  const auto storage = Storage(state.range(0), state.range(1) != 0);
  RandomBlocks random(*storage);
  const auto lists = Lists([&random] {
    BlockCopy copy{0, random.Next(), random.Next(), kBlockSize};
    while (copy.source == copy.destination) copy.source = random.Next();
    return copy;
  });
  std::size_t next = 0;
  for (auto _ : state) {
    workloads::Require(storage->CopyBlocks(lists[next++ % lists.size()]).ok());
  }
  CountBytes(state);
}
BENCHMARK(BM_CopyBlocks)->ArgsProduct({{4096, 16384, 65536, 262144}, {0, 1}});

void Swap(benchmark::State& state, bool is_out) {
  const auto storage = Storage(state.range(0), false);
  const auto swap_space = Storage(state.range(0), false);
  RandomBlocks random(*storage);
  const bool side_by_side = state.range(1) != 0;
  const std::int64_t most = storage->layout().num_blocks.value() - kListLength;
  BlockSwap last{0, kNullBlock, kNullBlock, kBlockSize};
  std::int64_t in_run = 0;
  const auto lists = Lists([&] {
    if (side_by_side && in_run++ % kListLength != 0) {
      last.block = BlockId(last.block.value() + 1);
      last.swap_block = BlockId(last.swap_block.value() + 1);
    } else {
      last.block = random.Next();
      last.swap_block = random.Next();
      if (side_by_side) {
        const auto first = [most](BlockId block) {
          return BlockId(static_cast<std::int32_t>(
              1 + block.value() % std::max<std::int64_t>(most, 1)));
        };
        last.block = first(last.block);
        last.swap_block = first(last.swap_block);
      }
    }
    return last;
  });
  std::size_t next = 0;
  for (auto _ : state) {
    const auto& list = lists[next++ % lists.size()];
    workloads::Require((is_out ? storage->SwapOut(*swap_space, list)
                               : storage->SwapIn(*swap_space, list))
                           .ok());
  }
  CountBytes(state);
}
void BM_SwapOut(benchmark::State& state) { Swap(state, true); }
void BM_SwapIn(benchmark::State& state) { Swap(state, false); }
BENCHMARK(BM_SwapOut)->ArgsProduct({{4096, 16384, 65536, 262144}, {0, 1}});
BENCHMARK(BM_SwapIn)->ArgsProduct({{16384, 65536}, {0, 1}});

// All of 1 GiB, in pages like those of a storage.
std::unique_ptr<HostBlockStorage> PlainBytes(bool huge_pages) {
  auto storage = HostBlockStorage::Create(
      {.layout = {.num_blocks = BlockCount(1),
                  .groups = {{.block_size = BlockSize(1),
                              .layers = {{.bytes_per_block =
                                              Bytes(kPoolBytes)}}}}},
       .huge_pages = huge_pages});
  workloads::Require(storage.ok());
  workloads::Require(
      (*storage)->FillBlocks(AllBlocks(**storage), std::byte{1}).ok());
  return *std::move(storage);
}

void BM_Memcpy(benchmark::State& state) {
  const std::int64_t bytes = kListLength * kLayers * state.range(0);
  const auto storage = PlainBytes(state.range(1) != 0);
  std::byte* const pool = storage->arena(0, 0).base;
  std::int64_t from = 0;
  for (auto _ : state) {
    std::memcpy(pool + (from + kPoolBytes / 2) % kPoolBytes, pool + from,
                static_cast<std::size_t>(bytes));
    benchmark::ClobberMemory();
    from = (from + bytes) % kPoolBytes;
  }
  CountBytes(state);
}
BENCHMARK(BM_Memcpy)->ArgsProduct({{4096, 16384, 65536, 262144}, {0, 1}});

void BM_FillBlocks(benchmark::State& state) {
  const auto storage = Storage(state.range(0), false);
  RandomBlocks random(*storage);
  const auto lists = Lists([&random] { return random.Next(); });
  std::size_t next = 0;
  for (auto _ : state) {
    workloads::Require(
        storage->FillBlocks(lists[next++ % lists.size()], std::byte{0}).ok());
  }
  CountBytes(state);
}
BENCHMARK(BM_FillBlocks)->Arg(4096)->Arg(16384)->Arg(65536)->Arg(262144);

void BM_Memset(benchmark::State& state) {
  const std::int64_t bytes = kListLength * kLayers * state.range(0);
  const auto storage = PlainBytes(false);
  std::byte* const pool = storage->arena(0, 0).base;
  std::int64_t at = 0;
  for (auto _ : state) {
    std::memset(pool + at, 0, static_cast<std::size_t>(bytes));
    benchmark::ClobberMemory();
    at = (at + bytes) % kPoolBytes;
  }
  CountBytes(state);
}
BENCHMARK(BM_Memset)->Arg(4096)->Arg(16384)->Arg(65536)->Arg(262144);

void BM_Resize(benchmark::State& state) {
  const BlockCount all = NumBlocks(state.range(0));
  const auto storage = Storage(state.range(0), false, all);
  for (auto _ : state) {
    workloads::Require(storage->Resize(BlockCount(all.value() / 2)).ok() &&
                       storage->Resize(all).ok());
    state.PauseTiming();
    workloads::Require(
        storage->FillBlocks(AllBlocks(*storage), std::byte{1}).ok());
    state.ResumeTiming();
  }
}
BENCHMARK(BM_Resize)->Arg(65536)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pagedkv
