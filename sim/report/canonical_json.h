// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_CANONICAL_JSON_H_
#define SIM_REPORT_CANONICAL_JSON_H_

#include <string>

#include "nlohmann/json.hpp"

namespace pagedkv::sim {

/// One text for each document: keys sorted, two spaces of indentation, every
/// fraction with six decimals, a line break at the end. Bytes that are no UTF-8
/// are replaced.
std::string CanonicalText(const nlohmann::json& document);

/// The SHA-256 of the document's canonical text without its members `hash` and
/// `run`, so that it does not depend on who ran it and how long it took.
/// REQUIRES: document is an object.
std::string HashOfDocument(const nlohmann::json& document);

/// The canonical text with `hash` and `run` added.
std::string SealedText(nlohmann::json document, nlohmann::json run);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_CANONICAL_JSON_H_
