// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_TRACE_WRITER_H_
#define SIM_TRACE_TRACE_WRITER_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "pagedkv/types.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// Writes requests in a format that `TraceReader` and other tools read, as
/// text that the caller puts where it wants. Reading it back gives the same
/// arrivals, to the nanosecond, and lengths; and block ids, if it
/// `keeps_block_ids`. Thread-compatible.
class TraceWriter {
 public:
  /// By the end of the file's name: ".csv" is Azure's format, ".jsonl" that of
  /// Mooncake. InvalidArgument for others. `block` is that of the block ids to
  /// come; those of another size than Mooncake's are rechunked to it.
  static absl::StatusOr<TraceWriter> ForPath(std::string_view path,
                                             BlockSize block);

  [[nodiscard]] bool keeps_block_ids() const { return jsonl_; }
  /// What comes before the first request.
  [[nodiscard]] std::string_view header() const;
  /// Appends the line of `request` to `text`.
  void Append(const TraceRequest& request, std::string& text) const;

 private:
  TraceWriter(bool jsonl, BlockSize block) : jsonl_(jsonl), block_(block) {}

  bool jsonl_;
  BlockSize block_;
};

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_TRACE_WRITER_H_
