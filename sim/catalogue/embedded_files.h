// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CATALOGUE_EMBEDDED_FILES_H_
#define SIM_CATALOGUE_EMBEDDED_FILES_H_

#include <string_view>

namespace pagedkv::sim {

/// The data files of this folder, embedded so that an installed binary needs
/// no file.
extern const std::string_view kModelsJson;
extern const std::string_view kGpusJson;

}  // namespace pagedkv::sim

#endif  // SIM_CATALOGUE_EMBEDDED_FILES_H_
