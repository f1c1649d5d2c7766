// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_TRACE_SUMMARY_H_
#define SIM_TRACE_TRACE_SUMMARY_H_

#include <cstdint>
#include <string>

namespace pagedkv::sim {

/// Rows that were read but not kept. A row counts once, under the first reason
/// that applies, in this order.
struct DroppedRows {
  std::int64_t malformed = 0;     ///< unreadable; only with `skip_malformed`
  std::int64_t zero_output = 0;   ///< generated nothing: a failed request
  std::int64_t out_of_order = 0;  ///< arrives before a row above it
  std::int64_t over_max_seq = 0;  ///< prompt + output > `max_sequence_tokens`

  [[nodiscard]] std::int64_t total() const {
    return malformed + zero_output + out_of_order + over_max_seq;
  }
  friend bool operator==(const DroppedRows&, const DroppedRows&) = default;
};

/// Where requests came from, and what became of each row:
/// `rows == kept + dropped.total()`.
struct TraceSummary {
  std::string name;    ///< file name without its folder, or built-in workload
  std::string format;  ///< "azure", "mooncake", ...; "builtin", "generated"
  /// The statistics that a synthetic workload is drawn from; empty: recorded.
  std::string synthetic_from = "";
  /// Identity, in lower-case hex: of the file's bytes (all of them, whatever
  /// the number of rows asked for), or of the generated requests.
  std::string sha256;
  std::int64_t rows = 0;  ///< read or generated
  std::int64_t kept = 0;
  DroppedRows dropped;
  std::int64_t span_ns = 0;        ///< first to last arrival kept
  std::int64_t prompt_tokens = 0;  ///< sum over the requests kept
  std::int64_t output_tokens = 0;  ///< sum over the requests kept
  /// Tokens per block id; 0 where the requests have no block ids.
  std::int32_t trace_block_tokens = 0;
  /// Turns of a session, among those kept, that wait for an earlier one to
  /// finish (`TraceRequest::follows`).
  std::int64_t closed_loop_turns = 0;
  /// Turns without a recorded arrival that do not wait: taken to arrive their
  /// delay after the previous turn arrives.
  std::int64_t open_loop_turns = 0;

  /// Mean arrivals per second, (kept - 1) / span; 0 without a span.
  [[nodiscard]] double rate() const {
    return span_ns > 0 ? static_cast<double>(kept - 1) * 1e9 /
                             static_cast<double>(span_ns)
                       : 0.0;
  }
};

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_TRACE_SUMMARY_H_
