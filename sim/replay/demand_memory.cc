// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/demand_memory.h"

#include <memory>
#include <vector>

#include "absl/container/btree_map.h"

#include "pagedkv/types.h"
#include "sim/replay/contiguous_memory.h"
#include "sim/replay/policy.h"
#include "sim/replay/step_calendar.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {
namespace {

/// Of which phases are counted one by one.
constexpr std::int32_t kMostBlockTokens = 1 << 20;

/// Blocks that are added when a sequence gets to the first token of one.
class PagedDemand final : public DemandMemory {
 public:
  // The null block is the tail.
  PagedDemand(BlockSize block_size, TokenCount capacity)
      : DemandMemory(capacity, block_size.value()),
        block_tokens_(block_size.value()),
        num_by_phase_(static_cast<std::size_t>(block_tokens_)) {}

  // The null block, and the one block that the library insists on.
  TokenCount needed() const override {
    return TokenCount(std::max(extent(), block_tokens_) + block_tokens_);
  }

  DemandHolding HoldingOf(const DemandRequest& request) const override {
    const std::int64_t last = request.final_slots();
    const std::int64_t slots = Covering(last);
    const std::int64_t unused = slots - last;
    // Steps that find it in its last block, where what is not filled is waste.
    const std::int64_t in_last_block =
        last - std::max<std::int64_t>(slots - block_tokens_,
                                      request.prompt_tokens - 1);
    return {.most_granted = slots,
            .waste = unused * in_last_block,
            .reserved = UnfilledUpTo(last) -
                        UnfilledUpTo(request.prompt_tokens - 1) -
                        unused * in_last_block};
  }

 protected:
  void Grow() override {
    // One token more for all: the phases turn by one.
    first_token_ =
        first_token_ == 0 ? num_by_phase_.size() - 1 : first_token_ - 1;
    const std::int64_t slots = num_by_phase_[first_token_] * block_tokens_;
    Hold(slots, slots, internal_due_.Advance());
  }

  void Take(Slot, const DemandRequest& request) override {
    const std::int64_t slots = Covering(request.prompt_tokens);
    ++num_by_phase_[PhaseOf(request.prompt_tokens)];
    const std::int64_t last = request.final_slots();
    const std::int64_t unused = Covering(last) - last;
    const std::int64_t to_last_block =
        Covering(last) - block_tokens_ + 1 - request.prompt_tokens;
    if (to_last_block <= 0) {
      Hold(slots, slots, unused);
      return;
    }
    Hold(slots, slots, 0);
    // The calendar is at the step after the one that has begun.
    internal_due_.At(internal_due_.now() + to_last_block - 1) += unused;
  }

  void GiveBack(Slot, const DemandRequest& request) override {
    const std::int64_t last = request.final_slots();
    const std::int64_t slots = Covering(last);
    --num_by_phase_[PhaseOf(last)];
    Hold(-slots, -slots, last - slots);
  }

 private:
  /// Slots of the blocks of `tokens` (>= 1).
  std::int64_t Covering(std::int64_t tokens) const {
    return tokens + UnfilledAt(tokens);
  }
  std::int64_t UnfilledAt(std::int64_t tokens) const {
    return block_tokens_ - 1 - (tokens - 1) % block_tokens_;
  }
  /// Sum of `UnfilledAt` over 1 ... `tokens`.
  std::int64_t UnfilledUpTo(std::int64_t tokens) const {
    const std::int64_t full = tokens / block_tokens_;
    const std::int64_t rest = tokens % block_tokens_;
    return full * (block_tokens_ * (block_tokens_ - 1) / 2) +
           rest * block_tokens_ - rest * (rest + 1) / 2;
  }
  /// Where a sequence that has `tokens` now is counted, until it finishes.
  std::size_t PhaseOf(std::int64_t tokens) const {
    const std::size_t phase =
        first_token_ + static_cast<std::size_t>((tokens - 1) % block_tokens_);
    return phase < num_by_phase_.size() ? phase : phase - num_by_phase_.size();
  }

  std::int64_t block_tokens_;
  // Residents by place of their last token in its block, from `first_token_`
  // round to it again.
  std::vector<std::int64_t> num_by_phase_;
  std::size_t first_token_ = 0;
  // Internal slots of the residents that get to their last block.
  StepCalendar<std::int64_t> internal_due_;
};

/// One chunk for each, from admission to finish.
class ContiguousDemand final : public DemandMemory {
 public:
  ContiguousDemand(const GrantRule& rule, TokenCount capacity)
      : DemandMemory(capacity, /*tail=*/0),
        rule_(rule),
        memory_(ContiguousMemory::Create(rule, capacity, /*unbounded=*/true)) {}

