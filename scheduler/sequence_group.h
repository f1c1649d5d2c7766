// SPDX-License-Identifier: Apache-2.0
#ifndef SCHEDULER_SEQUENCE_GROUP_H_
#define SCHEDULER_SEQUENCE_GROUP_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// The sequences of one request that asks for several: parallel samples, or the
/// beams of a search. They begin as one, the root, which computes the prompt
/// and then branches: forks share its blocks. All members have the same number
/// of known tokens, and sample in the same step.
///
/// While it waits, a group has no sequence in the cache, unless it is swapped
/// out: then it has all that it had while it ran. Admitted, the first
/// member has one, which computes the prompt; then the group spreads, and each
/// has one. While it runs, it holds as many rows of the cache as it can come to
/// need, so that no fork fails.
///
/// Invariants, tested by `CheckInvariants`:
///   runs, or is swapped out: members with a sequence + spare rows ==
///     num_places
///   waits otherwise: no member has a sequence, and there are no spare rows
///   before it branched: the root is the only member
/// Thread-compatible.
class SequenceGroup {
 public:
  struct Member {
    std::int32_t index = 0;    // `ScheduledSequence::sequence_index`
    SequenceId sequence = {};  // the default: none
    // Prompt and output, where the client says what they are.
    std::vector<TokenId> tokens = {};
  };

  /// Of a new request, which waits.
  explicit SequenceGroup(const Request& request);

  [[nodiscard]] bool is_beam() const { return is_beam_; }
  /// Sequences that it has when none has ended.
  [[nodiscard]] std::int32_t width() const { return width_; }
  /// Sequences that it counts for: those that have not ended; of a beam search
  /// all that there may be.
  [[nodiscard]] std::int32_t num_places() const { return num_places_; }
  /// Those that have not ended, by index. At least one.
  [[nodiscard]] std::span<Member> members() { return members_; }
  [[nodiscard]] std::span<const Member> members() const { return members_; }
  [[nodiscard]] bool has_branched() const { return has_branched_; }
  [[nodiscard]] bool has_spread() const { return has_spread_; }
  /// Tokens that are computed, the prompt once. REQUIRES: it has sequences.
  [[nodiscard]] TokenCount NumComputed(const KvCacheManager& cache,
                                       TokenCount prompt) const;

  /// Takes the rows that it needs to run, and an empty sequence for the first
  /// member. False, and nothing has changed, if rows lack.
  [[nodiscard]] bool TryEnter(KvCacheManager& cache,
                              const SequenceOptions& options);
  /// Gives back all that it has in the cache.
  void Leave(KvCacheManager& cache);

  /// The members become `survivors`, each a child of one of them with one more
  /// token. Who has children goes on as the first of them, the others fork from
  /// it; who has none ends. REQUIRES: it runs and has spread, or has not
  /// branched; the parents are positions in `members`; 1 to `width` survivors.
  void Branch(KvCacheManager& cache, std::span<const BeamSurvivor> survivors);
  /// After its prompt was computed again: every member gets a sequence, with
  /// what the prefix cache has of it if that is more than the prompt, or else
  /// as a fork. Takes no blocks but those that it finds.
  void Spread(KvCacheManager& cache, const SequenceOptions& options,
              TokenCount prompt, PrefixMatch& match);
  /// The member at this position ends, and counts no more.
  /// REQUIRES: has_spread().
  void EndMember(KvCacheManager& cache, std::size_t position);

  /// Internal, without the request's name, if an invariant is broken.
  [[nodiscard]] absl::Status CheckInvariants(const KvCacheManager& cache,
                                             bool has_sequences) const;

 private:
  [[nodiscard]] bool TryAdopt(KvCacheManager& cache, const Member& member,
                              SequenceId sequence, TokenCount prompt,
                              PrefixMatch& match) const;
  void TakeSpare(KvCacheManager& cache);

  bool is_beam_ = false;
  bool has_branched_ = false;
  bool has_spread_ = false;
  std::int32_t width_ = 0;
  std::int32_t num_places_ = 0;
  std::vector<Member> members_;
  std::vector<SequenceId> spares_;  // empty sequences, which hold rows
};

}  // namespace pagedkv

#endif  // SCHEDULER_SEQUENCE_GROUP_H_
