// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_INTEGRATION_REPLAY_POOL_REPLAYER_H_
#define TESTS_INTEGRATION_REPLAY_POOL_REPLAYER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "pagedkv/kv_cache_manager.h"
#include "tests/integration/replay/recording.h"

namespace pagedkv::replay {

/// Replays recordings of kind "pool": the manager's decisions, without a
/// scheduler.
class PoolReplayer : public Replayer {
 public:
  PoolReplayer(const Json& header, KvCacheManager manager);
  Json Apply(const Json& record) override;
  absl::Status CheckInvariants() const override {
    return manager_.CheckInvariants();
  }

 private:
  struct Request {
    std::uint64_t k = 0;          // names the stream of the output
    std::vector<TokenId> tokens;  // prompt and accepted output
    std::uint64_t num_outputs = 0;
    SequenceOptions options;
    SequenceId sequence;  // while admitted
  };

  Json New(const Json& record);
  Json Lookup(const Request& request);
  Json Admit(const Json& record);
  Json Step(const Json& record);
  Json Release(const Json& record);
  Json Dump() const;
  Json Evict(const Json& record);
  Json Common(const Request& request) const;
  void AddOutputs(Request& request, std::int64_t count) const;
  // Appends, and puts what was added to the tables into `result`.
  bool Append(SequenceId sequence, std::int64_t count,
              const AppendOptions& options, Json& result);
  Json PerGroup(const Json& value) const;
  Json Tables(SequenceId sequence) const;

  std::uint32_t vocabulary_;
  bool has_events_;
  std::optional<BlockHasher> hasher_;
  std::int32_t hash_block_size_;
  std::int64_t num_operations_ = 0;  // dumps not counted
  PrefixMatch match_;
  KvCacheManager manager_;
  std::map<std::string, Request> requests_;
};

}  // namespace pagedkv::replay

#endif  // TESTS_INTEGRATION_REPLAY_POOL_REPLAYER_H_
