// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_VIRTUAL_RANGE_H_
#define BACKENDS_CUDA_VIRTUAL_RANGE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "backends/cuda/device_api.h"

namespace pagedkv::cuda {

/// Addresses of the device, reserved once, with physical memory behind the
/// first of them: chunks of one size, so that the last can be given back.
///
/// Invariant: chunk i is mapped at address() + i * chunk_bytes(), for
/// i < committed() / chunk_bytes(), and readable and writable; nothing is
/// mapped behind. Thread-compatible.
class VirtualRange {
 public:
  /// `chunk_bytes` is rounded up to the device's granularity; 0: that.
  static absl::StatusOr<VirtualRange> Reserve(DeviceApi& api,
                                              std::int64_t max_bytes,
                                              std::int64_t chunk_bytes);
  VirtualRange(VirtualRange&& other) noexcept;
  VirtualRange& operator=(VirtualRange&&) = delete;
  /// Gives memory and addresses back. REQUIRES: the device uses neither.
  ~VirtualRange();

  [[nodiscard]] std::byte* address() const { return address_; }
  [[nodiscard]] std::int64_t chunk_bytes() const { return chunk_bytes_; }
  [[nodiscard]] std::int64_t committed() const {
    return chunk_bytes_ * static_cast<std::int64_t>(chunks_.size());
  }

  /// Memory for the first `bytes`, and no chunk more: grows or shrinks. If it
  /// cannot grow, nothing has changed. REQUIRES: at most `max_bytes`, and that
  /// the device is not at work on chunks that go.
  absl::Status Commit(std::int64_t bytes);

 private:
  VirtualRange(DeviceApi& api, std::byte* address, std::int64_t reserved_bytes,
               std::int64_t chunk_bytes)
      : api_(&api),
        address_(address),
        reserved_bytes_(reserved_bytes),
        chunk_bytes_(chunk_bytes) {}

  [[nodiscard]] std::byte* ChunkAddress(std::size_t chunk) const {
    return address_ + static_cast<std::int64_t>(chunk) * chunk_bytes_;
  }
  absl::Status AddChunk();
  absl::Status DropLastChunk();

  DeviceApi* api_;
  std::byte* address_;  // null: moved from
  std::int64_t reserved_bytes_;
  std::int64_t chunk_bytes_;
  std::vector<std::uint64_t> chunks_;  // handles
};

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_VIRTUAL_RANGE_H_
