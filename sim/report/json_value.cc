// SPDX-License-Identifier: Apache-2.0
#include "sim/report/json_value.h"

namespace pagedkv::sim {

using nlohmann::json;

const json* ValueAt(const json& document, std::string_view pointer) {
  const json::json_pointer path{std::string(pointer)};
  return document.contains(path) ? &document[path] : nullptr;
}

std::optional<double> NumberAt(const json& document, std::string_view pointer) {
  const json* value = ValueAt(document, pointer);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  return value->get<double>();
}

std::string TextAt(const json& document, std::string_view pointer) {
  const json* value = ValueAt(document, pointer);
  if (value == nullptr || !value->is_string()) return "";
  return value->get<std::string>();
}

}  // namespace pagedkv::sim
