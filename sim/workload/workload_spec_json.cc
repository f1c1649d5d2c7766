// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/workload_spec_json.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <numbers>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "sim/catalogue/json_text.h"
#include "sim/workload/embedded_files.h"

namespace pagedkv::sim {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr std::string_view kSchema = "pagedkv.workload/1";
constexpr std::size_t kMaxFileBytes = std::size_t{16} << 20;
constexpr std::int64_t kMaxTokens = std::int64_t{1} << 30;
constexpr std::int64_t kMaxTexts = std::int64_t{1} << 20;
constexpr std::int64_t kMaxPerSession = 1'000'000;
constexpr std::int64_t kMaxBranches = 1'000;
constexpr std::int64_t kMaxThinkMs = std::int64_t{1} << 40;
constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr std::size_t kMaxProfileParts = 100'000;
/// Of a sinusoidal day: quarters of an hour.
constexpr int kSinusoidParts = 96;

struct Name {
  ArrivalKind kind;
  std::string_view text;
};
constexpr Name kArrivalNames[] = {{ArrivalKind::kPoisson, "poisson"},
                                  {ArrivalKind::kGamma, "gamma"},
                                  {ArrivalKind::kConstant, "constant"}};

/// Reads the parts of a description, and keeps the first mistake.
class SpecReader {
 public:
  WorkloadSpec Read(const Json& json, const std::string& source) {
    JsonObjectReader root(json, source);
    WorkloadSpec spec;
    root.TextOr({"$schema"}, "");  // for editors
    if (const std::string schema = root.Text({"schema"}); schema != kSchema) {
      root.Fail(absl::StrCat("'schema' must be \"", kSchema.data(), "\""));
    }
    spec.name = root.Text({"name"});
    spec.description = root.TextOr({"description"}, "");
    spec.num_requests = root.Integer({"requests"}, kMaxTokens);
    spec.block = BlockSize(static_cast<std::int32_t>(
        root.IntegerOr({"block_tokens"}, 1 << 20, 16)));
    const Json* classes = root.Find("classes");
    const bool has_classes =
        classes != nullptr && classes->is_array() && !classes->empty();
    if (!has_classes) root.Fail("'classes' must be an array of at least one");
    root.RefuseOtherKeys();
    Keep(root.status());
    if (!has_classes) return spec;
    for (std::size_t i = 0; i < classes->size(); ++i) {
      spec.classes.push_back(
          ReadClass((*classes)[i], absl::StrCat(source, ": classes[", i, "]")));
    }
    return spec;
  }

  [[nodiscard]] const absl::Status& status() const { return status_; }

 private:
  struct Range {
    std::int64_t min;
    std::int64_t max;
  };

  void Keep(const absl::Status& status) {
    if (status_.ok()) status_ = status;
  }

  void Fail(const std::string& place, std::string_view problem) {
    Keep(absl::InvalidArgumentError(
        absl::StrCat(place, ": ", std::string(problem))));
  }

