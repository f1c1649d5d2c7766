// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_WORKLOAD_SPEC_JSON_H_
#define SIM_WORKLOAD_WORKLOAD_SPEC_JSON_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "sim/workload/workload_spec.h"

namespace pagedkv::sim {

/// The JSON of a description, "pagedkv.workload/1": workload.schema.json says
/// what may stand in it.

/// Strict: what is missing, out of range or unknown is an InvalidArgument that
/// names `source`, the place in it and the key.
absl::StatusOr<WorkloadSpec> ParseWorkloadSpec(std::string_view text,
                                               std::string_view source);
/// The same from a file.
absl::StatusOr<WorkloadSpec> ReadWorkloadSpec(const std::string& path);
/// What `ParseWorkloadSpec` reads back to the same.
std::string WorkloadSpecToJson(const WorkloadSpec& spec);

/// Descriptions that are part of the binary, from presets.json in its order.
absl::StatusOr<std::vector<WorkloadSpec>> WorkloadPresets();

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_WORKLOAD_SPEC_JSON_H_
