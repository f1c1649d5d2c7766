// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CATALOGUE_CATALOGUE_H_
#define SIM_CATALOGUE_CATALOGUE_H_

/// What the catalogues of models and of GPUs have in common: an array of rows
/// under one key, each row with a name.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

#include "sim/catalogue/json_text.h"

namespace pagedkv::sim {

/// Reads each row of the array `key` by `read_row(reader, place)`, where
/// `place` says which row it is.
template <typename Spec, typename ReadRow>
absl::StatusOr<std::vector<Spec>> ParseCatalogue(std::string_view text,
                                                 std::string_view source,
                                                 std::string_view key,
                                                 const ReadRow& read_row) {
  const absl::StatusOr<nlohmann::json> document = ParseJson(text, source);
  if (!document.ok()) return document.status();
  const JsonObjectReader root(*document, std::string(source));
  const nlohmann::json* rows = root.Find(key);
  if (rows == nullptr || !rows->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: an array '%s' is needed", source, key));
  }
  std::vector<Spec> specs;
  for (const nlohmann::json& row : *rows) {
    const std::string place =
        absl::StrFormat("%s: %s[%d]", source, key, specs.size());
    JsonObjectReader reader(row, place);
    absl::StatusOr<Spec> spec = read_row(reader, place);
    if (!spec.ok()) return spec.status();
    specs.push_back(*std::move(spec));
  }
  return specs;
}

/// The spec called `name`, in any case; NotFound lists all names in one line.
template <typename Spec>
absl::StatusOr<Spec> FindByName(absl::StatusOr<std::vector<Spec>> specs,
                                std::string_view kind, std::string_view name) {
  if (!specs.ok()) return specs.status();
  const std::string lower = absl::AsciiStrToLower(std::string(name));
  std::string known;
  for (Spec& spec : *specs) {
    if (spec.name == lower) return std::move(spec);
    if (!known.empty()) known += ", ";
    known += spec.name;
  }
  return absl::NotFoundError(
      absl::StrFormat("unknown %s '%s': use one of %s", kind, name, known));
}

}  // namespace pagedkv::sim

#endif  // SIM_CATALOGUE_CATALOGUE_H_
