// SPDX-License-Identifier: Apache-2.0
#include "sim/report/html/study_pages.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "sim/report/html/html_page.h"

namespace pagedkv::sim {

std::string SweepPage(const SweepReport& sweep) {
  std::vector<std::string> facts = SweepHeadLines(sweep);
  std::string verdict = facts.front();
  std::vector<std::string> knees;
  for (const SweepKnee& knee : sweep.Knees()) {
    std::string size = absl::StrCat(knee.knee.block_size());
    if (knees.empty() || knees.back() != size) knees.push_back(std::move(size));
  }
  if (!knees.empty()) {
    absl::StrAppend(&verdict, "; the knee of the block size is at ",
                    absl::StrJoin(knees, ", "), " tokens");
  }
  facts.erase(facts.begin());
  return RenderHtmlPage({.title = "KV memory by policy and setting",
                         .verdict = verdict + '.',
                         .facts = facts,
                         .warnings = sweep.Warnings(),
                         .version = sweep.version},
                        {{"sweep", SweepToJson(sweep)}});
}

std::string CapacityPage(const CapacityReport& plan) {
  // The answer, then what surrounds it.
  std::vector<std::string> facts = CapacityFindings(plan);
  const std::string verdict = facts.front() + '.';
  facts.erase(facts.begin());
  for (const std::string& line : CapacityHeadLines(plan)) {
    facts.push_back(line);
  }
  return RenderHtmlPage(
      {.title = absl::StrFormat("Capacity: %s", GoalName(plan.goal)),
       .verdict = verdict,
       .facts = facts,
       .version = plan.version},
      {{"plan", CapacityToJson(plan)}});
}

}  // namespace pagedkv::sim
