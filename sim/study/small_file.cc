// SPDX-License-Identifier: Apache-2.0
#include "sim/study/small_file.h"

#include <cstddef>
#include <fstream>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace pagedkv::sim {
namespace {

constexpr std::size_t kMostBytes = std::size_t{16} << 20;

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(const std::string& path,
                                          std::string_view wanted) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  char buffer[std::size_t{64} << 10];
  while (file.read(buffer, sizeof(buffer)) || file.gcount() > 0) {
    text.append(buffer, static_cast<std::size_t>(file.gcount()));
    if (text.size() > kMostBytes) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: too large for %s", path, wanted));
    }
  }
  // A folder opens and cannot be read.
  if (!file.eof()) {
    return absl::NotFoundError(
        absl::StrFormat("%s: the file cannot be read: give %s", path, wanted));
  }
  return text;
}

}  // namespace pagedkv::sim
