// SPDX-License-Identifier: Apache-2.0
#include "sim/study/step_time_file.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include <nlohmann/json.hpp>

#include "sim/catalogue/json_text.h"
#include "sim/report/canonical_json.h"
#include "sim/study/small_file.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

constexpr char kSchema[] = "pagedkv.step_time/1";

/// A quarter of an hour per unit: beyond any engine, and sums of a few stay
/// small.
constexpr std::uint64_t kMostFemtoseconds = 1'000'000'000'000'000'000;

struct Coefficient {
  const char* name;
  std::int64_t StepCost::* member;
};

constexpr std::array<Coefficient, 5> kCoefficients = {{
    {"per_step", &StepCost::per_step},
    {"per_sequence", &StepCost::per_sequence},
    {"per_computed_token", &StepCost::per_computed_token},
    {"per_prefill_attention", &StepCost::per_prefill_attention},
    {"per_resident_token", &StepCost::per_resident_token},
}};

struct Part {
  const char* name;
  StepCost StepTime::* member;
};

constexpr std::array<Part, 3> kParts = {{
    {"serial", &StepTime::serial},
    {"compute", &StepTime::compute},
    {"memory", &StepTime::memory},
}};

/// An error for a key of `object` that has no meaning: a coefficient that is
/// misspelt must not count as 0.
template <typename Known>
absl::Status CheckKeys(const json& object, const std::string& place,
                       const Known& is_known) {
  for (const auto& [key, value] : object.items()) {
    if (is_known(key)) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: unknown key '%s'", place, key));
  }
  return absl::OkStatus();
}

absl::StatusOr<StepCost> ReadCost(const json& object,
                                  const std::string& place) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: a JSON object is needed here", place));
  }
  absl::Status known = CheckKeys(object, place, [](const std::string& key) {
    return std::any_of(kCoefficients.begin(), kCoefficients.end(),
                       [&](const Coefficient& c) { return key == c.name; });
  });
  if (!known.ok()) return known;
  StepCost cost;
  for (const auto& [name, member] : kCoefficients) {
    const auto found = object.find(name);
    if (found == object.end()) continue;
    if (!found->is_number_unsigned() ||
        found->get<std::uint64_t>() > kMostFemtoseconds) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s: '%s' must be a whole number of femtoseconds from 0 to 10^18",
          place, name));
    }
    cost.*member = found->get<std::int64_t>();
  }
  return cost;
}

}  // namespace

std::string StepTimeToJson(const StepTime& time) {
  json document = {
      {"schema", kSchema}, {"preset", time.preset}, {"source", time.source}};
  if (!time.model.empty()) document["model"] = time.model;
  for (const auto& [part, cost] : kParts) {
    for (const auto& [name, member] : kCoefficients) {
      document[part][name] = time.*cost.*member;
    }
  }
  return CanonicalText(document);
}

absl::StatusOr<StepTime> ParseStepTime(std::string_view text,
                                       const std::string& source) {
  const absl::StatusOr<json> document = ParseJson(text, source);
  if (!document.ok()) return document.status();
  JsonObjectReader reader(*document, source);
  StepTime time;
  if (reader.Text({"schema"}) != kSchema) {
    reader.Fail(
        absl::StrFormat("'schema' must be \"%s\": no file of pagedkv "
                        "fit",
                        kSchema));
  }
  time.preset = reader.Text({"preset"});
  time.source = reader.Text({"source"});
  time.model = reader.TextOr({"model"}, "");
  if (!reader.status().ok()) return reader.status();
  absl::Status known = CheckKeys(*document, source, [](const std::string& key) {
    return key == "schema" || key == "preset" || key == "source" ||
           key == "model" ||
           std::any_of(kParts.begin(), kParts.end(),
                       [&](const Part& part) { return key == part.name; });
  });
  if (!known.ok()) return known;
  for (const auto& [part, member] : kParts) {
    const json* object = reader.Find(part);
    if (object == nullptr) continue;
    absl::StatusOr<StepCost> cost =
        ReadCost(*object, absl::StrFormat("%s: %s", source, part));
    if (!cost.ok()) return cost.status();
    time.*member = *cost;
  }
  if (time.serial == StepCost() && time.compute == StepCost() &&
      time.memory == StepCost()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: all coefficients are 0: steps take time", source));
  }
  return time;
}

absl::StatusOr<StepTime> ReadStepTime(const std::string& path) {
  const absl::StatusOr<std::string> text =
      ReadSmallFile(path, "a step time as pagedkv fit --out writes it");
  if (!text.ok()) return text.status();
  return ParseStepTime(*text, path);
}

}  // namespace pagedkv::sim
