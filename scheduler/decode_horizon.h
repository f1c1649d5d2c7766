// SPDX-License-Identifier: Apache-2.0
#ifndef SCHEDULER_DECODE_HORIZON_H_
#define SCHEDULER_DECODE_HORIZON_H_

#include <cstdint>
#include <vector>

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// How many more tokens each of a set of sequences can append, side by side,
/// one per step, while the manager does no more for them than to hand out
/// blocks: what the pool must have for it, and where something else would
/// happen. Allocates nothing once made. Thread-compatible.
class DecodeHorizon {
 public:
  /// `cache` must outlive it.
  explicit DecodeHorizon(const KvCacheManager& cache);

  /// No sequence; at most `most` steps.
  void Reset(std::int32_t most);
  /// One sequence more, whose last token was appended in this step.
  /// O(KV cache groups).
  void Add(SequenceId sequence);
  /// The steps that may follow: as many as were asked for, as no sequence gives
  /// a block back or leaves a state behind, and as the pool has blocks for
  /// without falling below `reserve` free ones. O(steps).
  [[nodiscard]] std::int32_t NumSteps(BlockCount reserve) const;

 private:
  [[nodiscard]] std::int64_t StepsUndisturbed(int group,
                                              TokenCount tokens) const;

  const KvCacheManager& cache_;
  bool gives_back_ = false;
  std::int64_t most_ = 0;
  // [groups][block size]: sequences by the slots that are left in their last
  // block. Empty where no step within the horizon takes a block.
  std::vector<std::vector<std::int32_t>> by_slots_left_;
};

}  // namespace pagedkv

#endif  // SCHEDULER_DECODE_HORIZON_H_