  WorkloadClass ReadClass(const Json& json, const std::string& place) {
    JsonObjectReader reader(json, place);
    WorkloadClass spec;
    spec.name = reader.Text({"name"});
    if (const Json* arrivals = reader.Find("arrivals")) {
      spec.arrivals = ReadArrivals(*arrivals, place + ".arrivals");
    } else {
      reader.Fail("'arrivals' is missing");
    }
    const std::string loop = reader.TextOr({"loop"}, "closed");
    spec.closed_loop = loop == "closed";
    if (!spec.closed_loop && loop != "open") {
      reader.Fail("'loop' must be \"closed\" or \"open\"");
    }
    if (const Json* shared = reader.Find("shared_texts")) {
      if (!shared->is_array()) reader.Fail("'shared_texts' must be an array");
      for (std::size_t i = 0; shared->is_array() && i < shared->size(); ++i) {
        spec.shared.push_back(ReadSharedTexts(
            (*shared)[i], absl::StrCat(place, ".shared_texts[", i, "]")));
      }
    }
    const auto read = [&](std::string_view key, Range range,
                          const Distribution* fallback) {
      const Json* value = reader.Find(key);
      if (value != nullptr) {
        return ReadDistribution(
            *value, absl::StrCat(place, ".", std::string(key)), range);
      }
      if (fallback != nullptr) return *fallback;
      reader.Fail(absl::StrCat("'", std::string(key), "' is missing"));
      return Distribution(range.min);
    };
    const Distribution none(0);
    if (const Json* turns = reader.Find("turns")) {
      spec.turns = ReadByPrompt(*turns, place + ".turns", {1, kMaxPerSession});
    }
    bool several = false;
    for (const ByPrompt::Range& range : spec.turns.ranges) {
      several = several || range.values.max() > 1;
    }
    spec.message = read("message_tokens", {0, kMaxTokens}, nullptr);
    spec.first_message =
        read("first_message_tokens", {1, kMaxTokens}, &spec.message);
    if (spec.first_message.min() < 1) {
      reader.Fail(
          "'message_tokens' may be 0 only where 'first_message_tokens' are "
          "given");
    }
    if (const Json* answer = reader.Find("answer_tokens")) {
      spec.answer =
          ReadByPrompt(*answer, place + ".answer_tokens", {1, kMaxTokens});
    } else {
      reader.Fail("'answer_tokens' is missing");
    }
    spec.think_time_ms =
        read("think_time_ms", {0, kMaxThinkMs}, several ? nullptr : &none);
    spec.branches = read("branches", {0, kMaxBranches}, &none);
    spec.max_context_tokens =
        reader.IntegerOr({"max_context_tokens"}, kMaxTokens, kMaxTokens);
    if (spec.max_context_tokens < 2) {
      reader.Fail("'max_context_tokens' must be at least 2");
    }
    reader.RefuseOtherKeys();
    Keep(reader.status());
    return spec;
  }

  ArrivalSpec ReadArrivals(const Json& json, const std::string& place) {
    JsonObjectReader reader(json, place);
    ArrivalSpec spec;
    const std::string process = reader.TextOr({"process"}, "poisson");
    const Name* found = nullptr;
    for (const Name& name : kArrivalNames) {
      if (name.text == process) found = &name;
    }
    if (found == nullptr) {
      static_cast<void>(reader.Has("burstiness_cv"));  // may belong to it
      reader.Fail("'process' must be \"poisson\", \"gamma\" or \"constant\"");
    } else {
      spec.kind = found->kind;
    }
    spec.sessions_per_s = reader.Number("sessions_per_s", 1e-9, 1e9);
    if (spec.kind == ArrivalKind::kGamma) {
      spec.burstiness_cv = reader.Number("burstiness_cv", 0.1, 10.0);
    }
    if (const Json* diurnal = reader.Find("diurnal")) {
      ReadDiurnal(*diurnal, place + ".diurnal", spec);
    }
    spec.tick_ns = reader.Has("tick_ms")
                       ? reader.Integer({"tick_ms"}, kMaxThinkMs) * kNsPerMs
                       : 1;
    reader.RefuseOtherKeys();
    Keep(reader.status());
    return spec;
  }

  void ReadDiurnal(const Json& json, const std::string& place,
                   ArrivalSpec& spec) {
    JsonObjectReader reader(json, place);
    const std::int64_t period_s =
        reader.IntegerOr({"period_s"}, 366 * 86'400, 86'400);
    spec.period_ns = period_s * 1'000'000'000;
    if (const Json* rates = reader.Find("relative_rates")) {
      spec.profile = ReadRates(*rates, reader);
    } else {
      const double amplitude = reader.Number("amplitude", 0.0, 0.999);
      const double peak_s =
          reader.Number("peak_s", 0.0, static_cast<double>(period_s));
      for (int i = 0; i < kSinusoidParts; ++i) {
        const double part =
            (i + 0.5) / kSinusoidParts - peak_s / static_cast<double>(period_s);
        const double wave = std::cos(2.0 * std::numbers::pi * part);
        spec.profile.push_back(static_cast<std::uint32_t>(
            std::llround(1e6 * (1.0 + amplitude * wave))));
      }
    }
    reader.RefuseOtherKeys();
    Keep(reader.status());
  }

