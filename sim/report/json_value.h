// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_JSON_VALUE_H_
#define SIM_REPORT_JSON_VALUE_H_

/// Looking into documents that came from a file and may hold anything.

#include <optional>
#include <string>
#include <string_view>

#include "nlohmann/json.hpp"

namespace pagedkv::sim {

/// The value that a JSON pointer such as "/pool/slots" leads to, or nullptr.
/// REQUIRES: the pointer is well-formed.
const nlohmann::json* ValueAt(const nlohmann::json& document,
                              std::string_view pointer);
/// Missing if it is no number, or not there.
std::optional<double> NumberAt(const nlohmann::json& document,
                               std::string_view pointer);
/// Empty if it is no text, or not there.
std::string TextAt(const nlohmann::json& document, std::string_view pointer);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_JSON_VALUE_H_
