// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/cuda_block_storage.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_format.h"

#include "allocator/checked.h"
#include "allocator/swap_runs.h"

namespace pagedkv::cuda {
namespace {

// Where an arena starts in an allocation: as cudaMalloc's own results do.
constexpr std::int64_t kArenaAlignment = 256;

// The parts of an upload start at such multiples.
constexpr std::int64_t kPartAlignment = 16;

constexpr std::int64_t RoundUp(std::int64_t bytes, std::int64_t multiple) {
  return (bytes + multiple - 1) / multiple * multiple;
}

// Says how much was asked for, since the device does not.
absl::Status NoMemory(const absl::Status& status, BlockCount num_blocks,
                      std::span<const Bytes> strides) {
  if (status.code() != absl::StatusCode::kResourceExhausted) return status;
  Bytes total;
  for (const Bytes stride : strides) total += stride * num_blocks.value();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "no memory for %d bytes on the device (%d blocks in %d arenas): %s",
      total.value(), num_blocks.value(), strides.size(),
      std::string(status.message())));
}

// Several arrays in one upload.
class Packer {
 public:
  template <typename Item>
  std::int64_t Add(std::span<const Item> items) {
    const std::int64_t offset = bytes_;
    parts_.push_back({items.data(), offset, items.size_bytes()});
    bytes_ = RoundUp(bytes_ + static_cast<std::int64_t>(items.size_bytes()),
                     kPartAlignment);
    return offset;
  }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }
  void Write(std::byte* to) const {
    for (const Part& part : parts_) {
      if (part.bytes > 0) std::memcpy(to + part.offset, part.from, part.bytes);
    }
  }

 private:
  struct Part {
    const void* from = nullptr;
    std::int64_t offset = 0;
    std::size_t bytes = 0;
  };
  std::vector<Part> parts_;
  std::int64_t bytes_ = 0;
};

// Uploads what `packer` has and lets `launch` queue what reads it.
template <typename Launch>
absl::Status UploadAndLaunch(StagingRing& ring, const Packer& packer,
                             Stream stream, Launch launch) {
  const absl::StatusOr<StagingRing::Place*> taken = ring.Take(packer.bytes());
  if (!taken.ok()) return taken.status();
  StagingRing::Place& place = **taken;
  packer.Write(place.host);
  absl::Status status = ring.Upload(place, packer.bytes(), stream);
  if (status.ok()) status = launch(place.device);
  const absl::Status finished = ring.Finish(place, stream);
  return status.ok() ? finished : status;
}

