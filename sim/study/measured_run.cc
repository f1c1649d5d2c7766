// SPDX-License-Identifier: Apache-2.0
#include "sim/study/measured_run.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include <nlohmann/json.hpp>

#include "sim/catalogue/json_text.h"
#include "sim/study/catalogue_match.h"
#include "sim/study/small_file.h"
#include "sim/trace/line_reader.h"
#include "sim/trace/number.h"
#include "sim/trace/trace_reader.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

/// Longer than any run: clocks that differ by more have another zero.
constexpr double kMostSeconds = 30 * 86400.0;

absl::Status Mistake(const std::string& place, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrFormat("%s: %s", place, what));
}

/// `root` at a path of keys, or nullptr.
const json* Find(const json& root, std::initializer_list<const char*> keys) {
  const json* at = &root;
  for (const char* key : keys) {
    if (!at->is_object()) return nullptr;
    const auto found = at->find(key);
    if (found == at->end() || found->is_null()) return nullptr;
    at = &*found;
  }
  return at;
}

/// The engine's settings out of meta.json: a value is looked for at each of
/// its places. The first mistake is kept.
class MetaReader {
 public:
  MetaReader(const json& root, std::string source)
      : root_(root), source_(std::move(source)) {}

  using Place = std::initializer_list<const char*>;

  std::optional<std::int64_t> Count(std::initializer_list<Place> places) {
    for (const Place& place : places) {
      const json* found = Find(root_, place);
      if (found == nullptr) continue;
      constexpr std::int64_t kMost = std::int64_t{1} << 40;
      if (!found->is_number_integer() || found->get<double>() < 1 ||
          found->get<double>() > static_cast<double>(kMost)) {
        status_.Update(Mistake(
            source_, absl::StrFormat("'%s' must be an integer from 1 to 2^40",
                                     *(place.end() - 1))));
        return std::nullopt;
      }
      return found->get<std::int64_t>();
    }
    return std::nullopt;
  }

  std::int64_t Required(std::initializer_list<Place> places) {
    const std::optional<std::int64_t> count = Count(places);
    if (!count) {
      status_.Update(Mistake(
          source_,
          absl::StrFormat("'%s' is missing", *(places.begin()->end() - 1))));
    }
    return count.value_or(1);
  }

  std::optional<bool> Flag(std::initializer_list<Place> places) {
    for (const Place& place : places) {
      const json* found = Find(root_, place);
      if (found != nullptr && found->is_boolean()) return found->get<bool>();
    }
    return std::nullopt;
  }

  std::string Text(std::initializer_list<Place> places) {
    for (const Place& place : places) {
      const json* found = Find(root_, place);
      if (found != nullptr && found->is_string()) {
        return found->get<std::string>();
      }
    }
    return "";
  }

  [[nodiscard]] const absl::Status& status() const { return status_; }

 private:
  const json& root_;
  std::string source_;
  absl::Status status_;
};

