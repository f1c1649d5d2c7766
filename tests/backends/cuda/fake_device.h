// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_BACKENDS_CUDA_FAKE_DEVICE_H_
#define TESTS_BACKENDS_CUDA_FAKE_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "backends/cuda/device_api.h"

namespace pagedkv::cuda {

/// A device in the memory of the host. What is queued on a stream is done as
/// late as CUDA allows: when somebody waits for it. So who reads too early, or
/// gives memory back that the device has still to work on, is found out: a
/// failure of the test. Kernels are emulated.
class FakeDevice final : public DeviceApi {
 public:
  static constexpr std::int64_t kGranularity = 16 << 10;

  /// Of the device, in all.
  std::int64_t memory_left = std::int64_t{64} << 20;
  /// Work is done as soon as it is queued, and all memory counts as pinned.
  bool is_prompt = false;
  /// Calls until the next one of the named kind fails; -1: none.
  int map_failures_in = -1;
  int allow_failures_in = -1;
  /// What was asked for.
  int num_copies = 0;
  int num_moves = 0;  ///< launches
  int num_fills = 0;
  std::int64_t last_num_moves = 0;  ///< of the last launch

  ~FakeDevice() override;

  /// A new one, besides the default stream.
  Stream CreateStream();
  [[nodiscard]] std::int64_t num_mapped() const {
    return std::ssize(mappings_);
  }

  absl::StatusOr<std::byte*> Allocate(std::int64_t bytes) override;
  absl::Status Free(std::byte* address) override;
  absl::StatusOr<std::byte*> AllocatePinned(std::int64_t bytes) override;
  absl::Status FreePinned(std::byte* address) override;
  absl::Status Pin(std::byte* address, std::int64_t bytes) override;
  absl::Status Unpin(std::byte* address) override;
  absl::StatusOr<std::byte*> DeviceAddress(std::byte* host) override;
  absl::StatusOr<std::int64_t> Granularity() override { return kGranularity; }
  absl::StatusOr<std::byte*> ReserveAddresses(std::int64_t bytes) override;
  absl::Status FreeAddresses(std::byte* address, std::int64_t bytes) override;
  absl::StatusOr<std::uint64_t> CreatePhysical(std::int64_t bytes) override;
  absl::Status ReleasePhysical(std::uint64_t handle) override;
  absl::Status Map(std::byte* address, std::int64_t bytes,
                   std::uint64_t handle) override;
  absl::Status Unmap(std::byte* address, std::int64_t bytes) override;
  absl::Status AllowAccess(std::byte* address, std::int64_t bytes) override;
  absl::Status Copy(std::byte* to, const std::byte* from, std::int64_t bytes,
                    Stream stream) override;
  absl::Status Synchronize(Stream stream) override;
  absl::StatusOr<Event> CreateEvent() override;
  absl::Status DestroyEvent(Event event) override;
  absl::Status Record(Event event, Stream stream) override;
  absl::StatusOr<bool> IsDone(Event event) override;
  absl::Status Wait(Event event) override;
  absl::Status Move(const MoveTable& table, Stream stream) override;
  absl::Status Fill(const FillTable& table, Stream stream) override;

 private:
  struct Buffer {
    std::unique_ptr<std::byte[]> bytes;
    std::int64_t size = 0;
  };
  struct Work {
    std::function<void()> run;
    std::vector<const std::byte*> touches;
  };
  struct Queue {
    std::deque<Work> work;
    std::int64_t num_done = 0;
  };
  struct Mapping {
    std::int64_t bytes = 0;
    std::uint64_t handle = 0;
    bool is_allowed = false;
  };
  struct Recorded {
    Stream stream = nullptr;
    std::int64_t work = 0;  // so much of the stream is before it
  };

  std::byte* NewBuffer(std::map<std::byte*, Buffer>& buffers,
                       std::int64_t bytes);
  absl::Status FreeBuffer(std::map<std::byte*, Buffer>& buffers,
                          std::byte* address);
  void Queued(Stream stream, std::vector<const std::byte*> touches,
              std::function<void()> run);
  void RunUntil(Stream stream, std::int64_t num_done);
  // Whether work that was queued touches the range.
  [[nodiscard]] bool IsInUse(const std::byte* begin, std::int64_t bytes) const;
  [[nodiscard]] bool IsPageable(const std::byte* address) const;

  std::map<std::byte*, Buffer> device_;
  std::map<std::byte*, Buffer> pinned_;
  std::map<std::byte*, std::int64_t> pinned_by_caller_;
  std::map<std::byte*, std::int64_t> reserved_;
  std::map<std::byte*, Mapping> mappings_;
  std::map<std::uint64_t, std::int64_t> physical_;
  std::map<Stream, Queue> queues_;
  std::map<Event, Recorded> events_;
  std::uintptr_t next_handle_ = 1;
};

}  // namespace pagedkv::cuda

#endif  // TESTS_BACKENDS_CUDA_FAKE_DEVICE_H_
