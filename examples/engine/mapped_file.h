// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_MAPPED_FILE_H_
#define EXAMPLES_ENGINE_MAPPED_FILE_H_

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace pagedkv::engine {

/// A whole file as read-only memory, which the kernel fills as it is read.
class MappedFile {
 public:
  /// NotFound or another error, with the path and the reason.
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept
      : bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> bytes_;
};

/// A file's text. NotFound or another error, with the path and the reason.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_MAPPED_FILE_H_
