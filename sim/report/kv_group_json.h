// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_KV_GROUP_JSON_H_
#define SIM_REPORT_KV_GROUP_JSON_H_

#include "nlohmann/json.hpp"

#include "sim/report/kv_group_use.h"

namespace pagedkv::sim {

/// As `kv_cache_groups` of report.schema.json.
nlohmann::json KvGroupsToJson(const KvGroupsReport& report);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_KV_GROUP_JSON_H_
