// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_ACCOUNTING_CAUSES_H_
#define SIM_ACCOUNTING_CAUSES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace pagedkv::sim {

/// What a slot of the pool is used for, or why it is not. Every slot has
/// exactly one cause at any moment, so the eleven sum to the capacity.
enum class Cause : std::uint8_t {
  kToken,              ///< holds KV of a live sequence; shared slots count once
  kReserved,           ///< its owner will use it later
  kInternal,           ///< granted as asked for, and nobody will ever use it
  kRoundUp,            ///< granted beyond what was asked for (buddy)
  kCachedIdle,         ///< prefix blocks without a user, reclaimable at once
  kWatermark,          ///< free, and withheld from admission by the scheduler
  kBlockedFragmented,  ///< free while a request waits: enough, but no chunk
                       ///< fits
  kBlockedCapacity,    ///< free while a request waits: less than it needs
  kBlockedPolicy,      ///< free while a request waits for another limit
  kTail,               ///< unusable: capacity is no multiple; the null block
  kIdle,               ///< free with an empty queue
};
inline constexpr std::size_t kNumCauses = 11;

/// The names in reports, in the order of the enumeration.
inline constexpr std::array<std::string_view, kNumCauses> kCauseNames = {
    "token",
    "reserved",
    "internal",
    "roundup",
    "cached_idle",
    "watermark",
    "blocked_fragmented",
    "blocked_capacity",
    "blocked_policy",
    "tail",
    "idle"};

/// Slots by cause.
class CauseSlots {
 public:
  std::int64_t& operator[](Cause cause) {
    return slots_[static_cast<std::size_t>(cause)];
  }
  std::int64_t operator[](Cause cause) const {
    return slots_[static_cast<std::size_t>(cause)];
  }
  [[nodiscard]] std::int64_t total() const {
    std::int64_t sum = 0;
    for (std::int64_t slots : slots_) sum += slots;
    return sum;
  }
  /// Taken by live sequences: token + reserved + internal + round-up.
  [[nodiscard]] std::int64_t allocated() const {
    const CauseSlots& s = *this;
    return s[Cause::kToken] + s[Cause::kReserved] + s[Cause::kInternal] +
           s[Cause::kRoundUp];
  }
  /// Capacity less what is merely free for reasons other than the allocator:
  /// idle, cached-idle, and blocked by capacity or policy.
  [[nodiscard]] std::int64_t held() const {
    const CauseSlots& s = *this;
    return total() - s[Cause::kIdle] - s[Cause::kCachedIdle] -
           s[Cause::kBlockedCapacity] - s[Cause::kBlockedPolicy];
  }
  /// Never used by anyone: internal, round-up, tail, blocked by fragmentation.
  [[nodiscard]] std::int64_t hard_waste() const {
    const CauseSlots& s = *this;
    return s[Cause::kInternal] + s[Cause::kRoundUp] + s[Cause::kTail] +
           s[Cause::kBlockedFragmented];
  }
  /// Held meanwhile: reserved and watermark.
  [[nodiscard]] std::int64_t soft_waste() const {
    return (*this)[Cause::kReserved] + (*this)[Cause::kWatermark];
  }
  [[nodiscard]] std::int64_t waste() const {
    return hard_waste() + soft_waste();
  }
  friend bool operator==(const CauseSlots&, const CauseSlots&) = default;

 private:
  std::array<std::int64_t, kNumCauses> slots_{};
};

}  // namespace pagedkv::sim

#endif  // SIM_ACCOUNTING_CAUSES_H_
