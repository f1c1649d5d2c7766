// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_POLICY_BASE_H_
#define ALLOCATOR_EVICTION_POLICY_BASE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

#include "allocator/eviction/block_segments.h"
#include "allocator/eviction/id_list.h"
#include "pagedkv/eviction_policy.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// What all policies share: who is cached and who is a candidate, and that the
/// calls keep to the contract. A policy overrides what happens then. One byte
/// per block. Thread-compatible.
class PolicyBase : public EvictionPolicy {
 public:
  void OnInsert(BlockId block, const CachedBlockInfo& info) final;
  void OnHit(BlockId block) final;
  void OnUse(BlockId block) final;
  void OnIdle(BlockId block) final;
  void OnRemove(BlockId block) final;
  void SetCapacity(BlockCount num_blocks) final;
  [[nodiscard]] std::int64_t num_candidates() const final {
    return num_candidates_;
  }
  [[nodiscard]] absl::Status CheckInvariants() const final;

 protected:
  explicit PolicyBase(BlockCount num_blocks)
      : states_(static_cast<std::size_t>(num_blocks.value())),
        capacity_(num_blocks.value() - 1) {}

  /// New content, not a candidate yet.
  virtual void Insert(BlockId block, const CachedBlockInfo& info) = 0;
  /// `candidate`: whether the block is linked.
  virtual void Hit(BlockId block, bool candidate) = 0;
  /// The block becomes a candidate, as one that was just used.
  virtual void Link(BlockId block) = 0;
  /// It is a candidate no longer.
  virtual void Unlink(BlockId block) = 0;
  /// The content is gone; a candidate is to be unlinked as well.
  virtual void Remove(BlockId block, bool candidate) {
    if (candidate) Unlink(block);
  }
  /// `capacity` is another one.
  virtual void ChangeCapacity() {}
  [[nodiscard]] virtual absl::Status Check() const = 0;

  static std::size_t Index(BlockId block) {
    return static_cast<std::size_t>(block.value());
  }
  /// Blocks that can hold content: all but the null block.
  [[nodiscard]] std::int64_t capacity() const { return capacity_; }
  [[nodiscard]] bool IsCached(BlockId block) const {
    return Index(block) < states_.size() &&
           states_[Index(block)] != State::kNone;
  }
  [[nodiscard]] bool IsCandidate(BlockId block) const {
    return states_[Index(block)] == State::kCandidate;
  }
  /// Internal unless the lists together hold the candidates and nothing else,
  /// each in the list of the number that `list_of` gives.
  [[nodiscard]] absl::Status CheckLists(
      const BlockLinks& links, std::span<const BlockList> lists,
      absl::FunctionRef<std::size_t(BlockId)> list_of) const;
  /// The same of segments, whose members are to be all that is cached.
  [[nodiscard]] absl::Status CheckSegments(const BlockSegments& segments) const;
  /// Internal, naming the policy and the block.
  [[nodiscard]] absl::Status Broken(BlockId block, std::string_view what) const;

 private:
  enum class State : std::uint8_t { kNone, kUsed, kCandidate };

  /// The state of a block that has content; aborts if it has none.
  State& Cached(BlockId block);

  std::vector<State> states_;
  std::int64_t capacity_;
  std::int64_t num_candidates_ = 0;
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_POLICY_BASE_H_
