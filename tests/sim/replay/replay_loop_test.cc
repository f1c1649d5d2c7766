// SPDX-License-Identifier: Apache-2.0
// What a sound batcher never does, played by one that follows a script.
#include "sim/replay/replay_loop.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"

#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/batcher.h"
#include "sim/replay/live_requests.h"
#include "sim/replay/policy.h"
#include "sim/replay/replica.h"
#include "sim/replay/router.h"
#include "sim/replay/simulation.h"
#include "sim/trace/request_source.h"
#include "tests/sim/replay/recording_observer.h"
#include "tests/sim/replay/requests.h"

namespace pagedkv::sim {
namespace {

// One request, alone in memory of 32 slots. The script has the tokens that each
// step computes; a 0 before a step preempts. It finishes with the last one.
class ScriptedBatcher : public Batcher {
 public:
  explicit ScriptedBatcher(std::vector<std::int32_t> script)
      : script_(std::move(script)) {}

  absl::StatusOr<bool> Submit(RequestId) override {
    waiting_ = 1;
    return true;
  }
  absl::StatusOr<BatchStep> Schedule(std::int32_t) override {
    scheduled_.clear();
    preempted_.clear();
    if (step_ == script_.size()) return BatchStep();  // stalls
    const std::int32_t num_tokens = script_[step_];
    if (num_tokens == 0) {
      preempted_.emplace_back();
      computed_ = 0;
      ++step_;
    }
    auto& sequence = scheduled_.emplace_back();
    sequence.kind = computed_ == 0 ? ScheduledSequence::Kind::kResumed
                                   : ScheduledSequence::Kind::kRunning;
    sequence.num_computed = computed_;
    sequence.num_tokens = script_[step_++];
    computed_ += sequence.num_tokens;
    waiting_ = 0;
    running_ = 1;
    return BatchStep{.scheduled = scheduled_, .preempted = preempted_};
  }
  absl::StatusOr<std::span<const FinishedRequest>> Update() override {
    if (step_ < script_.size() || stalls_) {
      return std::span<const FinishedRequest>();
    }
    computed_ = 0;
    running_ = 0;
    return finished_;
  }
  absl::Status Fail(std::vector<RequestId>&) override {
    return absl::UnimplementedError("not in the script");
  }
  std::int32_t num_running() const override { return running_; }
  std::int32_t num_waiting() const override { return waiting_; }
  std::int64_t free_slots() const override { return 32 - computed_ - leaked_; }
  std::int64_t largest_free_slots() const override { return free_slots(); }
  std::int64_t tail_slots() const override { return 0; }
  std::int64_t watermark_slots() const override { return 0; }

  void Leak(std::int64_t slots) { leaked_ = slots; }
  void StallAtTheEnd() { stalls_ = true; }

 private:
  std::vector<std::int32_t> script_;
  std::size_t step_ = 0;
  std::int32_t computed_ = 0;
  std::int64_t leaked_ = 0;
  bool stalls_ = false;
  std::int32_t waiting_ = 0;
  std::int32_t running_ = 0;
  std::vector<ScheduledSequence> scheduled_;
  std::vector<Preemption> preempted_;
  std::vector<FinishedRequest> finished_{1};
};

class ReplayLoopTest : public testing::Test {
 protected:
  absl::StatusOr<SimulationTotals> Run(ScriptedBatcher& batcher) {
    SpanSource source(requests_);
    LiveRequests live;
    Replica replica(rule_, options_, 32, live, batcher, observer_);
    Router router({}, BlockSize(16), BlockSize(16));
    const absl::Status status =
        ReplayLoop(options_, source, {&replica, 1}, router, observer_).Run();
    if (!status.ok()) return status;
    return replica.Totals();
  }

  const GrantRule rule_{*Policy::Parse("concat"), TokenCount(32)};
  SimulationOptions options_;
  const std::vector<TraceRequest> requests_ = Requests({{8, 20}});
  RecordingObserver observer_;
};

TEST_F(ReplayLoopTest, StopsWhereASlotHasNoCause) {
  ScriptedBatcher batcher({8, 1});
  batcher.Leak(3);
  const auto totals = Run(batcher);
  EXPECT_TRUE(absl::IsInternal(totals.status()));
  EXPECT_EQ(std::string(totals.status().message()),
            "policy concat at 0.000000000 s: the causes sum to 29 slots, the "
            "pool has 32: token=8 reserved=0 internal=0 roundup=0 "
            "cached_idle=0 watermark=0 blocked_fragmented=0 "
            "blocked_capacity=0 blocked_policy=0 tail=0 idle=21");
  EXPECT_TRUE(observer_.samples.empty());
}

TEST_F(ReplayLoopTest, StopsWhereNothingRunsAndSomethingShould) {
  ScriptedBatcher batcher({8, 1});
  batcher.StallAtTheEnd();
  const auto totals = Run(batcher);
  EXPECT_TRUE(absl::IsInternal(totals.status()));
  EXPECT_EQ(std::string(totals.status().message()),
            "policy concat at 2.000000000 s: 0 sequences are scheduled while 0 "
            "requests wait, with 23 of 32 slots free");
}

TEST_F(ReplayLoopTest, CountsPreemptionsWithoutProgressAsOneLivelock) {
  const auto livelocked = [this](const std::vector<std::int32_t>& script) {
    ScriptedBatcher batcher(script);
    const auto totals = Run(batcher);
    EXPECT_TRUE(totals.ok()) << totals.status();
    return totals.ok() ? totals->livelocked_requests : -1;
  };
  EXPECT_EQ(livelocked({8, 0, 8, 0, 8, 0, 8}), 0);
  EXPECT_EQ(livelocked({8, 0, 8, 0, 8, 0, 8, 0, 8}), 1);
  EXPECT_EQ(livelocked({8, 0, 8, 0, 8, 0, 8, 0, 8, 0, 8, 0, 8}), 1);
  EXPECT_EQ(livelocked({8, 0, 8, 0, 8, 0, 9, 0, 9, 0, 9}), 0);
  EXPECT_EQ(livelocked({8, 0, 5, 0, 7, 0, 6, 0, 9}), 1);
}

}  // namespace
}  // namespace pagedkv::sim
