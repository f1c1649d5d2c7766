// SPDX-License-Identifier: Apache-2.0
// Fig. 2 and Fig. 13a of the PagedAttention paper (SOSP'23): OPT-13B with
// 12 GiB of KV cache, requests as in ShareGPT, a queue that never empties.
#include <cstddef>
#include <cstdint>

#include "gtest/gtest.h"

#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/workload/builtin_workload.h"

namespace pagedkv::sim {
namespace {

// Means over the steps in which the queue was not empty, as percentages of the
// pool.
class Means : public SimulationObserver {
 public:
  void OnSample(const Sample& sample) override {
    if (sample.waiting == 0) return;
    ++steps_;
    running_ += sample.running;
    for (std::size_t i = 0; i < kNumCauses; ++i) {
      const auto cause = static_cast<Cause>(i);
      sums_[cause] += sample.slots[cause];
    }
  }
  void OnRequest(const RequestRecord&) override {}

  double percent(Cause cause) const {
    return 100.0 * static_cast<double>(sums_[cause]) /
           static_cast<double>(sums_.total());
  }
  double batch() const {
    return static_cast<double>(running_) / static_cast<double>(steps_);
  }

 private:
  CauseSlots sums_;
  std::int64_t steps_ = 0;
  std::int64_t running_ = 0;
};

// Over three draws of the workload, as the paper gives no lengths but means.
Means Replay(const char* policy) {
  Means means;
  const auto sharegpt = BuiltinWorkload::Find("sharegpt");
  for (const std::uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const auto requests = (*sharegpt)->Generate(2000, (*sharegpt)->rate, seed);
    // The watermark is the one that vLLM had then.
    const auto totals = Simulate(*Policy::Parse(policy),
                                 {.capacity = TokenCount(15728),
                                  .max_sequence_tokens = TokenCount(2048),
                                  .watermark = 0.01},
                                 *requests, means);
    EXPECT_TRUE(totals.ok()) << totals.status();
  }
  return means;
}

TEST(PaperFiguresTest, OrcaMaxReservesTheMaximum) {
  const Means means = Replay("contiguous-max");
  EXPECT_NEAR(means.percent(Cause::kToken), 20.4, 2);
  EXPECT_NEAR(means.percent(Cause::kReserved), 13.3, 2);
  EXPECT_NEAR(means.percent(Cause::kInternal), 57.3, 4);
  EXPECT_NEAR(means.batch(), 7.00, 0.08 * 7.00);
}

TEST(PaperFiguresTest, OrcaPow2ReservesUpToTwiceTheOutput) {
  const Means means = Replay("contiguous-pow2");
  EXPECT_NEAR(means.percent(Cause::kToken), 26.8, 2);
  EXPECT_NEAR(means.percent(Cause::kReserved), 17.9, 2);
  EXPECT_NEAR(means.percent(Cause::kInternal), 13.6, 2);
  EXPECT_NEAR(means.batch(), 9.81, 0.08 * 9.81);
}

TEST(PaperFiguresTest, OrcaOracleFragments) {
  const Means means = Replay("contiguous-oracle");
  EXPECT_NEAR(means.percent(Cause::kToken), 38.2, 2);
  EXPECT_NEAR(means.percent(Cause::kReserved), 25.2, 2);
  EXPECT_EQ(means.percent(Cause::kInternal), 0);
  EXPECT_NEAR(means.batch(), 13.62, 0.08 * 13.62);
}

TEST(PaperFiguresTest, PagingFillsThePool) {
  const Means means = Replay("paged-16");
  EXPECT_NEAR(means.percent(Cause::kToken), 96.3, 2);
  EXPECT_NEAR(means.batch(), 30.42, 0.12 * 30.42);
}

}  // namespace
}  // namespace pagedkv::sim
