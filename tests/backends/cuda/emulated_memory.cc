// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>

#include "tests/backends/cuda/device_memory.h"

namespace pagedkv::cuda {
namespace {

class EmulatedMemory final : public DeviceMemory {
 public:
  // The sanitizer sees what goes beyond a buffer's end.
  std::byte* Upload(std::span<const std::byte> bytes) override {
    constexpr std::size_t kAlignment = 256;
    buffers_.push_back(
        std::make_unique_for_overwrite<std::byte[]>(bytes.size() + kAlignment));
    std::byte* const begin = buffers_.back().get();
    std::byte* const aligned =
        begin +
        (kAlignment - reinterpret_cast<std::uintptr_t>(begin) % kAlignment);
    std::copy(bytes.begin(), bytes.end(), aligned);
    return aligned;
  }
  void Download(const std::byte* from, std::span<std::byte> to) override {
    std::copy_n(from, to.size(), to.begin());
  }
  [[nodiscard]] bool is_slow() const override { return true; }

 private:
  std::vector<std::unique_ptr<std::byte[]>> buffers_;
};

}  // namespace

std::unique_ptr<DeviceMemory> DeviceMemory::Create() {
  return std::make_unique<EmulatedMemory>();
}

}  // namespace pagedkv::cuda