  static std::vector<std::uint32_t> ReadRates(const Json& rates,
                                              JsonObjectReader& reader) {
    std::vector<std::uint32_t> profile;
    const bool fits =
        rates.is_array() && !rates.empty() && rates.size() <= kMaxProfileParts;
    for (std::size_t i = 0; fits && i < rates.size(); ++i) {
      const Json& rate = rates[i];
      if (!rate.is_number_unsigned() || rate.get<std::uint64_t>() < 1 ||
          rate.get<std::uint64_t>() > 1'000'000'000) {
        break;
      }
      profile.push_back(rate.get<std::uint32_t>());
    }
    if (!fits || profile.size() != rates.size()) {
      reader.Fail(
          "'relative_rates' must be an array of whole numbers from 1 to 10^9");
      profile.clear();
    }
    return profile;
  }

  SharedTexts ReadSharedTexts(const Json& json, const std::string& place) {
    JsonObjectReader reader(json, place);
    SharedTexts texts;
    texts.name = reader.Text({"name"});
    texts.count = reader.IntegerOr({"count"}, kMaxTexts, 1);
    texts.zipf_thousandths = static_cast<std::int32_t>(
        std::llround(reader.NumberOr("zipf", 0.0, 10.0, 0.0) * 1000));
    if (const Json* tokens = reader.Find("tokens")) {
      texts.tokens =
          ReadDistribution(*tokens, place + ".tokens", {1, kMaxTokens});
    } else {
      reader.Fail("'tokens' is missing");
    }
    if (const Json* draws = reader.Find("draws")) {
      texts.draws =
          ReadDistribution(*draws, place + ".draws", {0, texts.count});
    }
    reader.RefuseOtherKeys();
    Keep(reader.status());
    return texts;
  }

  ByPrompt ReadByPrompt(const Json& json, const std::string& place,
                        Range range) {
    if (!json.is_object() || !json.contains("by_prompt")) {
      return {.ranges = {{.values = ReadDistribution(json, place, range)}}};
    }
    JsonObjectReader reader(json, place);
    const Json* rows = reader.Find("by_prompt");
    ByPrompt by_prompt;
    if (rows == nullptr || !rows->is_array() || rows->empty()) {
      reader.Fail("'by_prompt' must be an array of at least one");
      Keep(reader.status());
      return by_prompt;
    }
    by_prompt.ranges.clear();
    for (std::size_t i = 0; i < rows->size(); ++i) {
      const std::string row_place = absl::StrCat(place, ".by_prompt[", i, "]");
      JsonObjectReader row((*rows)[i], row_place);
      ByPrompt::Range part;
      if (i + 1 < rows->size()) {
        part.up_to = row.Integer({"up_to_tokens"}, kMaxTokens);
        if (i > 0 && part.up_to <= by_prompt.ranges.back().up_to) {
          row.Fail("'up_to_tokens' must rise from row to row");
        }
      } else if (row.Has("up_to_tokens")) {
        row.Fail("the last row is for all longer prompts: no 'up_to_tokens'");
      }
      if (const Json* values = row.Find("values")) {
        part.values = ReadDistribution(*values, row_place + ".values", range);
      } else {
        row.Fail("'values' is missing");
      }
      row.RefuseOtherKeys();
      Keep(row.status());
      by_prompt.ranges.push_back(std::move(part));
    }
    reader.RefuseOtherKeys();
    Keep(reader.status());
    return by_prompt;
  }

