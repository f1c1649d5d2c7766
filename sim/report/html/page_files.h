// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_HTML_PAGE_FILES_H_
#define SIM_REPORT_HTML_PAGE_FILES_H_

#include <span>
#include <string_view>

namespace pagedkv::sim {

/// The files of this folder, embedded so that an installed binary needs none.
extern const std::string_view kPageTemplate;
extern const std::string_view kPageStyle;
/// In the order in which they run: Chart.js (empty in a build without it), then
/// the page's own.
extern const std::span<const std::string_view> kPageScripts;

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_HTML_PAGE_FILES_H_
