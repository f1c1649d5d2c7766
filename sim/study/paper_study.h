// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_PAPER_STUDY_H_
#define SIM_STUDY_PAPER_STUDY_H_

/// The memory figures of the PagedAttention paper (Kwon et al., SOSP 2023) and
/// of its successors, computed anew with the simulator and the library.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "sim/study/paper_check.h"

namespace pagedkv::sim {

struct PaperOptions {
  /// Draws of each workload, with the seeds 1, 2, ...; at least 1.
  std::int64_t seeds = 10;
  /// Requests of a draw; 0: as many as each study takes to settle.
  std::int64_t requests = 0;
  /// Topics to check, separated by commas; empty: all.
  std::string only = "";
};

/// The topics, separated by commas, in the order of their checks.
[[nodiscard]] std::string PaperTopicNames();

/// Checks everything; some seconds to a minute. InvalidArgument, naming the
/// option, for one out of range; Cancelled if it was interrupted.
absl::StatusOr<std::vector<PaperCheck>> RunPaperStudy(
    const PaperOptions& options);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_PAPER_STUDY_H_
