// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/cuda/fake_device.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "gtest/gtest.h"

#include "backends/cuda/launches.h"

namespace pagedkv::cuda {
namespace {

constexpr std::byte kFresh{0xcd};  // nothing is zero by accident

absl::Status NoMemory(const char* call) {
  return absl::ResourceExhaustedError(call);
}

bool FailsNow(int& calls_left) {
  if (calls_left < 0) return false;
  return calls_left-- == 0;
}

// The entry whose range has `address`; end() if none.
template <typename Map, typename Size>
auto Containing(Map& ranges, const std::byte* address, Size size) {
  auto next = ranges.upper_bound(const_cast<std::byte*>(address));
  if (next == ranges.begin()) return ranges.end();
  --next;
  return address < next->first + size(next->second) ? next : ranges.end();
}

constexpr auto kItself = [](std::int64_t bytes) { return bytes; };
constexpr auto kSizeOf = [](const auto& entry) { return entry.size; };

}  // namespace

FakeDevice::~FakeDevice() {
  EXPECT_TRUE(device_.empty()) << "device memory was not freed";
  EXPECT_TRUE(pinned_.empty()) << "pinned memory was not freed";
  EXPECT_TRUE(pinned_by_caller_.empty()) << "memory is still pinned";
  EXPECT_TRUE(mappings_.empty() && reserved_.empty() && physical_.empty())
      << "virtual memory was not given back";
  EXPECT_TRUE(events_.empty()) << "events were not destroyed";
}

Stream FakeDevice::CreateStream() {
  return reinterpret_cast<Stream>(next_handle_++);
}

std::byte* FakeDevice::NewBuffer(std::map<std::byte*, Buffer>& buffers,
                                 std::int64_t bytes) {
  // Each a heap object, so that the sanitizer sees what goes beyond it; aligned
  // by hand, since operator new only promises 16 bytes.
  constexpr std::int64_t kAlignment = 256;
  Buffer buffer{std::make_unique<std::byte[]>(
                    static_cast<std::size_t>(bytes + kAlignment)),
                bytes};
  const auto begin = reinterpret_cast<std::uintptr_t>(buffer.bytes.get());
  std::byte* const address =
      buffer.bytes.get() +
      (kAlignment - static_cast<std::int64_t>(begin % kAlignment));
  std::fill_n(address, bytes, kFresh);
  buffers[address] = std::move(buffer);
  return address;
}

absl::Status FakeDevice::FreeBuffer(std::map<std::byte*, Buffer>& buffers,
                                    std::byte* address) {
  const auto found = buffers.find(address);
  if (found == buffers.end()) {
    ADD_FAILURE() << "freed what was not allocated";
    return absl::InvalidArgumentError("free");
  }
  EXPECT_FALSE(IsInUse(address, found->second.size))
      << "freed what queued work is to touch";
  buffers.erase(found);
  return absl::OkStatus();
}

absl::StatusOr<std::byte*> FakeDevice::Allocate(std::int64_t bytes) {
  if (bytes > memory_left) return NoMemory("cudaMalloc");
  memory_left -= bytes;
  return NewBuffer(device_, bytes);
}

absl::Status FakeDevice::Free(std::byte* address) {
  if (device_.contains(address)) memory_left += device_[address].size;
  return FreeBuffer(device_, address);
}

absl::StatusOr<std::byte*> FakeDevice::AllocatePinned(std::int64_t bytes) {
  return NewBuffer(pinned_, bytes);
}

absl::Status FakeDevice::FreePinned(std::byte* address) {
  return FreeBuffer(pinned_, address);
}

absl::Status FakeDevice::Pin(std::byte* address, std::int64_t bytes) {
  if (pinned_by_caller_.contains(address)) {
    return absl::InvalidArgumentError("cudaHostRegister: already registered");
  }
  pinned_by_caller_[address] = bytes;
  return absl::OkStatus();
}

absl::Status FakeDevice::Unpin(std::byte* address) {
  EXPECT_FALSE(IsInUse(address, pinned_by_caller_[address]))
      << "unpinned what queued work is to touch";
  EXPECT_EQ(pinned_by_caller_.erase(address), 1u);
  return absl::OkStatus();
}

absl::StatusOr<std::byte*> FakeDevice::DeviceAddress(std::byte* host) {
  return IsPageable(host) ? nullptr : host;
}

bool FakeDevice::IsPageable(const std::byte* address) const {
  return !is_prompt && Containing(pinned_, address, kSizeOf) == pinned_.end() &&
         Containing(pinned_by_caller_, address, kItself) ==
             pinned_by_caller_.end() &&
         Containing(device_, address, kSizeOf) == device_.end() &&
         Containing(reserved_, address, kItself) == reserved_.end();
}

absl::StatusOr<std::byte*> FakeDevice::ReserveAddresses(std::int64_t bytes) {
  EXPECT_EQ(bytes % kGranularity, 0);
  void* const address =
      mmap(nullptr, static_cast<std::size_t>(bytes), PROT_NONE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) return NoMemory("cuMemAddressReserve");
  reserved_[static_cast<std::byte*>(address)] = bytes;
  return static_cast<std::byte*>(address);
}

absl::Status FakeDevice::FreeAddresses(std::byte* address, std::int64_t bytes) {
  EXPECT_EQ(reserved_[address], bytes);
  EXPECT_EQ(Containing(mappings_, address + bytes - 1,
                       [](const Mapping& m) { return m.bytes; }),
            mappings_.end())
      << "addresses were freed that have memory";
  reserved_.erase(address);
  munmap(address, static_cast<std::size_t>(bytes));
  return absl::OkStatus();
}

absl::StatusOr<std::uint64_t> FakeDevice::CreatePhysical(std::int64_t bytes) {
  EXPECT_EQ(bytes % kGranularity, 0);
  if (bytes > memory_left) return NoMemory("cuMemCreate");
  memory_left -= bytes;
  physical_[next_handle_] = bytes;
  return next_handle_++;
}

absl::Status FakeDevice::ReleasePhysical(std::uint64_t handle) {
  for (const auto& [address, mapping] : mappings_) {
    EXPECT_NE(mapping.handle, handle) << "released what is mapped";
  }
  memory_left += physical_[handle];
  EXPECT_EQ(physical_.erase(handle), 1u);
  return absl::OkStatus();
}

absl::Status FakeDevice::Map(std::byte* address, std::int64_t bytes,
                             std::uint64_t handle) {
  if (FailsNow(map_failures_in)) return NoMemory("cuMemMap");
  EXPECT_EQ(physical_[handle], bytes);
  const auto inside = Containing(reserved_, address, kItself);
  const bool is_free = Containing(mappings_, address, [](const Mapping& m) {
                         return m.bytes;
                       }) == mappings_.end();
  if (inside == reserved_.end() ||
      address + bytes > inside->first + inside->second || !is_free) {
    ADD_FAILURE() << "mapped outside of the reserved addresses, or twice";
    return absl::InvalidArgumentError("cuMemMap");
  }
  mappings_[address] = {bytes, handle, false};
  return absl::OkStatus();
}

absl::Status FakeDevice::Unmap(std::byte* address, std::int64_t bytes) {
  for (const auto& [stream, queue] : queues_) {
    EXPECT_TRUE(queue.work.empty()) << "unmapped while work is queued";
  }
  EXPECT_EQ(mappings_[address].bytes, bytes);
  mappings_.erase(address);
  const auto size = static_cast<std::size_t>(bytes);
  EXPECT_EQ(madvise(address, size, MADV_DONTNEED), 0);
  EXPECT_EQ(mprotect(address, size, PROT_NONE), 0);
  return absl::OkStatus();
}

absl::Status FakeDevice::AllowAccess(std::byte* address, std::int64_t bytes) {
  if (FailsNow(allow_failures_in)) return NoMemory("cuMemSetAccess");
  for (std::byte* at = address; at < address + bytes;) {
    const auto found = mappings_.find(at);
    if (found == mappings_.end() || found->second.is_allowed) {
      ADD_FAILURE() << "access to what is not mapped, or allowed before";
      return absl::InvalidArgumentError("cuMemSetAccess");
    }
    found->second.is_allowed = true;
    at += found->second.bytes;
  }
  const auto size = static_cast<std::size_t>(bytes);
  EXPECT_EQ(mprotect(address, size, PROT_READ | PROT_WRITE), 0);
  std::fill_n(address, bytes, kFresh);
  return absl::OkStatus();
}

void FakeDevice::Queued(Stream stream, std::vector<const std::byte*> touches,
                        std::function<void()> run) {
  Queue& queue = queues_[stream];
  queue.work.push_back({std::move(run), std::move(touches)});
  if (is_prompt) RunUntil(stream, queue.num_done + std::ssize(queue.work));
}

void FakeDevice::RunUntil(Stream stream, std::int64_t num_done) {
  Queue& queue = queues_[stream];
  while (queue.num_done < num_done) {
    queue.work.front().run();
    queue.work.pop_front();
    ++queue.num_done;
  }
}

bool FakeDevice::IsInUse(const std::byte* begin, std::int64_t bytes) const {
  for (const auto& [stream, queue] : queues_) {
    for (const Work& work : queue.work) {
      for (const std::byte* address : work.touches) {
        if (address >= begin && address < begin + bytes) return true;
      }
    }
  }
  return false;
}

absl::Status FakeDevice::Copy(std::byte* to, const std::byte* from,
                              std::int64_t bytes, Stream stream) {
  ++num_copies;
  Queued(stream, {to, from}, [to, from, bytes] {
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
  });
  if (IsPageable(to) || IsPageable(from)) return Synchronize(stream);
  return absl::OkStatus();
}

absl::Status FakeDevice::Synchronize(Stream stream) {
  const Queue& queue = queues_[stream];
  RunUntil(stream, queue.num_done + std::ssize(queue.work));
  return absl::OkStatus();
}

absl::StatusOr<Event> FakeDevice::CreateEvent() {
  const auto event = reinterpret_cast<Event>(next_handle_++);
  events_[event] = {};
  return event;
}

absl::Status FakeDevice::DestroyEvent(Event event) {
  EXPECT_EQ(events_.erase(event), 1u);
  return absl::OkStatus();
}

absl::Status FakeDevice::Record(Event event, Stream stream) {
  const Queue& queue = queues_[stream];
  events_[event] = {stream, queue.num_done + std::ssize(queue.work)};
  return absl::OkStatus();
}

absl::StatusOr<bool> FakeDevice::IsDone(Event event) {
  const Recorded& recorded = events_[event];
  return queues_[recorded.stream].num_done >= recorded.work;
}

absl::Status FakeDevice::Wait(Event event) {
  const Recorded recorded = events_[event];
  RunUntil(recorded.stream, recorded.work);
  return absl::OkStatus();
}

absl::Status FakeDevice::Move(const MoveTable& table, Stream stream) {
  ++num_moves;
  last_num_moves = table.num_moves;
  Queued(stream, {reinterpret_cast<const std::byte*>(table.arenas)},
         [table] { EXPECT_EQ(LaunchMoves(table, nullptr), 0); });
  return absl::OkStatus();
}

absl::Status FakeDevice::Fill(const FillTable& table, Stream stream) {
  ++num_fills;
  Queued(stream, {reinterpret_cast<const std::byte*>(table.arenas)},
         [table] { EXPECT_EQ(LaunchFills(table, nullptr), 0); });
  return absl::OkStatus();
}

}  // namespace pagedkv::cuda
