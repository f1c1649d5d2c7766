// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/pinned_memory.h"

#include <cstdint>

namespace pagedkv::cuda {

absl::StatusOr<PinnedMemory> PinnedMemory::Create(
    std::span<const std::span<std::byte>> ranges, DeviceApi& api) {
  PinnedMemory memory(api);
  for (const std::span<std::byte> range : ranges) {
    if (range.empty()) continue;
    absl::Status status =
        api.Pin(range.data(), static_cast<std::int64_t>(range.size()));
    if (!status.ok()) return status;
    memory.pinned_.push_back(range.data());
  }
  return memory;
}

PinnedMemory::~PinnedMemory() {
  for (std::byte* const address : pinned_) api_->Unpin(address).IgnoreError();
}

}  // namespace pagedkv::cuda
