// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_PARALLEL_H_
#define SIM_STUDY_PARALLEL_H_

#include <cstddef>
#include <functional>

namespace pagedkv::sim {

/// Calls `work(0)` ... `work(count - 1)`, each once, as many at a time as there
/// are processors, in that order of beginning; returns when all have returned.
void ForEachInParallel(std::size_t count,
                       const std::function<void(std::size_t)>& work);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_PARALLEL_H_
