// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_CAPACITY_SEARCH_H_
#define SIM_STUDY_CAPACITY_SEARCH_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"

namespace pagedkv::sim {

/// Amounts that can be tried: of memory, of replicas, of load.
struct AmountRange {
  std::int64_t least = 1;
  std::int64_t most = 1;
  std::int64_t start = 1;
  /// More memory is easier, more load is harder.
  bool more_is_easier = true;
  /// The search ends where what fails and what meets are this close, as a share
  /// of either, or neighbours.
  double precision = 0.01;
};

/// Tries each amount, and says which meet.
using TryAmounts = std::function<absl::StatusOr<std::vector<bool>>(
    const std::vector<std::int64_t>&)>;

/// The hardest amount that meets, to the precision asked for; missing if even
/// the easiest does not. It assumes that whatever is easier than an amount that
/// meets does too: doubling or halving from the start, then bisection by the
/// geometric mean.
absl::StatusOr<std::optional<std::int64_t>> FindHardestThatMeets(
    const AmountRange& range, const TryAmounts& try_amounts);

/// Amounts from half to twice `amount`, itself left out, in the range: to see
/// what is around an answer.
std::vector<std::int64_t> AmountsAround(const AmountRange& range,
                                        std::int64_t amount);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_CAPACITY_SEARCH_H_
