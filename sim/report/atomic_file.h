// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_ATOMIC_FILE_H_
#define SIM_REPORT_ATOMIC_FILE_H_

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pagedkv::sim {

/// A file that is there in full or not at all: it is written beside its place,
/// under a hidden name, and renamed by `Commit`. Without `Commit` the
/// destructor removes what was written, and an older file of that name stays.
/// Thread-compatible.
class AtomicFile {
 public:
  /// Unavailable, naming the path and the reason, if it can not be written.
  static absl::StatusOr<AtomicFile> Create(const std::filesystem::path& path);
  AtomicFile(AtomicFile&&) noexcept = default;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  /// Buffered. An error shows in `Commit`.
  void Append(std::string_view text);
  /// Appends all that another file holds so far. The other one is then to be
  /// dropped.
  absl::Status Append(AtomicFile& part);

  /// Flushes to the disk and moves the file to its place; to be called once.
  /// Unavailable, naming the path and the reason, if that fails.
  absl::Status Commit();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  AtomicFile(std::filesystem::path path, std::filesystem::path temporary,
             std::FILE* file);

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::unique_ptr<std::FILE, Close> file_;  // null once committed or moved from
};

/// Makes the folder that --out names, with those above it. Unavailable, with
/// the reason, if that fails.
absl::Status MakeOutFolder(const std::filesystem::path& folder);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_ATOMIC_FILE_H_
