// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_CANONICAL_JSON_H_
#define SIM_REPORT_CANONICAL_JSON_H_

#include <string>

#include "nlohmann/json_fwd.hpp"

namespace pagedkv::sim {

/// The one text of `document`: keys sorted, two spaces of indentation, every
/// fraction with six decimals, a line break at the end. Bytes that are no UTF-8
/// are replaced.
std::string CanonicalText(const nlohmann::json& document);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_CANONICAL_JSON_H_
