// SPDX-License-Identifier: Apache-2.0
// Figures that are known for the Azure 2023 conversation trace.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/trace/trace_request.h"
#include "sim/workload/workload_source.h"

namespace pagedkv::sim {
namespace {

std::vector<TraceRequest> ReadTrace() {
  const char* folder = std::getenv("PAGEDKV_TRACES");
  const auto workload = LoadWorkload(
      {.trace = (folder != nullptr ? std::string(folder)
                                   : PAGEDKV_SOURCE_DIR "/../shared/traces") +
                "/azure_2023_conv.csv"});
  if (!workload.ok()) return {};
  return workload->requests;
}

class AzureFiguresTest : public testing::Test {
 protected:
  void SetUp() override {
    if (requests_.empty()) {
      GTEST_SKIP() << "no azure_2023_conv.csv: set PAGEDKV_TRACES to its "
                      "folder";
    }
  }

  // Of what a policy grants to every request at its final length, prompt and
  // output, the share that holds no token.
  double TimeFreeWastePercent(const char* policy,
                              std::int64_t max_sequence_tokens) const {
    const GrantRule rule(*Policy::Parse(policy),
                         TokenCount(max_sequence_tokens));
    std::int64_t present = 0;
    std::int64_t granted = 0;
    for (const TraceRequest& request : requests_) {
      // Longer ones are clipped for this figure only.
      const std::int64_t length =
          std::min(std::int64_t{request.prompt_tokens} + request.output_tokens,
                   max_sequence_tokens);
      present += length;
      granted += rule.For(request, length).granted;
    }
    return 100.0 *
           (1.0 - static_cast<double>(present) / static_cast<double>(granted));
  }

  const std::vector<TraceRequest> requests_ = ReadTrace();
};

TEST_F(AzureFiguresTest, MaxLengthWastesByTheMaximum) {
  EXPECT_NEAR(TimeFreeWastePercent("contiguous-max", 4096), 67.01, 0.005);
  EXPECT_NEAR(TimeFreeWastePercent("contiguous-max", 8192), 83.33, 0.005);
  EXPECT_NEAR(TimeFreeWastePercent("contiguous-max-exact", 16384), 91.67,
              0.007);  // 91.664
}

TEST_F(AzureFiguresTest, BlocksWasteByTheirSize) {
  constexpr std::int64_t kUnclipped = 1 << 20;
  EXPECT_NEAR(TimeFreeWastePercent("paged-8", kUnclipped), 0.26, 0.006);
  EXPECT_NEAR(TimeFreeWastePercent("paged-16", kUnclipped), 0.54, 0.005);
  EXPECT_NEAR(TimeFreeWastePercent("paged-32", kUnclipped), 1.12, 0.005);
  EXPECT_NEAR(TimeFreeWastePercent("paged-64", kUnclipped), 2.21, 0.005);
  EXPECT_NEAR(TimeFreeWastePercent("paged-128", kUnclipped), 4.38, 0.005);
}

// Percentages of what was allocated over a run.
class Shares : public SimulationObserver {
 public:
  void OnSample(const Sample& sample) override {
    for (std::size_t i = 0; i < kNumCauses; ++i) {
      const auto cause = static_cast<Cause>(i);
      sums_[cause] += sample.slots[cause];  // steps take the same time
    }
  }
  void OnRequest(const RequestRecord& record) override {
    finished_ += record.rejected ? 0 : 1;
  }
  double percent(Cause cause) const {
    return 100.0 * static_cast<double>(sums_[cause]) /
           static_cast<double>(sums_.allocated());
  }
  std::int64_t finished() const { return finished_; }

 private:
  CauseSlots sums_;
  std::int64_t finished_ = 0;
};

// Every request stays for as many steps as it has output tokens.
TEST_F(AzureFiguresTest, ResidencyWeighsBySteps) {
  SimulationOptions options = {.capacity = TokenCount(31457),
                               .max_sequence_tokens = TokenCount(4096)};
  Shares max;
  ASSERT_TRUE(
      Simulate(*Policy::Parse("contiguous-max"), options, requests_, max).ok());
  EXPECT_EQ(max.finished(), 17754);
  EXPECT_NEAR(max.percent(Cause::kToken), 27.8, 0.05);
  EXPECT_NEAR(max.percent(Cause::kReserved), 4.2, 0.05);
  EXPECT_NEAR(max.percent(Cause::kInternal), 68.0, 0.05);

  Shares oracle;
  ASSERT_TRUE(
      Simulate(*Policy::Parse("contiguous-oracle"), options, requests_, oracle)
          .ok());
  EXPECT_NEAR(oracle.percent(Cause::kToken), 63.3, 0.05);
  EXPECT_EQ(oracle.percent(Cause::kInternal), 0);

  options.clock = ClockKind::kFixed;
  options.demand = true;  // nothing is preempted, computed twice or chunked
  Shares paged;
  ASSERT_TRUE(
      Simulate(*Policy::Parse("paged-16"), options, requests_, paged).ok());
  EXPECT_NEAR(100.0 - paged.percent(Cause::kToken), 0.65, 0.005);
}

}  // namespace
}  // namespace pagedkv::sim
