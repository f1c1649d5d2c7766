// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_QUANTILE_TABLE_H_
#define SIM_WORKLOAD_QUANTILE_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace pagedkv::sim {

/// The value that a fraction of a distribution does not exceed.
struct Quantile {
  std::int32_t fraction;  ///< in 1/10,000
  std::int32_t value;     ///< 0 to 2^17
};

/// A distribution of whole numbers given by quantiles, from the minimum (0) to
/// the maximum (10,000), uniform in between. Does not own them.
class QuantileTable {
 public:
  static constexpr std::int32_t kWhole = 10'000;

  constexpr explicit QuantileTable(std::span<const Quantile> quantiles)
      : quantiles_(quantiles) {}

  /// Whether the fractions rise strictly from 0 to 10,000, and the values are
  /// in range and do not fall.
  [[nodiscard]] constexpr bool IsValid() const {
    if (quantiles_.size() < 2 || quantiles_.front().fraction != 0 ||
        quantiles_.back().fraction != kWhole || quantiles_.front().value < 0 ||
        quantiles_.back().value > 1 << 17) {
      return false;
    }
    for (std::size_t i = 1; i < quantiles_.size(); ++i) {
      if (quantiles_[i].fraction <= quantiles_[i - 1].fraction ||
          quantiles_[i].value < quantiles_[i - 1].value) {
        return false;
      }
    }
    return true;
  }

  [[nodiscard]] constexpr std::int32_t max() const {
    return quantiles_.back().value;
  }

  /// Inverse transform: the value at the fraction `word` / 2^32, to the nearest
  /// whole number. The same on every machine: integers only.
  [[nodiscard]] constexpr std::int32_t At(std::uint32_t word) const {
    // Fractions in 1/10,000 * 2^-32; times a difference of values: < 2^63.
    const std::int64_t at = std::int64_t{word} * kWhole;
    std::size_t i = 1;
    while (at >= std::int64_t{quantiles_[i].fraction} << 32) ++i;
    const Quantile& low = quantiles_[i - 1];
    const Quantile& high = quantiles_[i];
    const std::int64_t width = high.fraction - low.fraction;
    const std::int64_t into = at - (std::int64_t{low.fraction} << 32);
    const std::int64_t rise = high.value - low.value;
    // To the nearest of (rise * into) / (width * 2^32), which is below 2^31
    // before the division by the width.
    const std::int64_t scaled = (rise * into + (width << 31)) >> 32;
    return low.value +
           static_cast<std::int32_t>(scaled) / static_cast<std::int32_t>(width);
  }

 private:
  std::span<const Quantile> quantiles_;
};

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_QUANTILE_TABLE_H_
