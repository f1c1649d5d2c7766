// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_STEP_TIME_FILE_H_
#define SIM_STUDY_STEP_TIME_FILE_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "sim/clock/step_time.h"

namespace pagedkv::sim {

/// A step time as a file: what `pagedkv fit --out` writes, or a person.
///
///   {"schema": "pagedkv.step_time/1",
///    "preset": "fit-llama-3.1-8b",   its name in reports
///    "model": "llama-3.1-8b",        may be missing: not said
///    "source": "where the figures come from",
///    "serial": {"per_step": 0, "per_sequence": 0, "per_computed_token": 0,
///               "per_prefill_attention": 0, "per_resident_token": 0},
///    "compute": {...}, "memory": {...}}
///
/// in femtoseconds, whole numbers from 0 to 10^18; a part or a coefficient that
/// is missing is 0. A step takes serial + max(compute, memory).
std::string StepTimeToJson(const StepTime& time);

/// Reads such a text; `source` names it in errors, which are InvalidArgument in
/// one line.
absl::StatusOr<StepTime> ParseStepTime(std::string_view text,
                                       const std::string& source);
/// The same from a file; NotFound if it cannot be read.
absl::StatusOr<StepTime> ReadStepTime(const std::string& path);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_STEP_TIME_FILE_H_
