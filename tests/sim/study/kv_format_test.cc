// SPDX-License-Identifier: Apache-2.0
// What the formats of K and V buy on a workload that memory bounds.
#include <cstdint>
#include <string>

#include "gtest/gtest.h"

#include "pagedkv/kv_geometry.h"
#include "sim/study/sim_plan.h"
#include "sim/study/sim_run.h"

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kMemory = 12LL << 30;

/// Bytes of a token of OPT-13B: K and V in 40 layers of 40 heads, 128 elements
/// and, for integers, a scale and a zero point of 16 bits.
std::int64_t TokenBytes(KvDtype dtype) {
  return 2LL * 40 * 40 *
         (128 * KvDtypeBits(dtype) / 8 + (IsInteger(dtype) ? 4 : 0));
}

SimPlan PlanFor(KvDtype dtype) {
  SimOptions options;
  options.workload = "sharegpt";
  options.requests = 3000;
  options.model = "opt-13b";
  options.dtype = std::string(KvDtypeName(dtype));
  options.memory = "12GiB";
  options.policies = "contiguous-max,paged-16";
  // So that nothing but memory bounds the batch.
  options.max_num_seqs = 4096;
  options.max_num_batched_tokens = 65'536;
  const absl::StatusOr<SimPlan> plan = MakeSimPlan(options);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

double Batch(const Report& report, std::size_t policy) {
  return report.results[policy].metrics.batch_mean->mean;
}

TEST(KvFormatTest, SlotsCountScalesAndZeroPoints) {
  for (const KvDtype dtype : kKvDtypes) {
    SCOPED_TRACE(KvDtypeName(dtype));
    const SimPlan plan = PlanFor(dtype);
    EXPECT_EQ(plan.model.kv_bytes_per_token, Bytes(TokenBytes(dtype)));
    EXPECT_EQ(plan.pool.slots, TokenCount(kMemory / TokenBytes(dtype)));
  }
}

TEST(KvFormatTest, TheBatchGrowsAsBytesPerTokenShrink) {
  const SimPlan base_plan = PlanFor(KvDtype::kFp16);
  const auto base = RunSimPlan(base_plan, {});
  ASSERT_TRUE(base.ok()) << base.status();
  const auto slots = [](const SimPlan& plan) {
    return static_cast<double>(plan.pool.slots->value());
  };
  for (const KvDtype dtype :
       {KvDtype::kFp32, KvDtype::kFp8, KvDtype::kInt8, KvDtype::kInt4}) {
    SCOPED_TRACE(KvDtypeName(dtype));
    const SimPlan plan = PlanFor(dtype);
    const auto report = RunSimPlan(plan, {});
    ASSERT_TRUE(report.ok()) << report.status();
    // Each takes the maximum of 2,048 slots: to the request.
    EXPECT_EQ(Batch(*report, 0),
              static_cast<double>(plan.pool.slots->value() / 2048));
    // Pages waste next to nothing: as the slots, but for which requests meet.
    const double gain = Batch(*report, 1) / Batch(*base, 1);
    const double more_slots = slots(plan) / slots(base_plan);
    EXPECT_NEAR(gain / more_slots, 1, 0.06);
  }
}

}  // namespace
}  // namespace pagedkv::sim
