// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_HITCURVE_LRU_STACK_H_
#define SIM_HITCURVE_LRU_STACK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"

namespace pagedkv::sim {

/// All contents that were ever touched, in order of their latest touch: the
/// stack of Mattson et al. (IBM Systems Journal, 1970). A cache of C blocks
/// under LRU holds the C topmost, whatever C is, so one pass serves all sizes.
///
/// Each latest touch has a slot of time, and a Fenwick tree counts the slots in
/// use before a given one (Olken 1981). When the slots run out, those in use
/// move together, so memory is O(contents) however long the trace.
///
/// Invariants: a content's slot names the content; the tree counts the slots in
/// use. Thread-compatible.
class LruStack {
 public:
  /// The content's place from the top, which is 1; 0 if it was never touched.
  /// O(log contents).
  [[nodiscard]] std::int64_t Depth(std::uint32_t content) const;
  /// Moves the content to the top. Amortised O(log contents).
  void Touch(std::uint32_t content);

  [[nodiscard]] std::int64_t size() const { return size_; }
  /// Internal, naming the content, if an invariant is broken. O(n log n).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;

  void Compact();
  void Add(std::size_t slot, std::int32_t amount);
  /// Slots in use up to and with `slot`.
  [[nodiscard]] std::int64_t CountTo(std::size_t slot) const;

  std::int64_t size_ = 0;
  std::size_t next_slot_ = 0;
  std::vector<std::uint32_t> slot_of_;     // by content; kNone: never touched
  std::vector<std::uint32_t> content_of_;  // by slot; kNone: not in use
  std::vector<std::int32_t> tree_;         // slot s is entry s + 1
};

}  // namespace pagedkv::sim

#endif  // SIM_HITCURVE_LRU_STACK_H_
