// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_TRACE_READER_H_
#define SIM_TRACE_TRACE_READER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "sim/trace/line_reader.h"
#include "sim/trace/row_parser.h"
#include "sim/trace/trace_request.h"
#include "sim/trace/trace_summary.h"

namespace pagedkv::sim {

/// Whether a turn waits for the one before to finish (closed loop), or arrives
/// at its recorded time, or its delay after that one has arrived (open loop).
enum class SessionLoop {
  kRecorded,  ///< closed where the trace has delays, open where it has times
  kClosed,    ///< always closed: the time between two arrivals is the delay
  kOpen,
};

struct TraceReaderOptions {
  /// Count malformed rows instead of stopping at the first.
  bool skip_malformed = false;
  /// Also malformed: a number of block ids that is not the prompt's length in
  /// blocks, and a block id that follows another one than before (an id stands
  /// for its whole prefix). Takes memory per distinct id.
  bool strict = false;
  /// Keep rows out of order of arrival instead of dropping them.
  bool keep_out_of_order = false;
  /// Drop requests with more tokens, prompt and output together; 0: none.
  std::int64_t max_sequence_tokens = 0;
  /// Stop after so many requests; 0: read all.
  std::int64_t max_requests = 0;
  /// Tokens per block id; 0: the format's own.
  std::int32_t block_tokens = 0;
  /// Find the SHA-256 of the file; a second pass over it may spare the time.
  bool identify = true;
  /// Read the token ids of prompts where the format has them. They are most of
  /// the memory of a request.
  bool token_ids = false;
  SessionLoop sessions = SessionLoop::kRecorded;
};

/// Reads a trace file row by row, whatever its format: it is told from the
/// header or the keys of the first row. Memory does not grow with the file,
/// but for `strict` and for sessions.
///
/// A row is malformed (unreadable, or without a prompt: an error that names
/// file, line and column), or dropped for the reasons of `DroppedRows`, or
/// kept. Nothing is clipped. Arrivals count from the first row that can be
/// read, so what is dropped does not shift the rest. They do not decrease,
/// except with `keep_out_of_order` and at turns of a session that follow a
/// delay.
///
/// A turn that waits follows the latest turn of its session that was kept, by
/// the delays up to it; one with none before it arrives as if each dropped one
/// took no time (`TraceSummary::open_loop_turns`). Thread-compatible.
class TraceReader {
 public:
  static absl::StatusOr<std::unique_ptr<TraceReader>> Open(
      const std::string& path, const TraceReaderOptions& options);

  /// The next request, or false at the end; an error ends the reading.
  absl::StatusOr<bool> Next(TraceRequest& request);
  /// Whether arrivals can not decrease, whatever the rows hold.
  [[nodiscard]] bool keeps_order() const {
    return !options_.keep_out_of_order && !may_have_sessions_;
  }
  /// The kept request, by id, that the one which `Next` gave last goes on from,
  /// whether it waits for it or not; -1: none.
  [[nodiscard]] std::int64_t continued_id() const { return before_.kept_id; }
  /// Complete once `Next` returned false.
  [[nodiscard]] const TraceSummary& summary() const { return summary_; }

 private:
  TraceReader(std::string path, const TraceReaderOptions& options,
              std::unique_ptr<LineReader> lines);

  /// The latest turn of a session, and the latest that was kept.
  struct Turn {
    std::int64_t arrival_ns = 0;
    std::int64_t kept_id = -1;
    std::int64_t kept_arrival_ns = 0;
  };

  absl::Status Detect();
  absl::Status ErrorAt(const RowError& error) const;
  /// Fills `request` but for its id.
  bool Parse(std::string_view line, TraceRequest& request, RowError& error);
  bool CheckBlockIds(const TraceRequest& request, RowError& error);
  /// The turn that the row goes on from; null: none that was read.
  [[nodiscard]] const Turn* TurnBefore() const;
  /// Makes `request` wait for that turn, if it has to.
  void Follow(TraceRequest& request) const;
  void RememberTurn(const TraceRequest& request, bool kept);
  void Keep(const TraceRequest& request);
  absl::StatusOr<bool> End();

  std::string path_;
  TraceReaderOptions options_;
  std::unique_ptr<LineReader> lines_;
  std::unique_ptr<RowParser> parser_;
  TraceSummary summary_;
  TraceRow row_;
  bool may_have_sessions_ = false;
  std::string first_row_;  // of a format without a header, until it is read
  bool first_row_pending_ = false;
  bool ended_ = false;
  std::optional<std::int64_t> origin_ns_;  // arrival of the first row
  std::int64_t latest_ns_ = 0;             // of the rows in order
  std::int64_t first_kept_ns_ = 0;
  std::int64_t last_kept_ns_ = 0;
  Turn before_;  // of the row at hand
  absl::flat_hash_map<std::string, Turn> sessions_;
  // Those of sessions, where rows may name them.
  absl::flat_hash_map<std::int64_t, Turn> rows_;
  // With `strict`: the id before each id; none for the first of a prompt.
  absl::flat_hash_map<std::uint64_t, std::optional<std::uint64_t>> parents_;
  std::vector<std::uint64_t> new_ids_;  // of the row at hand, in `parents_`
};

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_TRACE_READER_H_
