// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_CHECKED_H_
#define ALLOCATOR_CHECKED_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

#include "pagedkv/types.h"

namespace pagedkv {

/// value / divisor, rounded up. REQUIRES: value >= 0, divisor >= 1.
inline std::int64_t CeilDivide(std::int64_t value, std::int64_t divisor) {
  return value / divisor + (value % divisor != 0 ? 1 : 0);
}

/// A count that is not negative, or nothing once it has left 63 bits.
class Checked {
 public:
  // Implicit: mixes with plain integers in formulas.
  // NOLINTNEXTLINE(google-explicit-constructor)
  Checked(std::int64_t value) : value_(value) {}

  friend Checked operator+(Checked a, Checked b) {
    std::int64_t sum = 0;
    const bool lost = __builtin_add_overflow(a.value_, b.value_, &sum);
    return Checked(sum, a.lost_ || b.lost_ || lost);
  }
  friend Checked operator*(Checked a, Checked b) {
    std::int64_t product = 0;
    const bool lost = __builtin_mul_overflow(a.value_, b.value_, &product);
    return Checked(product, a.lost_ || b.lost_ || lost);
  }
  [[nodiscard]] Checked DividedUp(std::int64_t divisor) const {
    return Checked(CeilDivide(value_, divisor), lost_);
  }
  [[nodiscard]] absl::StatusOr<Bytes> ToBytes(const char* what) const {
    if (lost_) {
      return absl::OutOfRangeError(
          absl::StrFormat("%s does not fit 63 bits", what));
    }
    return Bytes(value_);
  }

 private:
  Checked(std::int64_t value, bool lost) : value_(value), lost_(lost) {}

  std::int64_t value_;
  bool lost_ = false;
};

}  // namespace pagedkv

#endif  // ALLOCATOR_CHECKED_H_
