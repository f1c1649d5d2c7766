// SPDX-License-Identifier: Apache-2.0
#include "sim/report/atomic_file.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_format.h"

namespace pagedkv::sim {
namespace {

absl::Status WriteError(const std::filesystem::path& path, int error) {
  return absl::UnavailableError(absl::StrFormat(
      "%s: cannot be written: %s", path.string(), std::strerror(error)));
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path,
                       std::filesystem::path temporary, std::FILE* file)
    : path_(std::move(path)), temporary_(std::move(temporary)), file_(file) {}

absl::StatusOr<AtomicFile> AtomicFile::Create(
    const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return WriteError(path, EISDIR);
  }
  std::filesystem::path temporary = path;
  temporary.replace_filename(
      absl::StrFormat(".%s.%d.tmp", path.filename().string(), getpid()));
  std::FILE* file = std::fopen(temporary.c_str(), "w+b");
  if (file == nullptr) return WriteError(path, errno);
  return AtomicFile(path, std::move(temporary), file);
}

AtomicFile::~AtomicFile() {
  if (file_ == nullptr) return;
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::Append(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), file_.get());
}

absl::Status AtomicFile::Append(AtomicFile& part) {
  if (std::fflush(part.file_.get()) != 0 ||
      std::ferror(part.file_.get()) != 0 ||
      std::fseek(part.file_.get(), 0, SEEK_SET) != 0) {
    return WriteError(part.path_, errno);
  }
  std::array<char, 1 << 16> buffer;
  while (std::size_t size =
             std::fread(buffer.data(), 1, buffer.size(), part.file_.get())) {
    Append(std::string_view(buffer.data(), size));
  }
  if (std::ferror(part.file_.get()) != 0) return WriteError(part.path_, errno);
  return absl::OkStatus();
}

absl::Status AtomicFile::Commit() {
  // ferror keeps a failed write of long ago, whose errno is gone; a full disk
  // is by far the likeliest.
  if (std::ferror(file_.get()) != 0) return WriteError(path_, ENOSPC);
  if (std::fflush(file_.get()) != 0 || fsync(fileno(file_.get())) != 0 ||
      std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return WriteError(path_, errno);
  }
  file_.reset();
  return absl::OkStatus();
}

absl::Status MakeOutFolder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error && !std::filesystem::is_directory(folder, error)) {
    error = std::make_error_code(std::errc::not_a_directory);
  }
  if (!error) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrFormat("--out %s: the folder cannot be made: %s",
                      folder.string(), error.message()));
}

}  // namespace pagedkv::sim
