// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"

#include "sim/trace/number.h"
#include "sim/trace/plain_row.h"
#include "sim/trace/row_parser.h"

namespace pagedkv::sim {
namespace {

enum class TimeUnit { kNone, kDateTime, kSeconds };

/// A format is the names of the columns that it needs: a header belongs to the
/// first that finds all of its own. Other columns are passed over.
struct CsvFormat {
  std::string_view name;
  TimeUnit unit;
  std::string_view arrival;
  std::string_view prompt;
  std::string_view output;
};

constexpr std::array<CsvFormat, 5> kFormats = {{
    // Azure/AzurePublicDataset: 2023, 2024, and the multimodal one of 2025.
    {"azure", TimeUnit::kDateTime, "TIMESTAMP", "ContextTokens",
     "GeneratedTokens"},
    // HPMLL/BurstGPT, with and without the columns of a session.
    {"burstgpt", TimeUnit::kSeconds, "Timestamp", "Request tokens",
     "Response tokens"},
    // microsoft/vidur, processed traces.
    {"vidur", TimeUnit::kSeconds, "arrived_at", "num_prefill_tokens",
     "num_decode_tokens"},
    // The same without arrivals, as its Splitwise and arXiv lengths are.
    {"splitwise", TimeUnit::kNone, "", "num_prefill_tokens",
     "num_decode_tokens"},
    // Mutinifni/splitwise-sim.
    {"splitwise-sim", TimeUnit::kSeconds, "arrival_timestamp", "prompt_size",
     "token_size"},
}};

/// Splits a row at commas that are not in double quotes. The quotes around a
/// field are not part of it; doubled quotes inside one are left as they are,
/// since no field that is read has any. False: a quote is not closed, or is
/// followed by something else than a comma.
bool SplitCsv(std::string_view line, std::vector<std::string_view>& fields,
              RowError& error) {
  fields.clear();
  const char* at = line.data();
  const char* const end = at + line.size();
  for (;;) {
    if (at != end && *at == '"') {
      const char* const open = at++;
      while (at != end && (*at != '"' || (at + 1 != end && at[1] == '"'))) {
        at += *at == '"' ? 2 : 1;
      }
      if (at == end || (at + 1 != end && at[1] != ',')) {
        error.column = static_cast<std::size_t>(open - line.data()) + 1;
        error.message = "a quoted field without its end";
        return false;
      }
      fields.emplace_back(open + 1, static_cast<std::size_t>(at - open - 1));
      ++at;
    } else {
      const char* const start = at;
      while (at != end && *at != ',') ++at;
      fields.emplace_back(start, static_cast<std::size_t>(at - start));
    }
    if (at == end) return true;
    ++at;
  }
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
    text.remove_prefix(1);
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
    text.remove_suffix(1);
  }
  return text;
}

class CsvParser final : public RowParser {
 public:
  CsvParser(const CsvFormat& format, std::size_t num_columns,
            std::size_t arrival, std::size_t prompt, std::size_t output)
      : format_(format),
        num_columns_(num_columns),
        arrival_(arrival),
        prompt_(prompt),
        output_(output),
        may_be_plain_(format.unit == TimeUnit::kDateTime && num_columns == 3 &&
                      arrival == 0 && prompt == 1) {
    fields_.reserve(num_columns);
  }

  [[nodiscard]] std::string_view format() const override {
    return format_.name;
  }
  [[nodiscard]] std::int32_t block_tokens() const override { return 0; }

  bool Parse(std::string_view line, TraceRow& row, RowError& error) override {
    if (may_be_plain_ && plain_.Read(line, row)) return true;
    if (!SplitCsv(line, fields_, error)) return false;
    if (fields_.size() != num_columns_) {
      error.column = line.size() + 1;
      error.message =
          absl::StrCat("expected ", num_columns_,
                       " fields as in the header, found ", fields_.size());
      return false;
    }
    const std::string_view prompt = Trim(fields_[prompt_]);
    if (!ParseTokens(prompt, row.prompt_tokens, error.message)) {
      return FieldError(line, prompt, format_.prompt, error);
    }
    const std::string_view output = Trim(fields_[output_]);
    if (!ParseTokens(output, row.output_tokens, error.message)) {
      return FieldError(line, output, format_.output, error);
    }
    if (format_.unit == TimeUnit::kNone) return true;
    const std::string_view arrival = Trim(fields_[arrival_]);
    const bool ok =
        format_.unit == TimeUnit::kDateTime
            ? ParseDateTime(arrival, row.arrival_ns, error.message)
            : ParseTime(arrival, 1'000'000'000, row.arrival_ns, error.message);
    return ok || FieldError(line, arrival, format_.arrival, error);
  }

 private:
  static bool FieldError(std::string_view line, std::string_view field,
                         std::string_view column, RowError& error) {
    error.column = static_cast<std::size_t>(field.data() - line.data()) + 1;
    error.message = std::string(column) + ": " + error.message;
    return false;
  }

  const CsvFormat& format_;
  std::size_t num_columns_;
  std::size_t arrival_;
  std::size_t prompt_;
  std::size_t output_;
  bool may_be_plain_;
  PlainRowReader plain_;
  std::vector<std::string_view> fields_;  // of the row at hand
};

}  // namespace

std::unique_ptr<RowParser> MakeCsvParser(std::string_view line,
                                         RowError& error) {
  std::vector<std::string_view> columns;
  if (!SplitCsv(line, columns, error)) return nullptr;
  const auto find = [&columns](std::string_view name) {
    std::size_t index = 0;
    while (index < columns.size() && Trim(columns[index]) != name) ++index;
    return index;
  };
  for (const CsvFormat& format : kFormats) {
    const bool timed = format.unit != TimeUnit::kNone;
    const std::size_t arrival = timed ? find(format.arrival) : 0;
    const std::size_t prompt = find(format.prompt);
    const std::size_t output = find(format.output);
    if (std::max({arrival, prompt, output}) == columns.size()) continue;
    return std::make_unique<CsvParser>(format, columns.size(), arrival, prompt,
                                       output);
  }
  error = {.column = 1, .message = UnknownFormat("header " + Quote(line))};
  return nullptr;
}

std::string DescribeCsvFormats() {
  std::string text;
  for (const CsvFormat& format : kFormats) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", format.name.data(), " (",
                    format.arrival.data(), format.arrival.empty() ? "" : ",",
                    format.prompt.data(), ",", format.output.data(), ")");
  }
  return text;
}

}  // namespace pagedkv::sim
