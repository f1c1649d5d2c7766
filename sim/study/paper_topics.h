// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_PAPER_TOPICS_H_
#define SIM_STUDY_PAPER_TOPICS_H_

/// What `RunPaperStudy` is made of: each topic measures its figures and says
/// what was published. An error is a defect of ours, not a figure missed.

#include <vector>

#include "absl/status/statusor.h"

#include "sim/study/paper_check.h"
#include "sim/study/paper_study.h"

namespace pagedkv::sim {

using PaperChecks = absl::StatusOr<std::vector<PaperCheck>>;

// paper_memory.cc: arithmetic on the catalogue's models.
PaperChecks CheckBytesPerToken(const PaperOptions& options);
PaperChecks CheckTable1(const PaperOptions& options);
PaperChecks CheckHybridWaste(const PaperOptions& options);

// paper_walkthroughs.cc: the paper's examples, step by step, on the manager.
PaperChecks CheckWalkthroughs(const PaperOptions& options);

// paper_batches.cc: simulations in a saturated pool.
PaperChecks CheckFig3(const PaperOptions& options);
PaperChecks CheckBatches(const PaperOptions& options);
PaperChecks CheckBlockSizes(const PaperOptions& options);

// paper_sharing.cc: requests with several sequences.
PaperChecks CheckParallelSampling(const PaperOptions& options);
PaperChecks CheckBeamSearch(const PaperOptions& options);

// paper_lengths.cc: the built-in workloads, without a clock.
PaperChecks CheckMeanLengths(const PaperOptions& options);
PaperChecks CheckClosedForms(const PaperOptions& options);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_PAPER_TOPICS_H_
