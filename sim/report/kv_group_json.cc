// SPDX-License-Identifier: Apache-2.0
#include "sim/report/kv_group_json.h"

#include <cstddef>
#include <utility>

namespace pagedkv::sim {
namespace {

using nlohmann::json;

json ToJson(const MeanKvUse& use) {
  return {{"held_bytes", use.held.value()},
          {"needed_bytes", use.needed.value()},
          {"wasted_pct", use.wasted_pct}};
}

json ToJson(const KvGroupUse& use) {
  return {{"final_length", ToJson(use.final_length)},
          {"residency", ToJson(use.residency)}};
}

}  // namespace

json KvGroupsToJson(const KvGroupsReport& report) {
  json groups = json::array();
  for (std::size_t i = 0; i < report.groups.size(); ++i) {
    const KvCacheGroup& group = report.plan.groups[i];
    json row = ToJson(report.groups[i]);
    row["attention"] = KvGroupKindName(group.attention);
    row["block_size"] = group.block_size.value();
    row["layers"] = group.layers.size();
    row["missing_layers"] = group.missing_layers;
    row["page_bytes"] = group.layers.front().page.value();
    row["page_padding_bytes"] = group.page_padding.value();
    row["window_tokens"] =
        group.window.value() > 0 ? json(group.window.value()) : json(nullptr);
    row["encoder_tokens"] = group.encoder_tokens.value() > 0
                                ? json(group.encoder_tokens.value())
                                : json(nullptr);
    groups.push_back(std::move(row));
  }
  return {{"block_size", report.block_size.value()},
          {"kv_bytes_per_block", report.plan.bytes_per_block.value()},
          {"layers_per_group", report.plan.layers_per_group},
          {"groups", groups},
          {"all", ToJson(report.all)},
          {"uniform", ToJson(report.uniform)}};
}

}  // namespace pagedkv::sim
