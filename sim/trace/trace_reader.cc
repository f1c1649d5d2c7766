// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/trace_reader.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pagedkv::sim {

absl::StatusOr<std::unique_ptr<TraceReader>> TraceReader::Open(
    const std::string& path, const TraceReaderOptions& options) {
  absl::StatusOr<std::unique_ptr<LineReader>> lines =
      LineReader::Open(path, options.identify);
  if (!lines.ok()) return lines.status();
  std::unique_ptr<TraceReader> reader(
      new TraceReader(path, options, *std::move(lines)));
  if (absl::Status found = reader->Detect(); !found.ok()) return found;
  return reader;
}

TraceReader::TraceReader(std::string path, const TraceReaderOptions& options,
                         std::unique_ptr<LineReader> lines)
    : path_(std::move(path)), options_(options), lines_(std::move(lines)) {
  summary_.name = std::filesystem::path(path_).filename().string();
}

absl::Status TraceReader::ErrorAt(const RowError& error) const {
  return absl::InvalidArgumentError(
      absl::StrCat(path_, ":", lines_->line_number(), ":", error.column, ": ",
                   error.message));
}

absl::Status TraceReader::Detect() {
  LineReader::Line line;
  do {
    absl::StatusOr<bool> more = lines_->Next(line);
    if (!more.ok()) return more.status();
    if (!*more) {
      return absl::InvalidArgumentError(absl::StrCat(
          path_, ":1: the file is empty; a trace has a header or a first row"));
    }
  } while (line.text.empty() && !line.too_long);

  RowError error;
  if (line.too_long || line.text.find('\0') != std::string_view::npos) {
    error.message = "no text of a known encoding; a trace is UTF-8, in lines";
    return ErrorAt(error);
  }
  const char first =
      line.text[line.text.find_first_not_of(" \t") % line.text.size()];
  if (first == '{') {
    parser_ = MakeJsonlParser(line.text, options_.token_ids, error);
    may_have_sessions_ = true;
    first_row_.assign(line.text);
    first_row_.reserve(first_row_.size() + LineReader::kPadding);
    first_row_pending_ = true;
  } else if (first == '[') {
    error.message =
        "a JSON array, as ShareGPT has it: its lengths need a tokenizer; give "
        "one object with token counts per line instead";
    return ErrorAt(error);
  } else {
    parser_ = MakeCsvParser(line.text, error);
  }
  if (parser_ == nullptr) return ErrorAt(error);
  summary_.format = parser_->format();
  if (parser_->block_tokens() > 0) {
    summary_.trace_block_tokens = options_.block_tokens > 0
                                      ? options_.block_tokens
                                      : parser_->block_tokens();
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> TraceReader::Next(TraceRequest& request) {
  if (ended_) return false;
  if (options_.max_requests > 0 && summary_.kept == options_.max_requests) {
    return End();
  }
  for (;;) {
    LineReader::Line line;
    if (first_row_pending_) {
      first_row_pending_ = false;
      line.text = first_row_;
    } else {
      absl::StatusOr<bool> more = lines_->Next(line);
      if (!more.ok()) return more.status();
      if (!*more) return End();
      if (line.text.empty() && !line.too_long) continue;
    }
    request.id = summary_.rows++;
    RowError error;
    if (line.too_long) {
      error.message = absl::StrCat("the line is longer than ",
                                   LineReader::kMaxLineBytes >> 20, " MiB");
    }
    if (line.too_long || !Parse(line.text, request, error)) {
      if (!options_.skip_malformed) {
        absl::StrAppend(&error.message,
                        "; mend it, or count and skip such rows with "
                        "--skip-malformed");
        return ErrorAt(error);
      }
      ++summary_.dropped.malformed;
      continue;
    }
    const bool in_order = row_.follows_turn || request.arrival_ns >= latest_ns_;
    if (!row_.follows_turn) {
      latest_ns_ = std::max(latest_ns_, request.arrival_ns);
    }
    bool kept = false;
    if (request.output_tokens == 0) {
      ++summary_.dropped.zero_output;
    } else if (!in_order && !options_.keep_out_of_order) {
      ++summary_.dropped.out_of_order;
    } else if (options_.max_sequence_tokens > 0 &&
               std::int64_t{request.prompt_tokens} + request.output_tokens >
                   options_.max_sequence_tokens) {
      ++summary_.dropped.over_max_seq;
    } else {
      kept = true;
      Follow(request);
      Keep(request);
    }
    RememberTurn(request, kept);
    if (kept) return true;
  }
}

bool TraceReader::Parse(std::string_view line, TraceRequest& request,
                        RowError& error) {
  if (!parser_->Parse(line, row_, error)) return false;
  error.column = 1;
  if (row_.prompt_tokens == 0 && row_.output_tokens > 0) {
    error.message = "a prompt of 0 tokens with an output";
    return false;
  }
  const Turn* const before = TurnBefore();
  before_ = before != nullptr ? *before : Turn();
  if (row_.follows_turn) {
    if (before == nullptr) {
      error.message = "a delay, but no earlier turn of its session";
      return false;
    }
    if (row_.arrival_ns >
        std::numeric_limits<std::int64_t>::max() - before->arrival_ns) {
      error.message = "the delays of its session exceed 292 years";
      return false;
    }
    request.arrival_ns = before->arrival_ns + row_.arrival_ns;
  } else {
    if (!origin_ns_.has_value()) origin_ns_ = row_.arrival_ns;
    request.arrival_ns = row_.arrival_ns - *origin_ns_;
  }
  request.prompt_tokens = row_.prompt_tokens;
  request.output_tokens = row_.output_tokens;
  request.block_ids.assign(row_.block_ids.begin(), row_.block_ids.end());
  request.prompt_token_ids = row_.token_ids;
  request.output_block_ids.assign(row_.output_block_ids.begin(),
                                  row_.output_block_ids.end());
  if (options_.strict && !CheckBlockIds(request, error)) return false;
  return true;
}

const TraceReader::Turn* TraceReader::TurnBefore() const {
  if (row_.follows_row >= 0) {
    const auto found = rows_.find(row_.follows_row);
    return found == rows_.end() ? nullptr : &found->second;
  }
  if (row_.previous.empty()) return nullptr;
  const auto found = sessions_.find(row_.previous);
  return found == sessions_.end() ? nullptr : &found->second;
}

void TraceReader::Follow(TraceRequest& request) const {
  const bool closed =
      options_.sessions == SessionLoop::kClosed ||
      (options_.sessions == SessionLoop::kRecorded && row_.follows_turn);
  const bool waits = closed && before_.kept_id >= 0;
  request.follows = waits ? before_.kept_id : -1;
  request.delay_ns = waits
                         ? std::max<std::int64_t>(
                               0, request.arrival_ns - before_.kept_arrival_ns)
                         : 0;
}

void TraceReader::RememberTurn(const TraceRequest& request, bool kept) {
  if (row_.session.empty()) return;
  Turn turn = before_;
  turn.arrival_ns = request.arrival_ns;
  if (kept) {
    turn.kept_id = request.id;
    turn.kept_arrival_ns = request.arrival_ns;
  }
  sessions_[row_.session] = turn;
  if (parser_->names_rows()) rows_[request.id] = turn;
}

bool TraceReader::CheckBlockIds(const TraceRequest& request, RowError& error) {
  if (request.block_ids.empty()) return true;
  const std::int64_t block = summary_.trace_block_tokens;
  const std::int64_t expected = (request.prompt_tokens + block - 1) / block;
  const std::int64_t found =
      static_cast<std::int64_t>(request.block_ids.size());
  if (found != expected) {
    error.message = absl::StrCat("expected ", expected, " block ids for ",
                                 request.prompt_tokens, " tokens in blocks of ",
                                 block, ", found ", found);
    return false;
  }
  new_ids_.clear();
  std::optional<std::uint64_t> parent;
  for (const std::uint64_t id : request.block_ids) {
    const auto [entry, added] = parents_.try_emplace(id, parent);
    if (added) {
      new_ids_.push_back(id);
    } else if (entry->second != parent) {
      const auto name = [](std::optional<std::uint64_t> before) {
        return before.has_value() ? absl::StrCat("block id ", *before)
                                  : std::string("the start");
      };
      error.message = absl::StrCat("block id ", id, " follows ", name(parent),
                                   " here, and ", name(entry->second),
                                   " before: no prefix has two parents");
      // A row that is skipped leaves no trace behind.
      for (const std::uint64_t added_id : new_ids_) parents_.erase(added_id);
      return false;
    }
    parent = id;
  }
  return true;
}

void TraceReader::Keep(const TraceRequest& request) {
  if (summary_.kept++ == 0) {
    first_kept_ns_ = last_kept_ns_ = request.arrival_ns;
  }
  first_kept_ns_ = std::min(first_kept_ns_, request.arrival_ns);
  last_kept_ns_ = std::max(last_kept_ns_, request.arrival_ns);
  summary_.span_ns = last_kept_ns_ - first_kept_ns_;
  summary_.prompt_tokens += request.prompt_tokens;
  summary_.output_tokens += request.output_tokens;
  summary_.closed_loop_turns += request.follows >= 0 ? 1 : 0;
  summary_.open_loop_turns += row_.follows_turn && request.follows < 0 ? 1 : 0;
}

absl::StatusOr<bool> TraceReader::End() {
  ended_ = true;
  if (summary_.rows == 0) {
    RowError error;
    error.message = "no row after the header";
    return ErrorAt(error);
  }
  absl::StatusOr<std::string> sha256 = lines_->Finish();
  if (!sha256.ok()) return sha256.status();
  summary_.sha256 = *std::move(sha256);
  return false;
}

}  // namespace pagedkv::sim
