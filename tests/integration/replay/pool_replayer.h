// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_INTEGRATION_REPLAY_POOL_REPLAYER_H_
#define TESTS_INTEGRATION_REPLAY_POOL_REPLAYER_H_

#include <map>
#include <string>

#include "pagedkv/kv_cache_manager.h"
#include "tests/integration/replay/recording.h"

namespace pagedkv::replay {

/// Replays recordings of kind "pool": the manager's decisions, without a
/// scheduler.
class PoolReplayer : public Replayer {
 public:
  PoolReplayer(const Json& config, KvCacheManager manager);
  Json Apply(const Json& record) override;
  absl::Status CheckInvariants() const override {
    return manager_.CheckInvariants();
  }

 private:
  struct Request {
    std::int64_t num_tokens = 0;  // prompt and accepted output
    SequenceId sequence;          // while admitted
  };

  Json New(const Json& record);
  Json Admit(const Json& record);
  Json Step(const Json& record);
  Json Release(const Json& record);
  Json Dump() const;
  // Appends, and puts what was added to the tables into `result`.
  bool Append(SequenceId sequence, std::int64_t count,
              const AppendOptions& options, Json& result);
  Json PerGroup(const Json& value) const;
  Json Tables(SequenceId sequence) const;

  std::uint32_t vocabulary_;
  KvCacheManager manager_;
  std::map<std::string, Request> requests_;
};

}  // namespace pagedkv::replay

#endif  // TESTS_INTEGRATION_REPLAY_POOL_REPLAYER_H_
