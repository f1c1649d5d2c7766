// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_MEMORY_LOG_H_
#define EXAMPLES_ENGINE_MEMORY_LOG_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {

/// What each token slot of the pool was, in one step. The words are those of
/// `pagedkv sim`, whose timeseries.csv has the same rows for the same requests.
struct MemoryRow {
  std::int64_t token = 0;        ///< hold KV of running sequences; shared: once
  std::int64_t reserved = 0;     ///< held; their sequence fills them later
  std::int64_t internal = 0;     ///< held, and never filled
  std::int64_t cached_idle = 0;  ///< KV of ended ones, which may be hit
  std::int32_t running = 0;
  std::int32_t waiting = 0;
  std::int32_t preemptions = 0;

  [[nodiscard]] std::int64_t held() const {
    return token + reserved + internal;
  }
  friend bool operator==(const MemoryRow&, const MemoryRow&) = default;
};

/// Records what running sequences hold, step by step. What was reserved and
/// what was wasted is known when all have ended.
class MemoryLog {
 public:
  /// A sequence of the engine: its request, and which of its samples.
  using SequenceKey = std::pair<RequestId, std::int32_t>;

  /// After a step was planned. `num_samples` of each running request.
  void Record(const KvCacheManager& manager, const Scheduler& scheduler,
              const std::map<RequestId, std::int32_t>& num_samples,
              std::int32_t num_preemptions);
  /// A sequence ended, after so many tokens whose KV was ever computed.
  void End(const SequenceKey& sequence, std::int64_t num_tokens) {
    final_tokens_[sequence] = num_tokens;
  }

  [[nodiscard]] std::vector<MemoryRow> Rows() const;

 private:
  // A block of which the last slots are empty.
  struct PartialBlock {
    SequenceKey sequence;       // one of those that hold it
    std::int64_t position = 0;  // of its first token
    std::int64_t filled = 0;
  };
  struct Step {
    MemoryRow row;  // without reserved and internal
    std::vector<PartialBlock> partial;
  };

  std::int64_t block_size_ = 1;
  std::vector<Step> steps_;
  std::vector<std::size_t> seen_in_;  // [blocks]: the last step that saw it
  std::map<SequenceKey, std::int64_t> final_tokens_;
};

/// Sums over the steps of a run.
struct MemorySummary {
  std::int64_t num_steps = 0;
  std::int64_t num_preemptions = 0;
  std::int64_t peak_held = 0;   ///< slots
  std::int64_t peak_token = 0;  ///< slots
  double mean_held = 0;         ///< slots
  double mean_token = 0;        ///< slots
  double mean_internal = 0;     ///< slots
  double mean_running = 0;      ///< requests
};
MemorySummary Summarize(const std::vector<MemoryRow>& rows);

/// As CSV: a line for each step, under the names of timeseries.csv. `capacity`
/// and `tail` are the slots of the pool and those that nobody can have.
std::string MemoryCsv(const std::vector<MemoryRow>& rows, TokenCount capacity,
                      TokenCount tail);

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_MEMORY_LOG_H_