  /// A whole number, or {"quantiles": [[0, value], ..., [1, value]]}.
  Distribution ReadDistribution(const Json& json, const std::string& place,
                                Range range) {
    if (const std::optional<std::int64_t> fixed = Whole(json)) {
      if (*fixed >= range.min && *fixed <= range.max) {
        return Distribution(*fixed);
      }
      Fail(place, absl::StrCat("must be from ", range.min, " to ", range.max,
                               ", not ", *fixed));
      return Distribution(range.min);
    }
    if (!json.is_object()) {
      Fail(place,
           "must be a whole number, or {\"quantiles\": [[0, least], ..., [1, "
           "most]]}");
      return Distribution(range.min);
    }
    JsonObjectReader reader(json, place);
    std::vector<Distribution::Point> points;
    const Json* rows = reader.Find("quantiles");
    bool ok = rows != nullptr && rows->is_array();
    for (std::size_t i = 0; ok && i < rows->size(); ++i) {
      const Json& row = (*rows)[i];
      ok = row.is_array() && row.size() == 2 && row[0].is_number() &&
           row[0].get<double>() >= 0 && row[0].get<double>() <= 1 &&
           Whole(row[1]).has_value();
      if (!ok) break;
      points.push_back({.fraction = static_cast<std::int32_t>(std::llround(
                            row[0].get<double>() * Distribution::kWhole)),
                        .value = *Whole(row[1])});
    }
    if (!ok || !Distribution::AreValid(points)) {
      reader.Fail(
          "'quantiles' must be pairs [fraction, whole number], the fractions "
          "rising from 0 to 1 by a millionth or more, the numbers not falling");
    } else if (points.front().value < range.min ||
               points.back().value > range.max) {
      reader.Fail(absl::StrCat("values must be from ", range.min, " to ",
                               range.max, ", not ", points.front().value,
                               " to ", points.back().value));
    }
    reader.RefuseOtherKeys();
    Keep(reader.status());
    return reader.status().ok() ? Distribution(std::move(points))
                                : Distribution(range.min);
  }

  static std::optional<std::int64_t> Whole(const Json& json) {
    constexpr std::uint64_t kMax = Distribution::kMaxValue;
    if (!json.is_number_unsigned()) return std::nullopt;
    if (json.get<std::uint64_t>() > kMax) return std::nullopt;
    return json.get<std::int64_t>();
  }

