// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_LINE_READER_H_
#define SIM_TRACE_LINE_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "sim/trace/sha256.h"

namespace pagedkv::sim {

/// Reads a file once, line by line, and hashes its bytes on the way, if asked
/// to. Holds one buffer, which grows to the longest line and no further than
/// `kMaxLineBytes`. Thread-compatible.
class LineReader {
 public:
  /// A line longer than this is handed out as `too_long`. Far above a row of
  /// any known trace: 16 MiB of JSON are two million token ids.
  static constexpr std::size_t kMaxLineBytes = std::size_t{16} << 20;
  /// Bytes that may be read, whatever they hold, after the end of a line.
  static constexpr std::size_t kPadding = 64;

  struct Line {
    std::string_view text;  ///< without LF or CRLF; valid until the next call
    bool too_long = false;  ///< passed over: `text` is empty
  };

  /// Errors name the path. A byte order mark of UTF-8 is skipped; a file that
  /// cannot be text (UTF-16, compressed) is InvalidArgument.
  static absl::StatusOr<std::unique_ptr<LineReader>> Open(
      const std::string& path, bool with_hash = true);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// The next line, or false at the end. The last one needs no line end.
  absl::StatusOr<bool> Next(Line& line);
  /// Of the line handed out last, from 1; 0 before the first.
  [[nodiscard]] std::int64_t line_number() const { return line_number_; }
  /// Reads what is left and returns SHA-256 of the whole file, in hex; empty,
  /// and nothing is read, without a hash. No other call may follow.
  absl::StatusOr<std::string> Finish();

 private:
  LineReader(std::string path, int file, bool with_hash);
  /// Appends a piece of the file to the buffer; false at the end of the file.
  absl::StatusOr<bool> Fill();
  /// Offset of the first line end at or after `from`, both from `begin_`.
  [[nodiscard]] std::size_t FindLineEnd(std::size_t from) const;
  /// Passes over the rest of a line that is too long.
  absl::Status SkipLine();
  absl::Status CheckIsText();

  std::string path_;
  int file_;
  bool with_hash_;
  Sha256 hash_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;  ///< of what is not handed out, in `buffer_`
  std::size_t end_ = 0;
  std::int64_t line_number_ = 0;
};

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_LINE_READER_H_
