// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "gtest/gtest.h"

#include "backends/cuda/device_api.h"
#include "tests/backends/cuda/device_memory.h"

namespace pagedkv::cuda {
namespace {

class GpuMemory final : public DeviceMemory {
 public:
  ~GpuMemory() override {
    for (std::byte* const address : buffers_) {
      EXPECT_TRUE(CudaApi().Free(address).ok());
    }
  }
  std::byte* Upload(std::span<const std::byte> bytes) override {
    const auto size = static_cast<std::int64_t>(bytes.size());
    const auto address = CudaApi().Allocate(size + 1);  // never none
    EXPECT_TRUE(address.ok()) << address.status();
    if (!address.ok()) return nullptr;
    buffers_.push_back(*address);
    EXPECT_TRUE(CudaApi().Copy(*address, bytes.data(), size, nullptr).ok());
    return *address;
  }
  void Download(const std::byte* from, std::span<std::byte> to) override {
    absl::Status status = CudaApi().Copy(
        to.data(), from, static_cast<std::int64_t>(to.size()), nullptr);
    if (status.ok()) status = CudaApi().Synchronize(nullptr);
    EXPECT_TRUE(status.ok()) << status;
  }
  [[nodiscard]] bool is_slow() const override { return false; }

 private:
  std::vector<std::byte*> buffers_;
};

}  // namespace

std::unique_ptr<DeviceMemory> DeviceMemory::Create() {
  if (NumDevices() == 0) return nullptr;
  return std::make_unique<GpuMemory>();
}

}  // namespace pagedkv::cuda
