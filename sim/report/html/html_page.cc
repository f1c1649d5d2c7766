// SPDX-License-Identifier: Apache-2.0
#include "sim/report/html/html_page.h"

#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include <nlohmann/json.hpp>

#include "sim/report/html/page_files.h"
#include "sim/trace/sha256.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

// A source of a content security policy: the text between two tags is allowed.
std::string HashSource(std::string_view text) {
  Sha256 hash;
  hash.Update(text);
  return absl::StrCat(" 'sha256-",
                      absl::Base64Escape(absl::HexStringToBytes(hash.Finish())),
                      "'");
}

// In JSON, `<` only occurs inside strings. Without it neither `</script` nor
// `<!--` can occur, which would end the block or change how it is read.
std::string DataBlock(const std::string& name, const std::string& json_text) {
  return absl::StrCat("<script type=\"application/json\" id=\"", name, "\">",
                      absl::StrReplaceAll(json_text, {{"<", "\\u003c"}}),
                      "</script>\n");
}

json HeadToJson(const HtmlHead& head) {
  return {{"title", head.title},     {"verdict", head.verdict},
          {"rule", head.rule},       {"facts", head.facts},
          {"version", head.version}, {"warnings", head.warnings}};
}

}  // namespace

std::string RenderHtmlPage(const HtmlHead& head,
                           const std::vector<HtmlData>& data) {
  std::string script_hashes;
  std::string scripts;
  for (const std::string_view script : kPageScripts) {
    if (script.empty()) continue;  // Chart.js, in a build without it
    script_hashes += HashSource(script);
    scripts += "<script>";
    scripts += script;
    scripts += "</script>\n";
  }
  std::string blocks = DataBlock(
      "head",
      HeadToJson(head).dump(-1, ' ', false, json::error_handler_t::replace));
  for (const HtmlData& each : data) blocks += DataBlock(each.name, each.json);

  const std::string policy = absl::StrCat(
      "default-src 'none'; base-uri 'none'; form-action 'none'; style-src",
      HashSource(kPageStyle), "; script-src", script_hashes);
  // In one pass, so that a value that looks like a place holder stays text.
  return absl::StrReplaceAll(std::string(kPageTemplate),
                             {{"{{policy}}", policy},
                              {"{{style}}", std::string(kPageStyle)},
                              {"{{data}}", blocks},
                              {"{{scripts}}", scripts}});
}

}  // namespace pagedkv::sim
