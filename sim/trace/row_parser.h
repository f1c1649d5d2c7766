// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_ROW_PARSER_H_
#define SIM_TRACE_ROW_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pagedkv/types.h"

namespace pagedkv::sim {

/// A row as its format gives it, in common units.
struct TraceRow {
  /// Since the format's own zero (1970, or the start of the recording); where
  /// `follows_turn`, since the arrival of the session's previous turn.
  std::int64_t arrival_ns = 0;
  bool follows_turn = false;
  std::string session;  ///< empty: the format or the row has none
  /// The session whose latest turn this one goes on from; empty: none.
  std::string previous;
  /// The row that this one goes on from, from 0, if it is not that turn.
  std::int64_t follows_row = -1;
  std::int32_t prompt_tokens = 0;
  std::int32_t output_tokens = 0;
  std::vector<std::uint64_t> block_ids;
  /// Of the prompt, where they are asked for and the format has them.
  std::vector<TokenId> token_ids;
  std::vector<std::uint64_t> output_block_ids;
};

/// What is wrong with a row, and where.
struct RowError {
  std::size_t column = 1;  ///< byte of the line, from 1
  std::string message;
};

/// Reads the rows of one format. Thread-compatible.
class RowParser {
 public:
  virtual ~RowParser() = default;
  /// As in reports: "azure", "mooncake", ...
  [[nodiscard]] virtual std::string_view format() const = 0;
  /// Tokens per block id by the format's convention; 0: it has none.
  [[nodiscard]] virtual std::int32_t block_tokens() const = 0;
  /// Whether rows may have `follows_row`.
  [[nodiscard]] virtual bool names_rows() const { return false; }
  /// Overwrites `row` from one line, which has `LineReader::kPadding` readable
  /// bytes after it. False: see `error`, and `row` is unspecified.
  [[nodiscard]] virtual bool Parse(std::string_view line, TraceRow& row,
                                   RowError& error) = 0;
};

/// The parser of the format whose header `line` is, or null, with `error`.
std::unique_ptr<RowParser> MakeCsvParser(std::string_view line,
                                         RowError& error);
/// The parser of the format whose first row `line` is, or null, with `error`.
/// Token ids are passed over unless `token_ids` asks for them.
std::unique_ptr<RowParser> MakeJsonlParser(std::string_view line,
                                           bool token_ids, RowError& error);
/// The formats with the columns or keys that mark them, for messages.
std::string DescribeCsvFormats();
std::string DescribeJsonlFormats();
/// Says that `seen`, a header or keys, belongs to none of them.
std::string UnknownFormat(std::string_view seen);

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_ROW_PARSER_H_
