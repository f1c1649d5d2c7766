// SPDX-License-Identifier: Apache-2.0
#include "sim/report/canonical_json.h"

#include <cstddef>
#include <utility>

#include <nlohmann/json.hpp>

#include "sim/report/decimal.h"
#include "sim/trace/sha256.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

void AppendCanonical(const json& value, std::size_t depth, std::string& out) {
  const std::string indent(2 * depth, ' ');
  const char* separator = "\n";
  switch (value.type()) {
    case json::value_t::object:
      if (value.empty()) break;
      out += '{';
      for (const auto& [key, member] : value.items()) {
        out += separator + indent + "  " + json(key).dump() + ": ";
        AppendCanonical(member, depth + 1, out);
        separator = ",\n";
      }
      out += '\n' + indent + '}';
      return;
    case json::value_t::array:
      if (value.empty()) break;
      out += '[';
      for (const json& member : value) {
        out += separator + indent + "  ";
        AppendCanonical(member, depth + 1, out);
        separator = ",\n";
      }
      out += '\n' + indent + ']';
      return;
    case json::value_t::number_float:
      out += FixedDecimal(value.get<double>());
      return;
    default:
      break;
  }
  // A file name may hold any bytes: `replace` keeps the text valid.
  out += value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string CanonicalText(const json& document) {
  std::string text;
  AppendCanonical(document, 0, text);
  text += '\n';
  return text;
}

std::string HashOfDocument(const json& document) {
  json hashed = document;
  hashed.erase("hash");
  hashed.erase("run");
  Sha256 hash;
  hash.Update(CanonicalText(hashed));
  return hash.Finish();
}

std::string SealedText(json document, json run) {
  document["hash"] = HashOfDocument(document);
  document["run"] = std::move(run);
  return CanonicalText(document);
}

}  // namespace pagedkv::sim
