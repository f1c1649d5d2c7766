// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_CSV_H_
#define SIM_REPORT_CSV_H_

#include <string>
#include <string_view>

#include "sim/replay/simulation.h"
#include "sim/report/run_statistics.h"

namespace pagedkv::sim {

/// First line of timeseries.csv: means inside fixed windows of time, in slots,
/// sequences and (preemptions) events.
inline constexpr std::string_view kTimeseriesHeader =
    "policy,t_s,window_s,capacity,token,reserved,internal,roundup,cached_idle,"
    "watermark,blocked_fragmented,blocked_capacity,blocked_policy,tail,idle,"
    "running,waiting,preemptions,largest_free\n";

/// A line for each window, with at most three decimals; in each line the eleven
/// causes sum to the capacity exactly, digit by digit.
std::string TimeseriesRows(std::string_view policy_id,
                           const RunStatistics& statistics);

/// First line of requests.csv.
inline constexpr std::string_view kRequestsHeader =
    "policy,id,arrival_s,prompt,output,admit_s,finish_s,slots_granted,"
    "waste_slot_s,reserved_slot_s,preemptions,hit_tokens,blocked_cause,"
    "first_token_s\n";

/// A line for one request. What never happened is empty; `blocked_cause` is
/// "rejected" for a request that can never fit.
std::string RequestRow(std::string_view policy_id, const RequestRecord& record);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_CSV_H_
