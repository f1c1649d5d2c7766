// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_TRACE_WRITER_H_
#define SIM_TRACE_TRACE_WRITER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

#include "pagedkv/types.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// Writes requests in a format that `TraceReader` and other tools read, as
/// text that the caller puts where it wants. Reading it back gives the same
/// arrivals, to the nanosecond, and lengths; and if it `keeps_block_ids`, these
/// and, of requests numbered from 0 in order, who follows whom by which delay.
///
/// JSON lines are Mooncake's, with `session_id` and `delay` as Dynamo and
/// AIPerf have them, and keys that others pass over: `block_tokens` where
/// blocks are not of 512 tokens, `follows`, the row that a turn goes on from,
/// where that is not the latest of its session, and `output_hash_ids`.
/// Thread-compatible.
class TraceWriter {
 public:
  struct Options {
    BlockSize block{512};      ///< of the block ids to come
    BlockSize out_block{512};  ///< as they are written: rechunked, if others
    /// Whether there are turns to come that follow others. Takes memory per
    /// request.
    bool sessions = false;
  };

  /// By the end of the file's name: ".csv" is Azure's format, ".jsonl" that of
  /// Mooncake. InvalidArgument for others.
  static absl::StatusOr<TraceWriter> ForPath(std::string_view path,
                                             const Options& options);

  [[nodiscard]] bool keeps_block_ids() const { return jsonl_; }
  /// What comes before the first request.
  [[nodiscard]] std::string_view header() const;
  /// Appends the line of `request` to `text`.
  void Append(const TraceRequest& request, std::string& text);

 private:
  struct Turn {
    std::int64_t session = 0;
    std::int64_t row = 0;
  };

  TraceWriter(bool jsonl, const Options& options)
      : jsonl_(jsonl), options_(options) {}
  void AppendMooncake(const TraceRequest& request, std::string& text);
  void AppendSession(const TraceRequest& request, std::string& text);
  void AppendBlockIds(const TraceRequest& request, std::string& text) const;

  bool jsonl_;
  Options options_;
  std::int64_t num_rows_ = 0;
  absl::flat_hash_map<std::int64_t, Turn> turns_;  // by the request's id
  std::vector<std::int64_t> latest_;               // row of each session
};

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_TRACE_WRITER_H_
