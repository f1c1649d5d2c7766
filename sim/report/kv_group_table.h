// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_KV_GROUP_TABLE_H_
#define SIM_REPORT_KV_GROUP_TABLE_H_

#include <string>

#include "sim/report/kv_group_use.h"

namespace pagedkv::sim {

/// What each KV cache group holds and needs: a title and a table, for a
/// terminal or a document. Ends with a newline.
std::string KvGroupsToText(const KvGroupsReport& report);
std::string KvGroupsToMarkdown(const KvGroupsReport& report);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_KV_GROUP_TABLE_H_
