// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_STAGING_RING_H_
#define BACKENDS_CUDA_STAGING_RING_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "backends/cuda/cuda_stream.h"
#include "backends/cuda/device_api.h"

namespace pagedkv::cuda {

/// Brings lists to the device without waiting for it: each is written to pinned
/// memory of the host, and copied from there. A place in the ring is used again
/// when the device has done what had been queued after the copy.
///
/// Per list: `Take`, write to `host`, `Upload`, queue what reads `device`,
/// `Finish`. Thread-compatible.
class StagingRing {
 public:
  struct Place {
    std::byte* host = nullptr;
    std::byte* device = nullptr;
    std::int64_t capacity = 0;
    Event event = nullptr;
    bool is_queued = false;  ///< `event` was recorded, and not waited for
  };

  explicit StagingRing(DeviceApi& api) : api_(api) {}
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;
  /// Waits until the device has read what was uploaded.
  ~StagingRing();

  /// The next place, for `bytes`; grows it if it must. Waits only if the device
  /// is a whole ring behind.
  absl::StatusOr<Place*> Take(std::int64_t bytes);
  absl::Status Upload(const Place& place, std::int64_t bytes, Stream stream) {
    return api_.Copy(place.device, place.host, bytes, stream);
  }
  /// Whatever reads the place has been queued on `stream`.
  absl::Status Finish(Place& place, Stream stream);

 private:
  absl::Status WaitFor(Place& place);
  absl::Status Grow(Place& place, std::int64_t bytes);
  void Free(Place& place);

  DeviceApi& api_;
  std::array<Place, 8> places_;
  std::size_t next_ = 0;
};

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_STAGING_RING_H_