absl::Status ReadMeta(const std::string& path, MeasuredRun& run) {
  const absl::StatusOr<std::string> text =
      ReadSmallFile(path, "the meta.json of a measured run");
  if (!text.ok()) return text.status();
  const absl::StatusOr<json> document = ParseJson(*text, path);
  if (!document.ok()) return document.status();
  MetaReader meta(*document, path);
  const auto assume = [&](std::optional<std::int64_t> count, const char* name,
                          std::int64_t otherwise) {
    if (!count) {
      run.assumptions.push_back(
          absl::StrFormat("%s is not in meta.json: %d", name, otherwise));
    }
    return count.value_or(otherwise);
  };
  run.num_blocks = BlockCount(
      meta.Required({{"kv_cache", "num_gpu_blocks"},
                     {"resolved_config", "cache_config", "num_gpu_blocks"}}));
  const std::int64_t block_size =
      meta.Required({{"kv_cache", "block_size"},
                     {"resolved_config", "cache_config", "block_size"}});
  const std::int64_t max_num_seqs = assume(
      meta.Count({{"resolved_config", "scheduler_config", "max_num_seqs"},
                  {"engine_kwargs", "max_num_seqs"}}),
      "max_num_seqs", 256);
  const std::int64_t max_num_batched_tokens = assume(
      meta.Count(
          {{"resolved_config", "scheduler_config", "max_num_batched_tokens"},
           {"engine_kwargs", "max_num_batched_tokens"}}),
      "max_num_batched_tokens", 2048);
  const std::optional<bool> prefix_cache =
      meta.Flag({{"kv_cache", "enable_prefix_caching"},
                 {"resolved_config", "cache_config", "enable_prefix_caching"},
                 {"engine_kwargs", "enable_prefix_caching"}});
  if (!prefix_cache) {
    run.assumptions.emplace_back(
        "enable_prefix_caching is not in meta.json: on");
  }
  const std::int64_t engines =
      meta.Count({{"resolved_config", "parallel_config", "data_parallel_size"},
                  {"engine_kwargs", "data_parallel_size"}})
          .value_or(1);
  const std::int64_t tensor_parallel =
      meta.Count(
              {{"resolved_config", "parallel_config", "tensor_parallel_size"},
               {"engine_kwargs", "tensor_parallel_size"}})
          .value_or(1);
  const std::int64_t pipeline_parallel =
      meta.Count(
              {{"resolved_config", "parallel_config", "pipeline_parallel_size"},
               {"engine_kwargs", "pipeline_parallel_size"}})
          .value_or(1);
  const std::optional<std::int64_t> gpu_bytes =
      meta.Count({{"hardware", "device_total_memory_bytes"}});
  if (!meta.status().ok()) return meta.status();
  if (engines != 1) {
    return Mistake(path, absl::StrFormat(
                             "%d data-parallel engines; a run of one engine is "
                             "needed",
                             engines));
  }
  std::int64_t slots = 0;
  if (block_size > kMaxSequenceTokens.value() ||
      max_num_seqs > std::numeric_limits<std::int32_t>::max() ||
      __builtin_mul_overflow(run.num_blocks.value(), block_size, &slots)) {
    return Mistake(path,
                   "'block_size', 'max_num_seqs' or 'num_gpu_blocks' is "
                   "beyond any engine");
  }
  run.model = meta.Text({{"model"}, {"engine_kwargs", "model"}});
  run.gpu = meta.Text({{"hardware", "device_name"}});
  const std::string version = meta.Text({{"vllm_version"}});
  if (!version.empty()) run.engine = "vLLM " + version;
  run.policy.kind = PolicyKind::kPaged;
  run.policy.block_size = BlockSize(static_cast<std::int32_t>(block_size));
  run.simulation.clock = ClockKind::kModel;
  run.simulation.capacity = TokenCount(slots);
  run.simulation.max_num_seqs = static_cast<std::int32_t>(max_num_seqs);
  run.simulation.max_num_batched_tokens = TokenCount(max_num_batched_tokens);
  run.simulation.prefix_cache = prefix_cache.value_or(true);
  if (tensor_parallel <= kMaxModelSize &&
      pipeline_parallel <= kMaxModelLayers) {
    run.roofline = MatchingRoofline(
        {.model = run.model,
         .gpu = run.gpu,
         .gpu_memory = Bytes(gpu_bytes.value_or(0)),
         .tensor_parallel = static_cast<std::int32_t>(tensor_parallel),
         .pipeline_parallel = static_cast<std::int32_t>(pipeline_parallel)});
  }
  return absl::OkStatus();
}

/// The workload's rows, with the arrivals that it has, of which the first need
/// not be 0. In the order of the file.
absl::Status ReadWorkload(const std::string& path, MeasuredRun& run) {
  absl::StatusOr<std::unique_ptr<TraceReader>> reader =
      TraceReader::Open(path, {.keep_out_of_order = true, .token_ids = true});
  if (!reader.ok()) return reader.status();
  bool has_token_ids = true;
  for (;;) {
    TraceRequest request;
    const absl::StatusOr<bool> more = (*reader)->Next(request);
    if (!more.ok()) return more.status();
    if (!*more) break;
    if (request.id != static_cast<std::int64_t>(run.requests.size())) {
      return Mistake(
          path, absl::StrFormat("row %d has no output: it can not be replayed",
                                run.requests.size() + 1));
    }
    has_token_ids = has_token_ids && !request.prompt_token_ids.empty();
    run.requests.push_back(std::move(request));
  }
  if ((*reader)->summary().dropped.total() > 0) {
    return Mistake(path, "its last row has no output: it can not be replayed");
  }
  if (!has_token_ids && run.simulation.prefix_cache) {
    run.assumptions.emplace_back(
        "the workload has no token ids for all prompts: those without share "
        "nothing");
  }

  // The reader counts from the first row.
  absl::StatusOr<std::unique_ptr<LineReader>> lines = LineReader::Open(path);
  if (!lines.ok()) return lines.status();
  LineReader::Line line;
  do {
    const absl::StatusOr<bool> more = (*lines)->Next(line);
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
  } while (line.text.empty());
  const json first = json::parse(line.text, nullptr, false);
  const json* arrival = Find(first, {"arrival_time_ns"});
  if (arrival != nullptr && arrival->is_number_unsigned() &&
      arrival->get<double>() < kMostSeconds * 1e9) {
    for (TraceRequest& request : run.requests) {
      request.arrival_ns += arrival->get<std::int64_t>();
    }
  }
  return absl::OkStatus();
}

