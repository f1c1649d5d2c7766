// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/staging_ring.h"

#include <algorithm>
#include <bit>

namespace pagedkv::cuda {
namespace {

constexpr std::int64_t kMinCapacity = 64 << 10;

}  // namespace

StagingRing::~StagingRing() {
  for (Place& place : places_) {
    WaitFor(place).IgnoreError();
    Free(place);
    if (place.event != nullptr) api_.DestroyEvent(place.event).IgnoreError();
  }
}

absl::StatusOr<StagingRing::Place*> StagingRing::Take(std::int64_t bytes) {
  Place& place = places_[next_];
  next_ = (next_ + 1) % places_.size();
  if (absl::Status status = WaitFor(place); !status.ok()) return status;
  if (place.event == nullptr) {
    const absl::StatusOr<Event> event = api_.CreateEvent();
    if (!event.ok()) return event.status();
    place.event = *event;
  }
  if (place.capacity < bytes) {
    if (absl::Status status = Grow(place, bytes); !status.ok()) return status;
  }
  return &place;
}

absl::Status StagingRing::Finish(Place& place, Stream stream) {
  absl::Status status = api_.Record(place.event, stream);
  if (status.ok()) {
    place.is_queued = true;
    return status;
  }
  // Without an event there is no telling when the place is free.
  api_.Synchronize(stream).IgnoreError();
  return status;
}

absl::Status StagingRing::WaitFor(Place& place) {
  if (!place.is_queued) return absl::OkStatus();
  absl::Status status = api_.Wait(place.event);
  if (status.ok()) place.is_queued = false;
  return status;
}

absl::Status StagingRing::Grow(Place& place, std::int64_t bytes) {
  Free(place);
  const auto capacity = static_cast<std::int64_t>(
      std::bit_ceil(static_cast<std::uint64_t>(std::max(bytes, kMinCapacity))));
  const absl::StatusOr<std::byte*> host = api_.AllocatePinned(capacity);
  if (!host.ok()) return host.status();
  place.host = *host;
  const absl::StatusOr<std::byte*> device = api_.Allocate(capacity);
  if (!device.ok()) {
    Free(place);
    return device.status();
  }
  place.device = *device;
  place.capacity = capacity;
  return absl::OkStatus();
}

void StagingRing::Free(Place& place) {
  if (place.host != nullptr) api_.FreePinned(place.host).IgnoreError();
  if (place.device != nullptr) api_.Free(place.device).IgnoreError();
  place.host = nullptr;
  place.device = nullptr;
  place.capacity = 0;
}

}  // namespace pagedkv::cuda
