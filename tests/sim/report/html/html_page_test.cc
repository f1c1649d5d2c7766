// SPDX-License-Identifier: Apache-2.0
#include "sim/report/html/html_page.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace pagedkv::sim {
namespace {

std::size_t Count(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos;
       at = text.find(part, at + part.size())) {
    ++count;
  }
  return count;
}

std::string Between(const std::string& text, const std::string& begin,
                    const std::string& end) {
  const std::size_t from = text.find(begin);
  if (from == std::string::npos) return "";
  const std::size_t start = from + begin.size();
  return text.substr(start, text.find(end, start) - start);
}

TEST(HtmlPageTest, HasTheHeadAndTheDataAsJson) {
  const std::string page = RenderHtmlPage(
      {.title = "a title", .verdict = "a verdict", .facts = {"a fact"}},
      {{"report", R"({"x": [1, 2]})"}});
  const auto head = nlohmann::json::parse(Between(
      page, R"(<script type="application/json" id="head">)", "</script>"));
  EXPECT_EQ(head["title"], "a title");
  EXPECT_EQ(head["verdict"], "a verdict");
  EXPECT_EQ(head["facts"][0], "a fact");
  const auto data = nlohmann::json::parse(Between(
      page, R"(<script type="application/json" id="report">)", "</script>"));
  EXPECT_EQ(data["x"][1], 2);
}

TEST(HtmlPageTest, LetsNoTextBecomeMarkup) {
  const std::string hostile = "</script><script>alert(1)<!--{{scripts}}";
  const std::string plain = RenderHtmlPage({.title = "x"}, {{"report", "{}"}});
  const std::string page =
      RenderHtmlPage({.title = hostile, .facts = {hostile}},
                     {{"report", nlohmann::json({{"name", hostile}}).dump()}});
  for (const char* part : {"<script", "</script", "<!--"}) {
    EXPECT_EQ(Count(page, part), Count(plain, part)) << part;
  }
  const auto data = nlohmann::json::parse(Between(
      page, R"(<script type="application/json" id="report">)", "</script>"));
  EXPECT_EQ(data["name"], hostile);
}

TEST(HtmlPageTest, AllowsEachScriptByItsHashAndNothingElse) {
  const std::string page = RenderHtmlPage({}, {});
  const std::string policy =
      Between(page, "Content-Security-Policy\" content=\"", "\"");
  EXPECT_TRUE(policy.starts_with("default-src 'none';")) << policy;
  EXPECT_EQ(policy.find("unsafe"), std::string::npos) << policy;
  // Each script, and one style.
  EXPECT_EQ(Count(policy, "'sha256-"), Count(page, "<script>") + 1);
}

TEST(HtmlPageTest, RefersToNoOtherFile) {
  const std::string page = RenderHtmlPage({}, {});
  for (const char* part : {" src=", "<link", "@import", "url("}) {
    EXPECT_EQ(Count(page, part), 0) << part;
  }
}

}  // namespace
}  // namespace pagedkv::sim