  std::int64_t largest_free_slots() const override {
    return memory_->largest_free_slots();
  }
  TokenCount needed() const override {
    return TokenCount(memory_->extent_slots());
  }

  DemandHolding HoldingOf(const DemandRequest& request) const override {
    const std::int64_t granted = GrantOf(request).granted;
    const std::int64_t steps = request.output_tokens;
    return {.most_granted = granted,
            .waste = (granted - request.final_slots()) * steps,
            .reserved = steps * (steps - 1) / 2};
  }

 protected:
  void Grow() override {}

  void Take(Slot slot, const DemandRequest& request) override {
    const Grant grant = GrantOf(request);
    if (slot >= places_.size()) places_.resize(slot + 1);
    // Never refused: it is unbounded.
    static_cast<void>(memory_->TryAdmit({.request = scratch_,
                                         .known_tokens = request.prompt_tokens,
                                         .first_tokens = request.prompt_tokens},
                                        places_[slot]));
    Hold(grant.requested, grant.granted,
         grant.requested - request.final_slots());
  }

  void GiveBack(Slot slot, const DemandRequest& request) override {
    const Grant grant = GrantOf(request);
    memory_->Release(scratch_, request.final_slots(), places_[slot]);
    Hold(-grant.requested, -grant.granted,
         request.final_slots() - grant.requested);
  }

 private:
  /// Leaves the request in `scratch_`.
  Grant GrantOf(const DemandRequest& request) const {
    scratch_.prompt_tokens = request.prompt_tokens;
    scratch_.output_tokens = request.output_tokens;
    return rule_.For(scratch_, request.prompt_tokens);
  }

  GrantRule rule_;
  std::unique_ptr<ContiguousMemory> memory_;
  std::vector<ContiguousMemory::Place> places_;
  mutable TraceRequest scratch_;
};

/// Exact, grown by copy.
class ConcatDemand final : public DemandMemory {
 public:
  explicit ConcatDemand(TokenCount capacity)
      : DemandMemory(capacity, /*tail=*/0) {}

  std::int64_t copied_slots() const override { return copied_slots_; }
  std::int64_t transient_peak_slots() const override { return extent(); }

  DemandHolding HoldingOf(const DemandRequest& request) const override {
    return {.most_granted = request.final_slots()};
  }

 protected:
  void Grow() override {
    copied_slots_ += granted();
    ++step_;
    // They grow in order of admission, each with its old and its new copy for
    // a moment. Looked at one by one only where that could be a new peak.
    if (granted() + num_residents() + longest_ > extent()) {
      std::int64_t grown = 0;
      for (const auto& [order, tokens_at_start] : residents_) {
        Reach(granted() + grown + tokens_at_start + step_);
        ++grown;
      }
    }
    Hold(num_residents(), num_residents(), 0);
  }

  void Take(Slot slot, const DemandRequest& request) override {
    if (slot >= orders_.size()) orders_.resize(slot + 1);
    orders_[slot] = next_order_++;
    residents_.emplace_hint(residents_.end(), orders_[slot],
                            request.prompt_tokens - step_);
    longest_ = std::max(longest_, request.final_slots());
    Hold(request.prompt_tokens, request.prompt_tokens, 0);
  }

  void GiveBack(Slot slot, const DemandRequest& request) override {
    residents_.erase(orders_[slot]);
    Hold(-request.final_slots(), -request.final_slots(), 0);
  }

 private:
  std::int64_t step_ = 0;
  std::int64_t next_order_ = 0;
  std::vector<std::int64_t> orders_;  // of admission
  // By order of admission: the tokens present, less `step_`.
  absl::btree_map<std::int64_t, std::int64_t> residents_;
  std::int64_t longest_ = 0;  // final length of any so far
  std::int64_t copied_slots_ = 0;
};

}  // namespace

bool DemandMemory::IsKnown(const Policy& policy) {
  return policy.kind != PolicyKind::kPaged ||
         policy.block_size.value() <= kMostBlockTokens;
}

std::unique_ptr<DemandMemory> DemandMemory::Create(const GrantRule& rule,
                                                   TokenCount capacity) {
  switch (rule.policy().kind) {
    case PolicyKind::kPaged:
      return std::make_unique<PagedDemand>(rule.policy().block_size, capacity);
    case PolicyKind::kConcat:
      return std::make_unique<ConcatDemand>(capacity);
    case PolicyKind::kContiguousMax:
    case PolicyKind::kContiguousPow2:
    case PolicyKind::kContiguousOracle:
    case PolicyKind::kContiguousMaxExact:
      break;
  }
  return std::make_unique<ContiguousDemand>(rule, capacity);
}

}  // namespace pagedkv::sim
