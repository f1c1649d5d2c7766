// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_VERDICT_H_
#define SIM_REPORT_VERDICT_H_

#include <string>
#include <string_view>

#include "sim/report/report.h"

namespace pagedkv::sim {

/// What the report says, in a sentence or two, by `kVerdictRule`.
std::string Verdict(const Report& report);

/// How `Verdict` comes to its words, for the reader.
inline constexpr std::string_view kVerdictRule =
    "Rule: the policy with the largest mean batch (with --demand: the smallest "
    "peak) beside the baseline, or, if it is the baseline, beside the one with "
    "the smallest batch (the largest peak). Batches within 2 % of each other "
    "count as equal; then the policies are compared by what they waste of the "
    "slots held.";

/// The policy in words, such as "paging in blocks of 16"; `max_tokens` is the
/// longest sequence.
std::string PolicyInWords(const Policy& policy, TokenCount max_tokens);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_VERDICT_H_