/// A row of requests.jsonl, in seconds of the clocks that it was taken from.
struct TimesRow {
  std::optional<double> arrival;
  std::optional<double> queued;
  std::optional<double> scheduled;
  std::optional<double> first_token;
  std::optional<double> last_token;
};

class TimesReader {
 public:
  TimesReader(std::string path, MeasuredRun& run)
      : path_(std::move(path)), run_(run), rows_(run.requests.size()) {}

  /// A missing entry: the file has no row for that request.
  absl::StatusOr<std::vector<std::optional<TimesRow>>> Read() {
    absl::StatusOr<std::unique_ptr<LineReader>> lines = LineReader::Open(path_);
    if (!lines.ok()) return lines.status();
    for (;;) {
      LineReader::Line line;
      const absl::StatusOr<bool> more = (*lines)->Next(line);
      if (!more.ok()) return more.status();
      if (!*more) return std::move(rows_);
      if (line.text.empty() && !line.too_long) continue;
      place_ = absl::StrFormat("%s:%d", path_, (*lines)->line_number());
      const json row = json::parse(line.text, nullptr, false);
      if (!row.is_object()) return Mistake(place_, "no JSON object");
      absl::Status status = ReadRow(row);
      if (!status.ok()) return status;
      ++num_read_;
    }
  }

 private:
  /// The number of the workload's row that this is about.
  [[nodiscard]] std::size_t IndexOf(const json& row) const {
    const json* id = Find(row, {"request_id"});
    if (id != nullptr && id->is_number_unsigned())
      return id->get<std::size_t>();
    if (id != nullptr && id->is_string()) {
      const auto name = id->get<std::string>();
      const std::size_t digits = name.find_last_not_of("0123456789") + 1;
      std::uint64_t index = 0;
      if (absl::SimpleAtoi(name.substr(digits), &index)) return index;
    }
    return num_read_;
  }

  absl::StatusOr<std::optional<double>> Number(const json& row,
                                               const char* key) const {
    const json* found = Find(row, {key});
    if (found == nullptr) return std::optional<double>();
    if (!found->is_number() || !std::isfinite(found->get<double>())) {
      return Mistake(place_, absl::StrFormat("'%s' must be a number", key));
    }
    return found->get<double>();
  }

  absl::Status ReadRow(const json& row) {
    const std::size_t index = IndexOf(row);
    if (index >= rows_.size()) {
      return Mistake(place_,
                     absl::StrFormat("request %d; the workload has requests 0 "
                                     "to %d",
                                     index, rows_.size() - 1));
    }
    if (rows_[index]) {
      return Mistake(place_,
                     absl::StrFormat("request %d has a row above", index));
    }
    TraceRequest& request = run_.requests[index];
    const struct {
      const char* key;
      std::int32_t& tokens;
      bool may_differ;
    } lengths[] = {{"input_toks", request.prompt_tokens, false},
                   {"output_toks", request.output_tokens, true}};
    for (const auto& [key, tokens, may_differ] : lengths) {
      const absl::StatusOr<std::optional<double>> found = Number(row, key);
      if (!found.ok()) return found.status();
      if (!*found || **found == tokens) continue;
      if (!may_differ) {
        return Mistake(
            place_, absl::StrFormat("'%s' is %g, and %d in the workload: the "
                                    "rows do not belong together",
                                    key, **found, tokens));
      }
      const bool is_count =
          **found >= 0 && **found < 0x1p31 && std::floor(**found) == **found;
      if (!is_count) {
        return Mistake(place_,
                       absl::StrFormat("'%s' must be a number of tokens", key));
      }
      // It stopped before the length that the workload allows.
      if (**found >= 1) tokens = static_cast<std::int32_t>(**found);
    }
    TimesRow times;
    const struct {
      const char* key;
      std::optional<double>& seconds;
    } columns[] = {{"arrival_time", times.arrival},
                   {"queued_ts", times.queued},
                   {"scheduled_ts", times.scheduled},
                   {"first_token_ts", times.first_token},
                   {"last_token_ts", times.last_token}};
    for (const auto& [key, seconds] : columns) {
      const absl::StatusOr<std::optional<double>> found = Number(row, key);
      if (!found.ok()) return found.status();
      if (*found) seconds = *found;
    }
    if (!times.queued) times.queued = times.scheduled;
    if (times.first_token && times.last_token &&
        *times.last_token < *times.first_token) {
      return Mistake(place_, "'last_token_ts' is before 'first_token_ts'");
    }
    rows_[index] = times;
    return absl::OkStatus();
  }