std::int64_t LargestStride(std::span<const BlockArena> arenas) {
  std::int64_t largest = 0;
  for (const BlockArena& arena : arenas) {
    largest = std::max(largest, arena.block_stride.value());
  }
  return largest;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaBlockStorage>> CudaBlockStorage::Create(
    const CudaBlockStorageOptions& options, DeviceApi& api) {
  const BlockStorageLayout& layout = options.layout;
  const absl::StatusOr<std::vector<Bytes>> strides = ArenaStrides(layout);
  if (!strides.ok()) return strides.status();
  if (options.chunk < Bytes(0) || options.copy_engine_from < Bytes(0)) {
    return absl::InvalidArgumentError(
        "chunk and copy_engine_from are sizes; give 0 or more bytes");
  }
  Memory memory;
  std::vector<BlockArena> arenas;
  if (layout.max_num_blocks == BlockCount(0)) {
    std::int64_t total = 0;
    for (const Bytes stride : *strides) {
      total +=
          RoundUp(stride.value() * layout.num_blocks.value(), kArenaAlignment);
    }
    const absl::StatusOr<std::byte*> allocation = api.Allocate(total);
    if (!allocation.ok()) {
      return NoMemory(allocation.status(), layout.num_blocks, *strides);
    }
    memory.allocation = *allocation;
    std::byte* next = *allocation;
    for (const Bytes stride : *strides) {
      arenas.push_back({next, stride});
      next +=
          RoundUp(stride.value() * layout.num_blocks.value(), kArenaAlignment);
    }
  } else {
    for (const Bytes stride : *strides) {
      absl::StatusOr<VirtualRange> range = VirtualRange::Reserve(
          api, stride.value() * layout.max_num_blocks.value(),
          options.chunk.value());
      absl::Status status = range.status();
      if (status.ok()) {
        status = range->Commit(stride.value() * layout.num_blocks.value());
      }
      if (!status.ok()) {
        return NoMemory(status, MaxNumBlocks(layout), *strides);
      }
      arenas.push_back({range->address(), stride});
      memory.ranges.push_back(*std::move(range));
    }
  }
  return absl::WrapUnique(
      new CudaBlockStorage(options, std::move(arenas), std::move(memory), api));
}

CudaBlockStorage::CudaBlockStorage(const CudaBlockStorageOptions& options,
                                   std::vector<BlockArena> arenas,
                                   Memory memory, DeviceApi& api)
    : BlockStorage(options.layout, std::move(arenas)),
      api_(api),
      stream_(options.stream),
      copy_engine_from_(options.copy_engine_from.value()),
      memory_(std::move(memory)),
      waves_(max_num_blocks()),
      ring_(api) {
  for (const GroupLayout& group : layout().groups) {
    for (std::size_t k = 0; k < this->arenas().size(); ++k) {
      MoveSizes sizes;
      if (k < group.layers.size()) {
        sizes.block = group.layers[k].bytes_per_block.value();
        if (group.layers[k].token_major) {
          sizes.token = sizes.block / group.block_size.value();
        }
      }
      sizes_.largest = std::max(sizes_.largest, sizes.block);
      sizes_.table.push_back(sizes);
    }
  }
}

CudaBlockStorage::~CudaBlockStorage() {
  api_.Synchronize(stream_).IgnoreError();
  if (memory_.allocation != nullptr) {
    api_.Free(memory_.allocation).IgnoreError();
  }
}

std::vector<MoveArenas> CudaBlockStorage::OwnArenas() const {
  std::vector<MoveArenas> result;
  for (const BlockArena& arena : arenas()) {
    const std::int64_t stride = arena.block_stride.value();
    result.push_back({arena.base, stride, arena.base, stride});
  }
  return result;
}

absl::Status CudaBlockStorage::QueueMoves(std::span<const MoveArenas> arenas,
                                          std::span<const BlockMove> moves) {
  Packer packer;
  const std::int64_t arenas_at = packer.Add(arenas);
  const std::int64_t sizes_at =
      packer.Add(std::span<const MoveSizes>(sizes_.table));
  const std::int64_t moves_at = packer.Add(moves);
  return UploadAndLaunch(ring_, packer, stream_, [&](const std::byte* device) {
    const MoveTable table = {
        .arenas = reinterpret_cast<const MoveArenas*>(device + arenas_at),
        .sizes = reinterpret_cast<const MoveSizes*>(device + sizes_at),
        .moves = reinterpret_cast<const BlockMove*>(device + moves_at),
        .num_arenas = static_cast<std::int32_t>(arenas.size()),
        .num_parts = NumParts(sizes_.largest),
        .num_moves = std::ssize(moves)};
    return api_.Move(table, stream_);
  });
}

absl::Status CudaBlockStorage::DoCopyBlocks(std::span<const BlockCopy> copies) {
  const std::vector<MoveArenas> arenas = OwnArenas();
  absl::Status status;
  while (status.ok() && !copies.empty()) {
    moves_.clear();
    for (const BlockCopy& copy : waves_.Take(copies)) {
      moves_.push_back({copy.group, copy.source.value(),
                        copy.destination.value(), copy.num_tokens});
    }
    status = QueueMoves(arenas, moves_);
  }
  return status;
}

absl::Status CudaBlockStorage::DoFillBlocks(std::span<const BlockId> blocks,
                                            std::byte value) {
  static_assert(sizeof(BlockId) == sizeof(std::int32_t));
  const std::vector<MoveArenas> arenas = OwnArenas();
  Packer packer;
  const std::int64_t arenas_at =
      packer.Add(std::span<const MoveArenas>(arenas));
  const std::int64_t blocks_at = packer.Add(blocks);
  return UploadAndLaunch(ring_, packer, stream_, [&](const std::byte* device) {
    const FillTable table = {
        .arenas = reinterpret_cast<const MoveArenas*>(device + arenas_at),
        .blocks = reinterpret_cast<const std::int32_t*>(device + blocks_at),
        .num_arenas = static_cast<std::int32_t>(arenas.size()),
        .num_parts = NumParts(LargestStride(this->arenas())),
        .num_blocks = std::ssize(blocks),
        .value = std::to_integer<std::uint8_t>(value)};
    return api_.Fill(table, stream_);
  });
}

// Arenas as the kernel reaches them, or, if any of the swap space is not
// pinned, by the host's addresses.
absl::StatusOr<std::vector<MoveArenas>> CudaBlockStorage::SwapArenas(
    const BlockStorage& swap_space, SwapDirection direction, bool& is_pinned) {
  const std::vector<GroupLayout>& groups = layout().groups;
  std::vector<MoveArenas> host;
  std::vector<MoveArenas> pinned;
  is_pinned = true;
  for (std::size_t k = 0; k < arenas().size(); ++k) {
    const auto group =
        std::find_if(groups.begin(), groups.end(),
                     [k](const GroupLayout& g) { return k < g.layers.size(); });
    const BlockArena there = swap_space.arena(
        static_cast<int>(group - groups.begin()), static_cast<int>(k));
    const std::int64_t bytes =
        there.block_stride.value() * swap_space.layout().num_blocks.value();
    // The first and the last byte speak for those between.
    const absl::StatusOr<std::byte*> first = api_.DeviceAddress(there.base);
    if (!first.ok()) return first.status();
    const absl::StatusOr<std::byte*> last =
        api_.DeviceAddress(there.base + bytes - 1);
    if (!last.ok()) return last.status();
    is_pinned = is_pinned && *first != nullptr && *last == *first + bytes - 1;

    const auto add = [&](std::vector<MoveArenas>& to, std::byte* swap_base) {
      const BlockArena& here = arenas()[k];
      const std::int64_t stride = here.block_stride.value();
      const std::int64_t swap_stride = there.block_stride.value();
      to.push_back(direction == SwapDirection::kOut
                       ? MoveArenas{here.base, stride, swap_base, swap_stride}
                       : MoveArenas{swap_base, swap_stride, here.base, stride});
    };
    add(host, there.base);
    add(pinned, *first);
  }
  return is_pinned ? pinned : host;
}

absl::Status CudaBlockStorage::DoSwap(BlockStorage& swap_space,
                                      std::span<const BlockSwap> swaps,
                                      SwapDirection direction) {
  bool is_pinned = false;
  const absl::StatusOr<std::vector<MoveArenas>> arenas =
      SwapArenas(swap_space, direction, is_pinned);
  absl::Status status = arenas.status();
  while (status.ok() && !swaps.empty()) {
    const std::span<const BlockSwap> wave =
        direction == SwapDirection::kOut
            ? waves_.TakeSwapOuts(swaps, swap_space.layout().num_blocks)
            : waves_.TakeSwapIns(swaps);
    status = QueueSwaps(*arenas, wave, direction, is_pinned);
  }
  return status;
}

absl::Status CudaBlockStorage::QueueSwaps(std::span<const MoveArenas> arenas,
                                          std::span<const BlockSwap> swaps,
                                          SwapDirection direction,
                                          bool is_pinned) {
  const bool is_out = direction == SwapDirection::kOut;
  moves_.clear();
  while (!swaps.empty()) {
    const SwapRun run = TakeRun(swaps, layout().groups);
    const std::int32_t from =
        is_out ? run.block.value() : run.swap_block.value();
    const std::int32_t to = is_out ? run.swap_block.value() : run.block.value();
    const MoveSizes* const sizes =
        &sizes_.table[static_cast<std::size_t>(run.group) * arenas.size()];
    // One run of bytes in every layer that there is, and a long one.
    const auto is_for_engine = [&](std::size_t k) {
      const std::int64_t bytes = MovedBytes(sizes[k], run.num_tokens);
      return sizes[k].block == 0 ||
             ((run.num_blocks == 1 || (bytes == arenas[k].from_stride &&
                                       bytes == arenas[k].to_stride)) &&
              bytes * run.num_blocks >= copy_engine_from_);
    };
    bool by_engine = !is_pinned;
    if (is_pinned) {
      by_engine = true;
      for (std::size_t k = 0; by_engine && k < arenas.size(); ++k) {
        by_engine = is_for_engine(k);
      }
    }
    if (!by_engine) {
      for (std::int32_t i = 0; i < run.num_blocks; ++i) {
        moves_.push_back({run.group, from + i, to + i, run.num_tokens});
      }
      continue;
    }
    for (std::size_t k = 0; k < arenas.size(); ++k) {
      const std::int64_t bytes = MovedBytes(sizes[k], run.num_tokens);
      if (bytes == 0) continue;
      const bool is_dense =
          bytes == arenas[k].from_stride && bytes == arenas[k].to_stride;
      const std::int32_t count = is_dense ? 1 : run.num_blocks;
      for (std::int32_t i = 0; i < count; ++i) {
        absl::Status status =
            api_.Copy(arenas[k].to + (to + i) * arenas[k].to_stride,
                      arenas[k].from + (from + i) * arenas[k].from_stride,
                      is_dense ? bytes * run.num_blocks : bytes, stream_);
        if (!status.ok()) return status;
      }
    }
  }
  return moves_.empty() ? absl::OkStatus() : QueueMoves(arenas, moves_);
}

absl::Status CudaBlockStorage::DoResize(BlockCount num_blocks) {
  if (num_blocks < layout().num_blocks) {
    if (absl::Status status = Synchronize(); !status.ok()) return status;
  }
  for (std::size_t k = 0; k < memory_.ranges.size(); ++k) {
    const std::int64_t stride = arenas()[k].block_stride.value();
    absl::Status status = memory_.ranges[k].Commit(stride * num_blocks.value());
    if (status.ok()) continue;
    for (std::size_t done = 0; done < k; ++done) {
      memory_.ranges[done]
          .Commit(arenas()[done].block_stride.value() *
                  layout().num_blocks.value())
          .IgnoreError();
    }
    if (status.code() != absl::StatusCode::kResourceExhausted) return status;
    return absl::ResourceExhaustedError(absl::StrFormat(
        "no memory on the device to grow from %d to %d blocks: %s",
        layout().num_blocks.value(), num_blocks.value(),
        std::string(status.message())));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv::cuda
