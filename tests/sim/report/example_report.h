// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_SIM_REPORT_EXAMPLE_REPORT_H_
#define TESTS_SIM_REPORT_EXAMPLE_REPORT_H_

#include "sim/replay/simulation.h"
#include "sim/report/report.h"
#include "sim/report/run_statistics.h"

namespace pagedkv::sim {

/// A pool of 1,000 slots: 400 token, 100 reserved, 200 internal, 50 round-up,
/// 30 watermark, 20 blocked by fragmentation, 110 by capacity, 40 by policy, 10
/// tail, 40 idle. Held are 810, allocated 750, wasted 410: 280 hard, 130 soft.
CauseSlots ExampleSlots();

/// `num_steps` steps of one second with `ExampleSlots`, 3 resident sequences
/// and one waiting, after warm-up and before the drain. Three requests of 10
/// and 7 tokens arrived at 0, were admitted after 0, 1 and 2 s, had their first
/// token after 2, 3 and 4 s and the six others within another 600 ms.
void RunExample(int num_steps, RunStatistics& statistics);

/// contiguous-max with that state and half the batch, then paged-16, then
/// concat, on the `fixed` clock with 1,000 bytes per token; a TTFT of at most 3
/// s is asked for.
Report ExampleReport();

}  // namespace pagedkv::sim

#endif  // TESTS_SIM_REPORT_EXAMPLE_REPORT_H_
