// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_CUDA_BLOCK_STORAGE_H_
#define BACKENDS_CUDA_CUDA_BLOCK_STORAGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "backends/cuda/block_waves.h"
#include "backends/cuda/cuda_stream.h"
#include "backends/cuda/device_api.h"
#include "backends/cuda/staging_ring.h"
#include "backends/cuda/virtual_range.h"
#include "pagedkv/block_storage.h"
#include "pagedkv/types.h"

namespace pagedkv::cuda {

struct CudaBlockStorageOptions {
  BlockStorageLayout layout;
  /// What operations are queued on, until `set_stream` names another one.
  Stream stream = nullptr;
  /// With `max_num_blocks`: physical memory comes and goes in such pieces, each
  /// arena for itself. Rounded up to the device's granularity, usually 2 MiB;
  /// 0: that. Larger ones take fewer calls, and lose more at the end of arenas.
  Bytes chunk{0};
  /// Blocks side by side that have so many bytes in each layer are swapped by
  /// the copy engine, all else by a kernel: the former leaves the processors
  /// alone, and costs some microseconds for each run and layer.
  Bytes copy_engine_from{1 << 20};
};

/// Blocks in the memory of a device: in one allocation, or, with
/// `max_num_blocks`, in virtual addresses with physical memory behind those
/// that there are (CUDA's virtual memory management), so that it can be resized
/// while serving.
///
/// Operations are queued on the stream, and take effect in its order: what
/// reads or writes the arenas is queued there as well, or ordered by events.
/// Nothing waits for the device, but for: `Resize`, which waits for the stream
/// before it takes memory away (other streams are the caller's); swaps with
/// memory that is not pinned (`PinnedMemory`); and a caller that is eight lists
/// ahead. A list goes to the device in one copy and is done by one kernel for
/// all layers, as long as its entries have nothing to do with one another.
///
/// Calls are made with the device current that was so at `Create`.
/// Thread-compatible. Destroying it waits for what it has queued.
class CudaBlockStorage final : public BlockStorage {
 public:
  /// InvalidArgument for what is no layout; ResourceExhausted, with the size,
  /// if the device has no such memory; Unavailable, if there is no device.
  static absl::StatusOr<std::unique_ptr<CudaBlockStorage>> Create(
      const CudaBlockStorageOptions& options, DeviceApi& api = CudaApi());
  ~CudaBlockStorage() override;

  [[nodiscard]] Stream stream() const { return stream_; }
  /// Further operations are queued on `stream`. What is on the former is not
  /// waited for: order the two by an event where blocks are the same.
  void set_stream(Stream stream) { stream_ = stream; }

  /// Waits until all that was queued on the stream has been done.
  absl::Status Synchronize() { return api_.Synchronize(stream_); }

 private:
  struct Memory {
    std::byte* allocation = nullptr;   // all arenas, if not resizable
    std::vector<VirtualRange> ranges;  // each arena, if resizable
  };

  // MoveSizes of the groups, as kernels and the choice of the engine need them.
  struct Sizes {
    std::vector<MoveSizes> table;  // [groups][arenas]
    std::int64_t largest = 0;
  };

  CudaBlockStorage(const CudaBlockStorageOptions& options,
                   std::vector<BlockArena> arenas, Memory memory,
                   DeviceApi& api);

  absl::Status DoCopyBlocks(std::span<const BlockCopy> copies) override;
  absl::Status DoFillBlocks(std::span<const BlockId> blocks,
                            std::byte value) override;
  absl::Status DoSwap(BlockStorage& swap_space,
                      std::span<const BlockSwap> swaps,
                      SwapDirection direction) override;
  absl::Status DoResize(BlockCount num_blocks) override;

  [[nodiscard]] std::vector<MoveArenas> OwnArenas() const;
  absl::StatusOr<std::vector<MoveArenas>> SwapArenas(
      const BlockStorage& swap_space, SwapDirection direction, bool& is_pinned);
  absl::Status QueueMoves(std::span<const MoveArenas> arenas,
                          std::span<const BlockMove> moves);
  // One wave: long runs by the engine, the rest by the kernel.
  absl::Status QueueSwaps(std::span<const MoveArenas> arenas,
                          std::span<const BlockSwap> swaps,
                          SwapDirection direction, bool is_pinned);

  DeviceApi& api_;
  Stream stream_;
  std::int64_t copy_engine_from_;
  Memory memory_;
  Sizes sizes_;
  BlockWaves waves_;
  StagingRing ring_;
  std::vector<BlockMove> moves_;  // scratch: by the call under way
};

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_CUDA_BLOCK_STORAGE_H_
