// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/contiguous_memory.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <vector>

#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/buddy_allocator.h"
#include "sim/replay/memory_visitor.h"
#include "sim/replay/policy.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {
namespace {

// A sequence whose grant is one piece of memory from `begin` on.
void ShowPiece(const GrantRule& rule, const TraceRequest& request,
               std::int64_t present, std::int64_t begin,
               MemoryVisitor& visitor) {
  const Grant grant = rule.For(request, present);
  ShowGrant({.begin = begin,
             .present = present,
             .final_slots = FinalSlots(request),
             .requested = grant.requested,
             .granted = grant.granted,
             .owner = request.id},
            visitor);
}

// One chunk of a buddy allocator for each sequence, from admission to finish.
class BuddyMemory : public ContiguousMemory {
 public:
  BuddyMemory(const GrantRule& rule, std::int64_t capacity, bool unbounded)
      : ContiguousMemory(capacity, /*tail=*/0),
        rule_(rule),
        buddy_(unbounded ? kUnbounded.value() : capacity) {}

  bool CouldHold(const TraceRequest& request) const override {
    const auto usable = static_cast<std::uint64_t>(buddy_.capacity());
    return rule_.For(request, 1).granted <=
           static_cast<std::int64_t>(std::bit_floor(usable));
  }

  bool TryAdmit(const Admission& admission, Place& place) override {
    const Grant grant = rule_.For(admission.request, admission.first_tokens);
    const std::optional<std::int64_t> offset =
        buddy_.TryAllocate(grant.granted);
    if (!offset.has_value()) {
      block_ = free_slots() >= grant.requested ? Cause::kBlockedFragmented
                                               : Cause::kBlockedCapacity;
      return false;
    }
    place = *offset;
    Use(grant.granted);
    Reach(place + grant.granted);
    return true;
  }

  Cause admission_block() const override { return block_; }

  void Release(const TraceRequest& request, std::int64_t present,
               Place place) override {
    // A chunk that the allocator does not know stays in use here, and then the
    // causes do not sum to the capacity.
    if (!buddy_.Release(place).ok()) return;
    Use(-rule_.For(request, present).granted);
  }

  std::int64_t largest_free_slots() const override {
    return std::min(buddy_.largest_free(), free_slots());
  }

  bool places_sequences() const override { return true; }
  void VisitSequence(const TraceRequest& request, std::int64_t present,
                     Place place, MemoryVisitor& visitor) const override {
    ShowPiece(rule_, request, present, place, visitor);
  }

 private:
  GrantRule rule_;
  BuddyAllocator buddy_;
  Cause block_ = Cause::kBlockedCapacity;
};

// Memory cut into arenas of one size, one for each sequence: the lowest that is
// free. Which one it has matters only to those who look.
class ArenaMemory : public ContiguousMemory {
 public:
  ArenaMemory(const GrantRule& rule, std::int64_t capacity)
      : ArenaMemory(rule, rule.For(TraceRequest{}, 1).granted, capacity) {}

  bool CouldHold(const TraceRequest&) const override {
    return usable_slots() > 0;
  }

  bool TryAdmit(const Admission&, Place& place) override {
    if (free_slots() == 0) return false;
    if (released_.empty()) {
      place = used_slots();  // all below are in use
    } else {
      place = released_.top();
      released_.pop();
    }
    Use(arena_slots_);
    Reach(used_slots());
    return true;
  }

  void Release(const TraceRequest&, std::int64_t, Place place) override {
    released_.push(place);
    Use(-arena_slots_);
  }

  std::int64_t largest_free_slots() const override {
    return std::min(arena_slots_, free_slots());
  }

  bool places_sequences() const override { return true; }
  void VisitSequence(const TraceRequest& request, std::int64_t present,
                     Place place, MemoryVisitor& visitor) const override {
    ShowPiece(rule_, request, present, place, visitor);
  }

 private:
  ArenaMemory(const GrantRule& rule, std::int64_t arena_slots,
              std::int64_t capacity)
      : ContiguousMemory(capacity, capacity % arena_slots),
        rule_(rule),
        arena_slots_(arena_slots) {}

