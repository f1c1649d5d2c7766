// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_EMBEDDED_FILES_H_
#define SIM_WORKLOAD_EMBEDDED_FILES_H_

#include <string_view>

namespace pagedkv::sim {

/// presets.json, embedded so that an installed binary needs no file.
extern const std::string_view kPresetsJson;

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_EMBEDDED_FILES_H_
