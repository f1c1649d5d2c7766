// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/line_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pagedkv::sim {
namespace {

constexpr std::size_t kReadBytes = std::size_t{256} << 10;

absl::Status FileError(const std::string& path, int error) {
  return absl::ErrnoToStatus(error, absl::StrCat("cannot read ", path));
}

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LineReader>> LineReader::Open(
    const std::string& path, bool with_hash) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return FileError(path, errno);
  std::unique_ptr<LineReader> reader(new LineReader(path, file, with_hash));
  struct stat status{};
  if (::fstat(file, &status) != 0) return FileError(path, errno);
  if (S_ISDIR(status.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot read ", path, ": a folder; give a file in it"));
  }
  if (absl::Status text = reader->CheckIsText(); !text.ok()) return text;
  return reader;
}

LineReader::LineReader(std::string path, int file, bool with_hash)
    : path_(std::move(path)),
      file_(file),
      with_hash_(with_hash),
      buffer_(kReadBytes + kPadding) {}

LineReader::~LineReader() { ::close(file_); }

absl::Status LineReader::CheckIsText() {
  constexpr std::string_view kUtf8Mark = "\xEF\xBB\xBF";
  while (end_ < 4) {
    absl::StatusOr<bool> more = Fill();
    if (!more.ok()) return more.status();
    if (!*more) break;
  }
  const std::string_view head(buffer_.data(), end_);
  if (StartsWith(head, kUtf8Mark)) begin_ = kUtf8Mark.size();
  if (StartsWith(head, "\xFF\xFE") || StartsWith(head, "\xFE\xFF")) {
    return absl::InvalidArgumentError(absl::StrCat(
        path_, ":1: the file is UTF-16; convert it: iconv -f UTF-16 -t UTF-8"));
  }
  if (StartsWith(head, "\x1F\x8B") || StartsWith(head, "\x28\xB5\x2F\xFD")) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ":1: the file is compressed; decompress it first: ",
                     head[0] == '\x1F' ? "gunzip" : "unzstd"));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> LineReader::Fill() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (buffer_.size() - end_ < kReadBytes + kPadding) {
    buffer_.resize(2 * buffer_.size());
  }
  ssize_t got = 0;
  do {
    got = ::read(file_, buffer_.data() + end_, kReadBytes);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return FileError(path_, errno);
  const std::size_t size = static_cast<std::size_t>(got);
  if (with_hash_) hash_.Update(std::string_view(buffer_.data() + end_, size));
  end_ += size;
  return size > 0;
}

std::size_t LineReader::FindLineEnd(std::size_t from) const {
  const char* start = buffer_.data() + begin_;
  const void* found = std::memchr(start + from, '\n', end_ - begin_ - from);
  return found == nullptr ? std::string_view::npos
                          : static_cast<std::size_t>(
                                static_cast<const char*>(found) - start);
}

absl::StatusOr<bool> LineReader::Next(Line& line) {
  std::size_t size = FindLineEnd(0);
  while (size == std::string_view::npos && end_ - begin_ <= kMaxLineBytes) {
    const std::size_t searched = end_ - begin_;
    absl::StatusOr<bool> more = Fill();
    if (!more.ok()) return more.status();
    size = *more ? FindLineEnd(searched) : searched;
    if (!*more && size == 0) return false;
    if (!*more) break;
  }
  ++line_number_;
  line = {.text = {}, .too_long = size > kMaxLineBytes};
  if (size == std::string_view::npos) {
    if (absl::Status skipped = SkipLine(); !skipped.ok()) return skipped;
    return true;
  }
  if (!line.too_long) {
    line.text = std::string_view(buffer_.data() + begin_, size);
    if (!line.text.empty() && line.text.back() == '\r') {
      line.text.remove_suffix(1);
    }
  }
  begin_ = std::min(begin_ + size + 1, end_);
  return true;
}

absl::Status LineReader::SkipLine() {
  for (;;) {
    const std::size_t size = FindLineEnd(0);
    if (size != std::string_view::npos) {
      begin_ += size + 1;
      return absl::OkStatus();
    }
    begin_ = end_;
    absl::StatusOr<bool> more = Fill();
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
  }
}

absl::StatusOr<std::string> LineReader::Finish() {
  if (!with_hash_) return std::string();
  for (;;) {
    begin_ = end_;
    absl::StatusOr<bool> more = Fill();
    if (!more.ok()) return more.status();
    if (!*more) return hash_.Finish();
  }
}

}  // namespace pagedkv::sim
