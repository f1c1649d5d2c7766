// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/virtual_range.h"

#include <algorithm>
#include <utility>

#include "allocator/checked.h"
#include "base/check.h"

namespace pagedkv::cuda {

absl::StatusOr<VirtualRange> VirtualRange::Reserve(DeviceApi& api,
                                                   std::int64_t max_bytes,
                                                   std::int64_t chunk_bytes) {
  const absl::StatusOr<std::int64_t> granularity = api.Granularity();
  if (!granularity.ok()) return granularity.status();
  const std::int64_t chunk =
      std::max<std::int64_t>(1, CeilDivide(chunk_bytes, *granularity)) *
      *granularity;
  const std::int64_t reserved = CeilDivide(max_bytes, chunk) * chunk;
  const absl::StatusOr<std::byte*> address = api.ReserveAddresses(reserved);
  if (!address.ok()) return address.status();
  return VirtualRange(api, *address, reserved, chunk);
}

VirtualRange::VirtualRange(VirtualRange&& other) noexcept
    : api_(other.api_),
      address_(std::exchange(other.address_, nullptr)),
      reserved_bytes_(other.reserved_bytes_),
      chunk_bytes_(other.chunk_bytes_),
      chunks_(std::exchange(other.chunks_, {})) {}

VirtualRange::~VirtualRange() {
  if (address_ == nullptr) return;
  // A device that has failed refuses this, too; then its memory goes with the
  // process.
  Commit(0).IgnoreError();
  api_->FreeAddresses(address_, reserved_bytes_).IgnoreError();
}

absl::Status VirtualRange::Commit(std::int64_t bytes) {
  PAGEDKV_CHECK(bytes >= 0 && bytes <= reserved_bytes_);
  const auto wanted = static_cast<std::size_t>(CeilDivide(bytes, chunk_bytes_));
  const std::size_t had = chunks_.size();
  absl::Status status;
  while (status.ok() && chunks_.size() > wanted) status = DropLastChunk();
  if (wanted <= had) return status;
  while (status.ok() && chunks_.size() < wanted) status = AddChunk();
  if (status.ok()) {
    status = api_->AllowAccess(
        ChunkAddress(had),
        chunk_bytes_ * static_cast<std::int64_t>(wanted - had));
  }
  if (!status.ok()) {
    while (chunks_.size() > had && DropLastChunk().ok()) {
    }
  }
  return status;
}

absl::Status VirtualRange::AddChunk() {
  const absl::StatusOr<std::uint64_t> handle =
      api_->CreatePhysical(chunk_bytes_);
  if (!handle.ok()) return handle.status();
  absl::Status status =
      api_->Map(ChunkAddress(chunks_.size()), chunk_bytes_, *handle);
  if (status.ok()) {
    chunks_.push_back(*handle);
  } else {
    api_->ReleasePhysical(*handle).IgnoreError();
  }
  return status;
}

absl::Status VirtualRange::DropLastChunk() {
  absl::Status status =
      api_->Unmap(ChunkAddress(chunks_.size() - 1), chunk_bytes_);
  if (!status.ok()) return status;
  status = api_->ReleasePhysical(chunks_.back());
  chunks_.pop_back();
  return status;
}

}  // namespace pagedkv::cuda