  GrantRule rule_;
  std::int64_t arena_slots_;
  // Free arenas below the highest that was ever in use, the lowest on top.
  std::priority_queue<Place, std::vector<Place>, std::greater<>> released_;
};

// Grants that follow the tokens present, counted and not placed: what an
// allocator over virtual memory achieves at best.
//
// By copy (`torch.cat` of the cache and the new tokens), a sequence that grows
// from n to m tokens holds n + m slots until the copy is done. Sequences grow
// one after another, each in all layers, so a step needs room for one second
// copy at a time, and admission leaves room for that of the longest sequence.
// Not layer by layer over the whole batch, which needs the same room divided
// by the number of layers and times the sequences: the model is unknown here.
class GrowingMemory : public ContiguousMemory {
 public:
  GrowingMemory(const GrantRule& rule, bool by_copy, std::int64_t capacity,
                bool unbounded)
      : ContiguousMemory(capacity, /*tail=*/0),
        rule_(rule),
        by_copy_(by_copy),
        unbounded_(unbounded) {}

  bool CouldHold(const TraceRequest& request) const override {
    const std::int64_t last = FinalSlots(request);
    const std::int64_t needed =
        rule_.For(request, last).granted + (by_copy_ ? last - 1 : 0);
    return unbounded_ || needed <= usable_slots();
  }

  bool TryAdmit(const Admission& admission, Place&) override {
    const TraceRequest& request = admission.request;
    std::int64_t needed = rule_.For(request, admission.known_tokens).granted;
    if (by_copy_ && admission.longest_running > 0) {
      needed += std::max(admission.longest_running, admission.known_tokens) + 1;
    }
    if (!Fits(needed)) return false;
    Use(rule_.For(request, admission.first_tokens).granted);
    Reach(used_slots());
    return true;
  }

  [[nodiscard]] bool grows() const override { return true; }
  bool TryGrow(const TraceRequest& request, std::int64_t from,
               std::int64_t to) override {
    const std::int64_t before = rule_.For(request, from).granted;
    const std::int64_t after = rule_.For(request, to).granted;
    const std::int64_t needed = by_copy_ ? after : after - before;
    if (!Fits(needed)) return false;
    Reach(used_slots() + needed);
    Use(after - before);
    if (by_copy_) copied_slots_ += from;
    return true;
  }

  void Release(const TraceRequest& request, std::int64_t present,
               Place) override {
    Use(-rule_.For(request, present).granted);
  }

  std::int64_t largest_free_slots() const override { return free_slots(); }
  std::int64_t copied_slots() const override { return copied_slots_; }

 private:
  bool Fits(std::int64_t slots) const {
    return unbounded_ || slots <= free_slots();
  }

  GrantRule rule_;
  bool by_copy_;
  bool unbounded_;
  std::int64_t copied_slots_ = 0;
};

}  // namespace

std::unique_ptr<ContiguousMemory> ContiguousMemory::Create(
    const GrantRule& rule, TokenCount capacity, bool unbounded) {
  const std::int64_t slots = capacity.value();
  switch (rule.policy().kind) {
    case PolicyKind::kContiguousMax:
    case PolicyKind::kContiguousMaxExact:
      // Where all chunks are of one size, a buddy allocator cannot fragment:
      // it comes down to arenas of that size.
      return std::make_unique<ArenaMemory>(rule, slots);
    case PolicyKind::kContiguousPow2:
    case PolicyKind::kContiguousOracle:
      return std::make_unique<BuddyMemory>(rule, slots, unbounded);
    case PolicyKind::kConcat:
      return std::make_unique<GrowingMemory>(rule, /*by_copy=*/true, slots,
                                             unbounded);
    case PolicyKind::kPaged:
      break;
  }
  return std::make_unique<GrowingMemory>(rule, /*by_copy=*/false, slots,
                                         unbounded);
}

}  // namespace pagedkv::sim
