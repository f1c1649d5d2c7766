// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_SIM_HITCURVE_HITCURVE_TEST_SUPPORT_H_
#define TESTS_SIM_HITCURVE_HITCURVE_TEST_SUPPORT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <list>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "pagedkv/eviction_policy.h"
#include "sim/hitcurve/block_trace.h"
#include "sim/hitcurve/hit_counts.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

inline constexpr std::int32_t kTestBlockTokens = 4;

/// A request whose last block holds `last` of four tokens.
inline TraceRequest MakeRequest(std::vector<std::uint64_t> ids,
                                std::int32_t last = kTestBlockTokens) {
  TraceRequest request;
  request.prompt_tokens =
      ids.empty()
          ? 1
          : (static_cast<std::int32_t>(ids.size()) - 1) * kTestBlockTokens +
                last;
  request.output_tokens = 1;
  request.block_ids = std::move(ids);
  return request;
}

inline BlockTrace MakeTrace(const std::vector<TraceRequest>& requests) {
  return *BlockTrace::Create(requests, kTestBlockTokens);
}

/// How the ids of random requests relate.
enum class IdKind : std::uint8_t {
  kPrefixes,  ///< each stands for all the ids before it, as it should
  kAny,       ///< at random, even twice in a request
};

/// Requests of 0 to `max_blocks` blocks, some much more likely than others.
inline std::vector<TraceRequest> RandomRequests(std::uint32_t seed, IdKind kind,
                                                int count,
                                                std::uint32_t max_blocks,
                                                std::uint32_t fan_out) {
  std::mt19937 random(seed);
  const auto below = [&random](std::uint32_t n) {
    return static_cast<std::uint32_t>(random() % n);
  };
  std::vector<TraceRequest> requests;
  for (int i = 0; i < count; ++i) {
    std::vector<std::uint64_t> ids;
    std::uint64_t prefix = 0;
    for (std::uint32_t left = below(max_blocks + 1); left > 0; --left) {
      const std::uint64_t choice = below(1 + below(fan_out));
      prefix = prefix * (fan_out + 1) + choice + 1;
      ids.push_back(kind == IdKind::kPrefixes ? prefix : choice);
    }
    const auto last = static_cast<std::int32_t>(1 + below(kTestBlockTokens));
    requests.push_back(MakeRequest(std::move(ids), last));
  }
  // A trace of no block at all is refused.
  requests.push_back(MakeRequest({1}));
  return requests;
}

/// What is found in, and becomes of, a cache of one size under LRU: a list, the
/// most recent in front.
inline HitCounts NaiveLru(const std::vector<TraceRequest>& requests,
                          std::size_t capacity) {
  HitCounts counts;
  std::vector<std::uint64_t> list;
  for (const TraceRequest& request : requests) {
    const std::vector<std::uint64_t>& ids = request.block_ids;
    const TokenCount prompt(request.prompt_tokens);
    counts.AddRequest(static_cast<std::int64_t>(ids.size()), prompt);
    std::int64_t hits = 0;
    for (const std::uint64_t id : ids) {
      if (std::find(list.begin(), list.end(), id) == list.end()) break;
      ++hits;
    }
    counts.AddHits(hits, BlockSize(kTestBlockTokens), prompt);
    for (auto id = ids.rbegin(); id != ids.rend(); ++id) {
      std::erase(list, *id);
      list.insert(list.begin(), *id);
      if (list.size() > capacity) list.pop_back();
    }
  }
  return counts;
}

/// Candidates in the order in which they became idle, or were inserted. Also
/// records the calls, as in "?0 +3 idle3 !3 use3 idle3 -3": a miss at
/// position 0 is the one without a block.
class ListPolicy : public EvictionPolicy {
 public:
  enum class Order : std::uint8_t { kIdle, kInserted };
  explicit ListPolicy(Order order, bool may_evict_parents = false,
                      std::string* calls = nullptr)
      : order_(order), may_evict_parents_(may_evict_parents), calls_(calls) {}

  [[nodiscard]] std::string_view name() const override { return "list"; }
  void OnMiss(const CachedBlockInfo& info) override {
    Record("?", BlockId(info.position));
  }
  void OnInsert(BlockId block, const CachedBlockInfo&) override {
    Record("+", block);
    if (order_ == Order::kInserted) all_.push_back(block);
  }
  void OnHit(BlockId block) override { Record("!", block); }
  void OnUse(BlockId block) override {
    Record("use", block);
    Erase(candidates_, block);
  }
  void OnIdle(BlockId block) override {
    Record("idle", block);
    candidates_.push_back(block);
  }
  void OnRemove(BlockId block) override {
    Record("-", block);
    Erase(candidates_, block);
    if (order_ == Order::kInserted) Erase(all_, block);
  }
  [[nodiscard]] BlockId Victim() override {
    if (candidates_.empty()) return kNullBlock;
    if (order_ == Order::kIdle) return candidates_.front();
    return *std::find_if(all_.begin(), all_.end(), [this](BlockId block) {
      return std::find(candidates_.begin(), candidates_.end(), block) !=
             candidates_.end();
    });
  }
  [[nodiscard]] bool may_evict_parents() const override {
    return may_evict_parents_;
  }
  [[nodiscard]] std::int64_t num_candidates() const override {
    return static_cast<std::int64_t>(candidates_.size());
  }
  [[nodiscard]] absl::Status CheckInvariants() const override {
    return absl::OkStatus();
  }

 private:
  void Record(const char* what, BlockId block) {
    if (calls_ == nullptr) return;
    if (!calls_->empty()) *calls_ += ' ';
    *calls_ += what + std::to_string(block.value());
  }
  /// A call for a block that is not there breaks the contract.
  static void Erase(std::list<BlockId>& list, BlockId block) {
    const auto found = std::find(list.begin(), list.end(), block);
    if (found == list.end()) std::abort();
    list.erase(found);
  }

  Order order_;
  bool may_evict_parents_;
  std::string* calls_;
  std::list<BlockId> all_;
  std::list<BlockId> candidates_;
};

}  // namespace pagedkv::sim

#endif  // TESTS_SIM_HITCURVE_HITCURVE_TEST_SUPPORT_H_
