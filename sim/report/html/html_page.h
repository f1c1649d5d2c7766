// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_HTML_HTML_PAGE_H_
#define SIM_REPORT_HTML_HTML_PAGE_H_

#include <string>
#include <vector>

namespace pagedkv::sim {

/// What stands at the top of a page.
struct HtmlHead {
  std::string title = {};
  std::string verdict = {};  ///< in a sentence
  std::string rule = {};     ///< how the verdict follows; may be empty
  std::vector<std::string> facts = {};  ///< under what conditions
  std::vector<std::string> warnings = {};
  std::string version = {};
};

/// Data for the page's scripts. What shows it is found by the name: "report"
/// (pagedkv.report/1), "courses" (sim_page.h), "sweep" (pagedkv.sweep/1),
/// "plan" (pagedkv.plan/1), "hitcurve" (pagedkv.hitcurve/1).
struct HtmlData {
  std::string name;
  std::string json;
};

/// A page in one file: styles, scripts, Chart.js (where the build had it) and
/// data are all inside, and its content security policy allows these by their
/// SHA-256 and nothing else, neither inline nor from a network. No text of
/// `head` or `data` can become markup: in JSON every `<` is escaped, and the
/// scripts put text into the text of elements only. The same arguments give the
/// same bytes.
std::string RenderHtmlPage(const HtmlHead& head,
                           const std::vector<HtmlData>& data);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_HTML_HTML_PAGE_H_