  absl::Status status_;
};

OrderedJson ToJson(const Distribution& distribution) {
  if (distribution.min() == distribution.max()) return distribution.min();
  OrderedJson rows = OrderedJson::array();
  for (const Distribution::Point& point : distribution.points()) {
    rows.push_back(OrderedJson::array(
        {static_cast<double>(point.fraction) / Distribution::kWhole,
         point.value}));
  }
  return {{"quantiles", std::move(rows)}};
}

OrderedJson ToJson(const ByPrompt& by_prompt) {
  if (by_prompt.ranges.size() == 1) return ToJson(by_prompt.ranges[0].values);
  OrderedJson rows = OrderedJson::array();
  for (const ByPrompt::Range& range : by_prompt.ranges) {
    OrderedJson row = OrderedJson::object();
    if (rows.size() + 1 < by_prompt.ranges.size()) {
      row["up_to_tokens"] = range.up_to;
    }
    row["values"] = ToJson(range.values);
    rows.push_back(std::move(row));
  }
  return {{"by_prompt", std::move(rows)}};
}

OrderedJson ToJson(const ArrivalSpec& spec) {
  OrderedJson json = OrderedJson::object();
  for (const Name& name : kArrivalNames) {
    if (name.kind == spec.kind) json["process"] = name.text;
  }
  json["sessions_per_s"] = spec.sessions_per_s;
  if (spec.kind == ArrivalKind::kGamma) {
    json["burstiness_cv"] = spec.burstiness_cv;
  }
  if (!spec.profile.empty()) {
    json["diurnal"] = {{"period_s", spec.period_ns / 1'000'000'000},
                       {"relative_rates", spec.profile}};
  }
  if (spec.tick_ns != 1) json["tick_ms"] = spec.tick_ns / kNsPerMs;
  return json;
}

OrderedJson ToJson(const WorkloadClass& spec) {
  OrderedJson json = {{"name", spec.name}, {"arrivals", ToJson(spec.arrivals)}};
  if (!spec.closed_loop) json["loop"] = "open";
  for (const SharedTexts& texts : spec.shared) {
    json["shared_texts"].push_back(
        {{"name", texts.name},
         {"count", texts.count},
         {"zipf", static_cast<double>(texts.zipf_thousandths) / 1000},
         {"tokens", ToJson(texts.tokens)},
         {"draws", ToJson(texts.draws)}});
  }
  json["turns"] = ToJson(spec.turns);
  json["first_message_tokens"] = ToJson(spec.first_message);
  json["message_tokens"] = ToJson(spec.message);
  json["answer_tokens"] = ToJson(spec.answer);
  json["think_time_ms"] = ToJson(spec.think_time_ms);
  json["branches"] = ToJson(spec.branches);
  json["max_context_tokens"] = spec.max_context_tokens;
  return json;
}

/// One member per line; arrays without objects in one line.
void Append(const OrderedJson& json, std::size_t indent, std::string& text) {
  const bool nested = json.is_array() && !json.empty() && json[0].is_object();
  if (!json.is_object() && !nested) {
    text += json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
    return;
  }
  text += nested ? '[' : '{';
  bool first = true;
  for (const auto& [key, value] : json.items()) {
    absl::StrAppend(&text, first ? "\n" : ",\n", std::string(indent + 2, ' '));
    first = false;
    if (!nested) absl::StrAppend(&text, OrderedJson(key).dump(), ": ");
    Append(value, indent + 2, text);
  }
  absl::StrAppend(&text, "\n", std::string(indent, ' '), nested ? "]" : "}");
}

absl::StatusOr<WorkloadSpec> FromJson(const Json& json,
                                      const std::string& source) {
  SpecReader reader;
  WorkloadSpec spec = reader.Read(json, source);
  if (!reader.status().ok()) return reader.status();
  return spec;
}

}  // namespace

absl::StatusOr<WorkloadSpec> ParseWorkloadSpec(std::string_view text,
                                               std::string_view source) {
  const absl::StatusOr<Json> json = ParseJson(text, source);
  if (!json.ok()) return json.status();
  return FromJson(*json, std::string(source));
}

absl::StatusOr<WorkloadSpec> ReadWorkloadSpec(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.eof() && file.fail()) {
    return absl::NotFoundError(absl::StrCat(
        path, ": the file cannot be read; give a description of a workload"));
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": too large for a description of a workload"));
  }
  return ParseWorkloadSpec(text, path);
}

std::string WorkloadSpecToJson(const WorkloadSpec& spec) {
  OrderedJson json = {{"schema", kSchema},
                      {"name", spec.name},
                      {"description", spec.description},
                      {"requests", spec.num_requests},
                      {"block_tokens", spec.block.value()},
                      {"classes", OrderedJson::array()}};
  for (const WorkloadClass& each : spec.classes) {
    json["classes"].push_back(ToJson(each));
  }
  std::string text;
  Append(json, 0, text);
  return text + "\n";
}

absl::StatusOr<std::vector<WorkloadSpec>> WorkloadPresets() {
  const absl::StatusOr<Json> json = ParseJson(kPresetsJson, "presets.json");
  if (!json.ok()) return json.status();
  std::vector<WorkloadSpec> presets;
  for (const Json& each : *json) {
    absl::StatusOr<WorkloadSpec> spec =
        FromJson(each, absl::StrCat("presets.json[", presets.size(), "]"));
    if (!spec.ok()) return spec.status();
    presets.push_back(*std::move(spec));
  }
  return presets;
}

}  // namespace pagedkv::sim
