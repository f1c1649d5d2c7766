// SPDX-License-Identifier: Apache-2.0
// What `pagedkv sim` reports of a model whose layers keep different tokens.
#include <cstdint>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/kv_cache_plan.h"
#include "sim/replay/policy.h"
#include "sim/study/sim_plan.h"
#include "sim/study/sim_run.h"
#include "sim/workload/workload_source.h"

namespace pagedkv::sim {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::SizeIs;

SimPlan PlanFor(const char* model, const char* memory) {
  SimOptions options;
  options.workload = "azure-conv-2023";
  options.requests = 400;
  options.model = model;
  options.memory = memory;
  options.policies = "paged-32";
  const absl::StatusOr<SimPlan> plan = MakeSimPlan(options);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

TEST(HybridReportTest, ComparesWhatGroupsHoldNeedAndSave) {
  const SimPlan plan = PlanFor("gemma-3-27b", "200GiB");
  ASSERT_TRUE(plan.hybrid.has_value());
  EXPECT_EQ(plan.hybrid->geometry.block_size(), BlockSize(32));
  const auto report = RunSimPlan(plan, {});
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_TRUE(report->kv_cache_groups.has_value());
  const KvGroupsReport& groups = *report->kv_cache_groups;
  ASSERT_THAT(groups.groups, SizeIs(plan.hybrid->plan.groups.size()));
  EXPECT_EQ(groups.block_size, BlockSize(32));

  // From the requests themselves.
  const auto workload = LoadWorkload(plan.workload);
  ASSERT_TRUE(workload.ok());
  ASSERT_EQ(report->results[0].totals.finished,
            static_cast<std::int64_t>(workload->requests.size()));
  std::int64_t held = 0;
  std::int64_t uniform = 0;
  for (const TraceRequest& request : workload->requests) {
    const TokenCount length(FinalSlots(request));
    held += PlanUseAtLength(plan.hybrid->geometry, plan.hybrid->plan, length)
                ->held.value();
    uniform += UniformUseAtLength(plan.hybrid->geometry, length)->held.value();
  }
  const auto count = static_cast<std::int64_t>(workload->requests.size());
  EXPECT_EQ(groups.all.final_length.held, Bytes((held + count / 2) / count));
  EXPECT_EQ(groups.uniform.final_length.held,
            Bytes((uniform + count / 2) / count));

  // The windows save much, of which padding and empty layers cost a part.
  EXPECT_EQ(groups.all.residency.needed, groups.uniform.residency.needed);
  EXPECT_LT(groups.all.residency.held, groups.uniform.residency.held);
  EXPECT_GT(groups.all.residency.wasted_pct, 0);
  EXPECT_THAT(report->Warnings(),
              Contains(HasSubstr("layers of gemma-3-27b keep different")));
}

TEST(HybridReportTest, ThereAreNoGroupsWhereAllLayersKeepTheSame) {
  const SimPlan plan = PlanFor("llama-3.1-8b", "20GiB");
  EXPECT_FALSE(plan.hybrid.has_value());
  const auto report = RunSimPlan(plan, {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_FALSE(report->kv_cache_groups.has_value());
  EXPECT_TRUE(report->Warnings().empty());
}

}  // namespace
}  // namespace pagedkv::sim
