// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_INTEGRATION_REPLAY_SCHED_REPLAYER_H_
#define TESTS_INTEGRATION_REPLAY_SCHED_REPLAYER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/scheduler.h"
#include "tests/integration/replay/recording.h"

namespace pagedkv::replay {

/// Replays recordings of kind "sched": a line is one step of the scheduler.
class SchedReplayer : public Replayer {
 public:
  static absl::StatusOr<std::unique_ptr<SchedReplayer>> Create(
      const Json& config, KvCacheManager manager);
  Json Apply(const Json& record) override;
  absl::Status CheckInvariants() const override {
    return scheduler_->CheckInvariants();
  }

 private:
  struct Recorded {
    std::uint64_t k = 0;  // names the stream of the output
    std::uint64_t num_outputs = 0;
  };

  SchedReplayer(const Json& config, KvCacheManager manager);

  void Submit(const Json& request);
  Json Plan(const StepPlan& plan) const;
  Json Common() const;
  Json NewBlocks(const ScheduledSequence& entry) const;
  Json Tables(SequenceId sequence) const;
  // Requests are named by strings that compare as such; ids compare likewise.
  static RequestId IdOf(const std::string& name);
  static std::string NameOf(RequestId id);
  static Json NamesOf(std::span<const RequestId> ids);

  std::uint32_t vocabulary_;
  KvCacheManager manager_;
  std::unique_ptr<Scheduler> scheduler_;
  std::map<RequestId, Recorded> requests_;
};

}  // namespace pagedkv::replay

#endif  // TESTS_INTEGRATION_REPLAY_SCHED_REPLAYER_H_
