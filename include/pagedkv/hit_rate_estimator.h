// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_HIT_RATE_ESTIMATOR_H_
#define PAGEDKV_HIT_RATE_ESTIMATOR_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/types.h"

namespace pagedkv {

struct HitRateEstimatorOptions {
  /// Contents that are followed at a time, from 16 to 2^24: about 100 bytes
  /// each. The error shrinks with the square root of their number. On
  /// Mooncake's conversation trace (182,790 contents, sizes from 1,000 to
  /// 100,000 blocks, 20 seeds, 10 for the last) 2,048 / 8,192 / 32,768 were
  /// wrong by 0.017 / 0.008 / 0.004 at the worst size in the root mean square,
  /// and by at most 0.036 / 0.018 / 0.010.
  std::int32_t max_samples = 8192;
  /// Which contents those are: another seed follows others.
  std::uint64_t seed = 0;
};

/// Estimates, while an engine runs, what share of its blocks a prefix cache of
/// any size would have found under LRU: whether more memory would pay, or less
/// would do.
///
/// SHARDS (Waldspurger et al., FAST 2015), with a fixed number of samples: a
/// content is followed if its hash is below a threshold, so the references to a
/// content are all seen or none. Among the contents followed, the depth in the
/// LRU stack is exact; divided by the share of contents followed it estimates
/// the depth among all. Where there are too many samples, the one with the
/// greatest hash is dropped and the threshold becomes its hash. What hot
/// contents distort, by being followed or not, is set right by the number of
/// all references, which is known (the paper's SHARDS-adj).
///
/// Hits are prefix hits, weighted by blocks, and decided by the cache as the
/// request arrives; it then touches its blocks from the last to the first. A
/// content must name the whole prefix that ends with its block, as a chained
/// hash does. While all contents fit in `max_samples` the depths are exact.
/// Depths are counted in ranges: up to 128 one by one, beyond that 64 to each
/// doubling, and `Estimate` interpolates within one.
///
/// Invariants: at most `max_samples` are followed, each with its hash below the
/// threshold; the table finds, and one slot of time names, each of them; the
/// tree counts the slots in use. All memory is taken at the start, but for what
/// the longest request needs. Thread-compatible.
class HitRateEstimator {
 public:
  /// InvalidArgument if an option is out of its range.
  static absl::StatusOr<HitRateEstimator> Create(
      const HitRateEstimatorOptions& options = {});

  /// A request refers to the blocks of its prompt: `contents` from the first to
  /// the last. A hash and a comparison for each, and O(log max_samples), in the
  /// mean over many, for those that are followed. Allocates nothing once it has
  /// seen the longest request.
  void OnRequest(std::span<const std::uint64_t> contents);

  /// The estimated share of the blocks referred to that a cache of `size`
  /// blocks (none for the null block) finds: 0 to 1, not falling with the size;
  /// 0 before the first reference. O(1), as there are some thousand ranges.
  [[nodiscard]] double Estimate(BlockCount size) const;

  /// Forgets what was counted, but not what is recent: from here on, estimates
  /// are of the requests to come. For a workload that changes.
  void StartWindow();

  /// References counted in the present window, followed or not.
  [[nodiscard]] std::int64_t num_references() const { return num_references_; }
  /// Contents that are followed at present.
  [[nodiscard]] std::int32_t num_samples() const {
    return static_cast<std::int32_t>(by_hash_.size());
  }
  /// The share of all contents that is followed; 1 until there are too many.
  [[nodiscard]] double sampling_rate() const;

  /// Internal, naming the sample, if an invariant is broken. O(n log n).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  struct Sample {
    std::uint64_t hash;  // of the content: names it
    std::int32_t slot;   // of its latest touch; kNone: the entry is free
  };
  static constexpr std::int32_t kNone = -1;

  explicit HitRateEstimator(const HitRateEstimatorOptions& options);

  [[nodiscard]] std::uint64_t Hash(std::uint64_t content) const;
  /// The entry of the table that has the hash, or the free one to put it in.
  [[nodiscard]] std::size_t Find(std::uint64_t hash) const;
  void Measure(std::uint64_t hash);
  void Touch(std::uint64_t hash);
  void DropGreatest();
  void Compact();
  void AddToTree(std::size_t slot, std::int32_t amount);
  /// Slots in use up to and with `slot`.
  [[nodiscard]] std::int32_t CountTo(std::size_t slot) const;

  std::size_t max_samples_;
  std::uint64_t seed_;
  std::uint64_t threshold_;
  std::vector<Sample> table_;           // open addressing; a power of two
  std::vector<std::uint64_t> by_hash_;  // a heap, the greatest on top
  std::size_t next_slot_ = 0;
  std::vector<std::uint64_t> hash_of_;     // by slot
  std::vector<bool> slot_in_use_;          // by slot
  std::vector<std::int32_t> tree_;         // Fenwick; slot s is entry s + 1
  std::vector<std::uint64_t> in_request_;  // followed ones of one request
  std::int64_t num_references_ = 0;
  double num_estimated_ = 0;        // references, as samples stand for them
  std::vector<double> references_;  // of them, by range of depth
};

}  // namespace pagedkv

#endif  // PAGEDKV_HIT_RATE_ESTIMATOR_H_
