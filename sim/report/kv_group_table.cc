// SPDX-License-Identifier: Apache-2.0
#include "sim/report/kv_group_table.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_format.h"

#include "sim/report/decimal.h"
#include "sim/report/text_table.h"

namespace pagedkv::sim {
namespace {

std::string Title(const KvGroupsReport& report) {
  return absl::StrFormat(
      "KV cache groups, in blocks of %s B: mean of the requests at their final "
      "length, and of a sequence over its steps; needed: what groups with "
      "blocks of their own size would take",
      Grouped(report.plan.bytes_per_block.value()));
}

TextTable TableOf(const KvGroupsReport& report) {
  TextTable table;
  table.header = {"group",          "block tokens", "final held B",
                  "final wasted %", "steps held B", "steps needed B",
                  "steps wasted %"};
  const auto add = [&table](std::string label, std::string tokens,
                            const KvGroupUse& use) {
    table.rows.push_back({std::move(label), std::move(tokens),
                          Grouped(use.final_length.held.value()),
                          absl::StrFormat("%.2f", use.final_length.wasted_pct),
                          Grouped(use.residency.held.value()),
                          Grouped(use.residency.needed.value()),
                          absl::StrFormat("%.2f", use.residency.wasted_pct)});
  };
  for (std::size_t i = 0; i < report.groups.size(); ++i) {
    const KvCacheGroup& group = report.plan.groups[i];
    add(KvGroupLabel(group), Grouped(group.block_size.value()),
        report.groups[i]);
  }
  add("all groups", "", report.all);
  add("without groups: all tokens in all layers",
      Grouped(report.block_size.value()), report.uniform);
  return table;
}

}  // namespace

std::string KvGroupsToText(const KvGroupsReport& report) {
  return Title(report) + "\n\n" + TableToText(TableOf(report));
}

std::string KvGroupsToMarkdown(const KvGroupsReport& report) {
  return "## KV cache groups\n\n" + Title(report) + ".\n\n" +
         TableToMarkdown(TableOf(report));
}

}  // namespace pagedkv::sim
