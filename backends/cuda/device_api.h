// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_DEVICE_API_H_
#define BACKENDS_CUDA_DEVICE_API_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "backends/cuda/block_moves.h"
#include "backends/cuda/cuda_stream.h"

namespace pagedkv::cuda {

/// What a storage asks of a device: CUDA's calls, one for one, with a `Status`
/// that names the call. `CudaApi` is CUDA itself; tests have one that runs the
/// same kernels on the host. The calls are for the device that is current.
/// Thread-safe.
class DeviceApi {
 public:
  virtual ~DeviceApi() = default;

  // Memory of the device, and of the host for copies that do not wait.
  virtual absl::StatusOr<std::byte*> Allocate(std::int64_t bytes) = 0;
  virtual absl::Status Free(std::byte* address) = 0;
  virtual absl::StatusOr<std::byte*> AllocatePinned(std::int64_t bytes) = 0;
  virtual absl::Status FreePinned(std::byte* address) = 0;

  /// Pins memory of the host, so that kernels can reach it, and copies do not
  /// wait. Whole pages.
  virtual absl::Status Pin(std::byte* address, std::int64_t bytes) = 0;
  virtual absl::Status Unpin(std::byte* address) = 0;
  /// The device's address of a byte of the host; null if it is not pinned.
  virtual absl::StatusOr<std::byte*> DeviceAddress(std::byte* host) = 0;

  // Virtual memory: addresses and physical memory apart. All sizes are
  // multiples of the granularity.
  virtual absl::StatusOr<std::int64_t> Granularity() = 0;
  virtual absl::StatusOr<std::byte*> ReserveAddresses(std::int64_t bytes) = 0;
  virtual absl::Status FreeAddresses(std::byte* address,
                                     std::int64_t bytes) = 0;
  virtual absl::StatusOr<std::uint64_t> CreatePhysical(std::int64_t bytes) = 0;
  virtual absl::Status ReleasePhysical(std::uint64_t handle) = 0;
  virtual absl::Status Map(std::byte* address, std::int64_t bytes,
                           std::uint64_t handle) = 0;
  virtual absl::Status Unmap(std::byte* address, std::int64_t bytes) = 0;
  /// Lets the device read and write what is mapped there.
  virtual absl::Status AllowAccess(std::byte* address, std::int64_t bytes) = 0;

  // Streams: what is queued on one is done in order. Pageable memory of the
  // host has been read, or written, when `Copy` returns.
  virtual absl::Status Copy(std::byte* to, const std::byte* from,
                            std::int64_t bytes, Stream stream) = 0;
  virtual absl::Status Synchronize(Stream stream) = 0;
  virtual absl::StatusOr<Event> CreateEvent() = 0;
  virtual absl::Status DestroyEvent(Event event) = 0;
  virtual absl::Status Record(Event event, Stream stream) = 0;
  virtual absl::StatusOr<bool> IsDone(Event event) = 0;
  virtual absl::Status Wait(Event event) = 0;

  virtual absl::Status Move(const MoveTable& table, Stream stream) = 0;
  virtual absl::Status Fill(const FillTable& table, Stream stream) = 0;
};

/// CUDA. It needs no device to be called; its functions then answer
/// Unavailable.
DeviceApi& CudaApi();

/// The devices of this machine: 0 without a driver, too.
int NumDevices();

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_DEVICE_API_H_
