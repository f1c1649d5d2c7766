// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/trace_writer.h"

#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "sim/trace/rechunk.h"

namespace pagedkv::sim {
namespace {

constexpr BlockSize kMooncakeBlock{512};

bool EndsWith(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() &&
         text.substr(text.size() - suffix.size()) == suffix;
}

/// Writes the last `count` digits of a number that is not negative.
char* WriteDigits(char* at, std::int64_t number, int count) {
  for (int i = count - 1; i >= 0; --i, number /= 10) {
    at[i] = static_cast<char>('0' + number % 10);
  }
  return at + count;
}

char* WriteNumber(char* at, char* end, std::int32_t number) {
  return std::to_chars(at, end, number).ptr;
}

/// Arrivals become times since 1970, which no trace was recorded in. By hand:
/// a format string takes ten times as long, and a week has 44 M rows.
void AppendAzure(const TraceRequest& request, std::string& text) {
  const std::chrono::sys_time<std::chrono::nanoseconds> time(
      std::chrono::nanoseconds(request.arrival_ns));
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  std::array<char, 64> row;  // 29 characters of time, and twice 11 of a length
  char* const end = row.data() + row.size();
  char* at = WriteDigits(row.data(), static_cast<int>(date.year()), 4);
  *at++ = '-';
  at = WriteDigits(at, static_cast<unsigned>(date.month()), 2);
  *at++ = '-';
  at = WriteDigits(at, static_cast<unsigned>(date.day()), 2);
  *at++ = ' ';
  at = WriteDigits(at, clock.hours().count(), 2);
  *at++ = ':';
  at = WriteDigits(at, clock.minutes().count(), 2);
  *at++ = ':';
  at = WriteDigits(at, clock.seconds().count(), 2);
  *at++ = '.';
  at = WriteDigits(at, clock.subseconds().count(), 9);
  *at++ = ',';
  at = WriteNumber(at, end, request.prompt_tokens);
  *at++ = ',';
  at = WriteNumber(at, end, request.output_tokens);
  *at++ = '\n';
  text.append(row.data(), at);
}

/// Nanoseconds as milliseconds, exact.
void AppendMilliseconds(std::int64_t ns, std::string& text) {
  constexpr std::int64_t kNsPerMs = 1'000'000;
  absl::StrAppendFormat(&text, "%d", ns / kNsPerMs);
  if (const std::int64_t rest = ns % kNsPerMs; rest != 0) {
    absl::StrAppendFormat(&text, ".%06d", rest);
    text.erase(text.find_last_not_of('0') + 1);
  }
}

}  // namespace

absl::StatusOr<TraceWriter> TraceWriter::ForPath(std::string_view path,
                                                 const Options& options) {
  if (EndsWith(path, ".csv")) return TraceWriter(false, options);
  if (EndsWith(path, ".jsonl")) return TraceWriter(true, options);
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s: unknown kind of trace; end its name with .csv (Azure) or .jsonl "
      "(Mooncake)",
      path));
}

std::string_view TraceWriter::header() const {
  return jsonl_ ? "" : "TIMESTAMP,ContextTokens,GeneratedTokens\n";
}

void TraceWriter::Append(const TraceRequest& request, std::string& text) {
  if (jsonl_) {
    AppendMooncake(request, text);
  } else {
    AppendAzure(request, text);
  }
  ++num_rows_;
}

void TraceWriter::AppendMooncake(const TraceRequest& request,
                                 std::string& text) {
  text += '{';
  if (options_.sessions) AppendSession(request, text);
  if (request.follows < 0) {
    text += "\"timestamp\": ";
    AppendMilliseconds(request.arrival_ns, text);
  } else {
    text += "\"delay\": ";
    AppendMilliseconds(request.delay_ns, text);
  }
  absl::StrAppendFormat(&text, ", \"input_length\": %d, \"output_length\": %d",
                        request.prompt_tokens, request.output_tokens);
  AppendBlockIds(request, text);
  text += "}\n";
}

void TraceWriter::AppendSession(const TraceRequest& request,
                                std::string& text) {
  Turn turn = {.session = static_cast<std::int64_t>(latest_.size()),
               .row = num_rows_};
  const auto before = turns_.find(request.follows);
  if (before == turns_.end()) {
    latest_.push_back(num_rows_);
  } else {
    turn.session = before->second.session;
  }
  absl::StrAppendFormat(&text, "\"session_id\": \"%d\", ", turn.session);
  std::int64_t& latest = latest_[static_cast<std::size_t>(turn.session)];
  if (before != turns_.end() && before->second.row != latest) {
    absl::StrAppendFormat(&text, "\"follows\": %d, ", before->second.row);
  }
  latest = num_rows_;
  turns_[request.id] = turn;
}

void TraceWriter::AppendBlockIds(const TraceRequest& request,
                                 std::string& text) const {
  if (request.block_ids.empty()) return;
  if (options_.out_block != kMooncakeBlock) {
    absl::StrAppendFormat(&text, ", \"block_tokens\": %d",
                          options_.out_block.value());
  }
  const bool as_they_are = options_.out_block == options_.block;
  absl::StrAppendFormat(
      &text, ", \"hash_ids\": [%s]",
      absl::StrJoin(as_they_are ? request.block_ids
                                : Rechunk(request.block_ids, options_.block,
                                          TokenCount(request.prompt_tokens),
                                          options_.out_block),
                    ", "));
  // Rechunked, the prompt's partial block has another id than a full one.
  if (as_they_are && !request.output_block_ids.empty()) {
    absl::StrAppendFormat(&text, ", \"output_hash_ids\": [%s]",
                          absl::StrJoin(request.output_block_ids, ", "));
  }
}

}  // namespace pagedkv::sim
