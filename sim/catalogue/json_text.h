// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CATALOGUE_JSON_TEXT_H_
#define SIM_CATALOGUE_JSON_TEXT_H_

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace pagedkv::sim {

/// Parses a JSON document. InvalidArgument: "<source>:<line>:<column>: ...".
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text,
                                         std::string_view source);

/// Takes typed values out of a JSON object. The first mistake is kept, and
/// everything read after it is a harmless default: read all, then ask
/// `status()`. A key that is null counts as absent.
class JsonObjectReader {
 public:
  using Keys = std::vector<std::string_view>;

  /// `object` must outlive the reader; `source` begins each error.
  JsonObjectReader(const nlohmann::json& object, std::string source);

  [[nodiscard]] bool Has(std::string_view key) const {
    return Find(key) != nullptr;
  }
  /// The value under `key`, or nullptr.
  [[nodiscard]] const nlohmann::json* Find(std::string_view key) const;

  /// The first of `keys` that is present: an integer from 1 to `max`.
  std::int64_t Integer(const Keys& keys, std::int64_t max);
  /// The same, or `fallback` if none is present.
  std::int64_t IntegerOr(const Keys& keys, std::int64_t max,
                         std::int64_t fallback);
  /// A number from `min` to `max`, whole or not.
  double Number(std::string_view key, double min, double max);
  double NumberOr(std::string_view key, double min, double max,
                  double fallback);
  bool FlagOr(std::string_view key, bool fallback);
  std::string Text(const Keys& keys);
  std::string TextOr(const Keys& keys, std::string_view fallback);

  /// For objects that are read strictly: a key that nothing was asked of is a
  /// mistake. To be called after everything was read.
  void RefuseOtherKeys();

  /// Keeps "<source>: <problem>", unless there is an earlier mistake.
  void Fail(std::string_view problem);
  [[nodiscard]] const absl::Status& status() const { return status_; }

 private:
  /// The first of `keys` that is present; its name goes to `*name`.
  const nlohmann::json* FindFirst(const Keys& keys,
                                  std::string_view* name) const;
  void FailMissing(const Keys& keys);

  const nlohmann::json& object_;
  std::string source_;
  mutable std::set<std::string, std::less<>> asked_;  // keys
  absl::Status status_;
};

}  // namespace pagedkv::sim

#endif  // SIM_CATALOGUE_JSON_TEXT_H_
