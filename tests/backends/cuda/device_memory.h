// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_BACKENDS_CUDA_DEVICE_MEMORY_H_
#define TESTS_BACKENDS_CUDA_DEVICE_MEMORY_H_

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace pagedkv::cuda {

/// Memory of the device that a test program is linked for: a GPU's, or that of
/// the emulation. Each upload has a buffer of its own, which starts at a
/// multiple of 256 bytes.
class DeviceMemory {
 public:
  /// Null where there is no device.
  static std::unique_ptr<DeviceMemory> Create();
  virtual ~DeviceMemory() = default;

  virtual std::byte* Upload(std::span<const std::byte> bytes) = 0;
  /// Waits for the device first.
  virtual void Download(const std::byte* from, std::span<std::byte> to) = 0;
  /// Whether it takes long, so that tests better do less.
  [[nodiscard]] virtual bool is_slow() const = 0;

  template <typename Item>
  std::span<const Item> UploadItems(std::span<const Item> items) {
    return {reinterpret_cast<const Item*>(Upload(std::as_bytes(items))),
            items.size()};
  }
};

}  // namespace pagedkv::cuda

#endif  // TESTS_BACKENDS_CUDA_DEVICE_MEMORY_H_