  std::string path_;
  MeasuredRun& run_;
  std::vector<std::optional<TimesRow>> rows_;
  std::string place_;
  std::size_t num_read_ = 0;
};

std::int64_t Nanoseconds(double seconds) {
  return static_cast<std::int64_t>(std::llround(seconds * 1e9));
}

double Seconds(std::int64_t nanoseconds) {
  return static_cast<double>(nanoseconds) * 1e-9;
}

/// Takes arrivals and token times over, on the workload's clock.
absl::Status TakeTimes(const std::string& path,
                       const std::vector<std::optional<TimesRow>>& rows,
                       MeasuredRun& run) {
  std::vector<double> offsets;  // of the measured arrivals' zero
  bool all_arrived = true;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i] || !rows[i]->arrival) {
      all_arrived = false;
      continue;
    }
    offsets.push_back(*rows[i]->arrival - Seconds(run.requests[i].arrival_ns));
  }
  if (all_arrived) {
    std::sort(offsets.begin(), offsets.end());
    const double zero = offsets[offsets.size() / 2];
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const double arrival = *rows[i]->arrival - zero;
      if (!(std::abs(arrival) < kMostSeconds)) {
        return Mistake(
            path, absl::StrFormat("'arrival_time' of request %d is days from "
                                  "the others'",
                                  i));
      }
      run.requests[i].arrival_ns =
          std::max<std::int64_t>(0, Nanoseconds(arrival));
    }
  } else if (!offsets.empty()) {
    run.assumptions.emplace_back(
        "'arrival_time' is not in all rows of requests.jsonl: arrivals are the "
        "workload's");
  }

  // From the arrivals' clock to the tokens': the soonest queued took no time.
  std::optional<double> shift;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i] || !rows[i]->queued) continue;
    const double delay = *rows[i]->queued - Seconds(run.requests[i].arrival_ns);
    if (!shift || delay < *shift) shift = delay;
  }
  if (!shift) {
    // Without them both must be of one clock.
    if (!all_arrived) {
      return Mistake(path,
                     "without 'queued_ts' or 'scheduled_ts', all rows "
                     "need an 'arrival_time' of the tokens' clock");
    }
    shift = offsets[offsets.size() / 2];
    run.assumptions.emplace_back(
        "requests.jsonl has no 'queued_ts': arrivals and tokens are taken to "
        "be of one clock");
  }
  run.measured.resize(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i] || !rows[i]->first_token || !rows[i]->last_token) continue;
    const double first = *rows[i]->first_token - *shift;
    const double last = *rows[i]->last_token - *shift;
    if (!(first >= Seconds(run.requests[i].arrival_ns)) ||
        !(last < kMostSeconds)) {
      return Mistake(
          path, absl::StrFormat("the tokens of request %d come %.3f to %.3f s "
                                "after its arrival: the clocks do not match",
                                i, first - Seconds(run.requests[i].arrival_ns),
                                last - Seconds(run.requests[i].arrival_ns)));
    }
    run.measured[i] = {.first_token_ns = Nanoseconds(first),
                       .last_token_ns = Nanoseconds(last)};
    if (rows[i]->scheduled) {
      run.measured[i]->admitted_ns = Nanoseconds(*rows[i]->scheduled - *shift);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadSeries(const std::string& path, MeasuredRun& run) {
  absl::StatusOr<std::unique_ptr<LineReader>> lines = LineReader::Open(path);
  if (!lines.ok()) return lines.status();
  LineReader::Line line;
  absl::StatusOr<bool> more = (*lines)->Next(line);
  if (!more.ok()) return more.status();
  std::vector<std::string> header;
  if (*more) header = absl::StrSplit(std::string(line.text), ',');
  const auto column = [&](std::string_view name) {
    return static_cast<std::size_t>(
        std::find(header.begin(), header.end(), name) - header.begin());
  };
  const std::size_t time = column("t");
  if (time == header.size()) {
    return Mistake(path + ":1", "a header with a column 't' is needed");
  }
  const struct {
    std::size_t column;
    std::optional<double> MeasuredInstant::* value;
  } columns[] = {{column("running"), &MeasuredInstant::running},
                 {column("waiting"), &MeasuredInstant::waiting},
                 {column("kv_cache_pct"), &MeasuredInstant::kv_cache_pct}};
  for (;;) {
    more = (*lines)->Next(line);
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    if (line.text.empty()) continue;
    const std::string place =
        absl::StrFormat("%s:%d", path, (*lines)->line_number());
    const std::vector<std::string> cells =
        absl::StrSplit(std::string(line.text), ',');
    if (cells.size() != header.size()) {
      return Mistake(place, absl::StrFormat("%d cells below %d names",
                                            cells.size(), header.size()));
    }
    MeasuredInstant instant;
    std::string error;
    if (!ParseTime(cells[time], 1'000'000'000, instant.time_ns, error)) {
      return Mistake(place, "t: " + error);
    }
    for (const auto& [index, value] : columns) {
      if (index == header.size() || cells[index].empty()) continue;
      double number = 0;
      if (!absl::SimpleAtod(cells[index], &number) || !std::isfinite(number) ||
          number < 0) {
        return Mistake(place,
                       absl::StrFormat("%s: expected a number, found %s",
                                       header[index], Quote(cells[index])));
      }
      instant.*value = number;
    }
    if (!run.series.empty() && instant.time_ns <= run.series.back().time_ns) {
      return Mistake(place, "t: no later than in the row above");
    }
    run.series.push_back(instant);
  }
}

/// By arrival; ids and measured times follow.
void SortByArrival(MeasuredRun& run) {
  std::sort(run.requests.begin(), run.requests.end(),
            [](const TraceRequest& a, const TraceRequest& b) {
              return std::pair(a.arrival_ns, a.id) <
                     std::pair(b.arrival_ns, b.id);
            });
  std::vector<std::optional<MeasuredRequest>> measured;
  for (std::size_t i = 0; i < run.requests.size(); ++i) {
    measured.push_back(
        run.measured[static_cast<std::size_t>(run.requests[i].id)]);
    run.requests[i].id = static_cast<std::int64_t>(i);
  }
  run.measured = std::move(measured);
}

}  // namespace

absl::StatusOr<MeasuredRun> ReadMeasuredRun(const std::string& folder) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored)) {
    return absl::NotFoundError(absl::StrFormat(
        "%s: no folder: give one with meta.json, workload.jsonl and "
        "requests.jsonl",
        folder));
  }
  const std::filesystem::path path(folder);
  MeasuredRun run;
  run.name = std::filesystem::canonical(path, ignored).filename().string();
  absl::Status status = ReadMeta(path / "meta.json", run);
  if (!status.ok()) return status;
  status = ReadWorkload(path / "workload.jsonl", run);
  if (!status.ok()) return status;
  const std::string times = path / "requests.jsonl";
  const absl::StatusOr<std::vector<std::optional<TimesRow>>> rows =
      TimesReader(times, run).Read();
  if (!rows.ok()) return rows.status();
  status = TakeTimes(times, *rows, run);
  if (!status.ok()) return status;
  const std::string series = path / "timeseries.csv";
  if (std::filesystem::exists(series, ignored)) {
    status = ReadSeries(series, run);
    if (!status.ok()) return status;
  } else {
    run.assumptions.emplace_back(
        "there is no timeseries.csv: only request times are compared");
  }
  SortByArrival(run);
  // All were served, so the engine's own limit is of no matter.
  for (const TraceRequest& request : run.requests) {
    const TokenCount length(std::int64_t{request.prompt_tokens} +
                            request.output_tokens);
    run.simulation.max_sequence_tokens =
        std::max(run.simulation.max_sequence_tokens, length);
  }
  return run;
}

}  // namespace pagedkv::sim
