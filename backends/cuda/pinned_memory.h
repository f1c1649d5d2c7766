// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_PINNED_MEMORY_H_
#define BACKENDS_CUDA_PINNED_MEMORY_H_

#include <cstddef>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "backends/cuda/device_api.h"

namespace pagedkv::cuda {

/// Host memory that is pinned as long as this lives: swap spaces, whose memory
/// `HostBlockStorage::memory` names. It can then be reached by kernels, and
/// swaps do not wait.
///
/// The memory must outlive it and must not be resized meanwhile: drop it,
/// resize, and pin again, when the device is not at work on it. Pinning takes
/// time and real memory: about 0.3 s for each GiB that was not touched before.
class PinnedMemory {
 public:
  static absl::StatusOr<PinnedMemory> Create(
      std::span<const std::span<std::byte>> ranges, DeviceApi& api = CudaApi());
  PinnedMemory(PinnedMemory&&) = default;
  PinnedMemory& operator=(PinnedMemory&&) = delete;
  ~PinnedMemory();

 private:
  explicit PinnedMemory(DeviceApi& api) : api_(&api) {}

  DeviceApi* api_;
  std::vector<std::byte*> pinned_;
};

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_PINNED_MEMORY_H_
