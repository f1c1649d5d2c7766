// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_BLOCK_SIZE_KNEE_H_
#define SIM_REPORT_BLOCK_SIZE_KNEE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/report/report.h"

namespace pagedkv::sim {

/// What blocks of one size waste: `waste_intrinsic_pct` of a paged policy,
/// which does not depend on the load.
struct BlockSizePoint {
  std::int32_t block_size = 0;
  double waste_pct = 0;
};

/// Where larger blocks stop being worth it. Waste grows with the block, by half
/// a block per sequence, while what a block costs (table entries, look-ups,
/// kernel work) falls: twice the size, half the blocks.
struct BlockSizeKnee {
  std::vector<BlockSizePoint> curve;  ///< by block size
  std::size_t knee = 0;               ///< index into it

  [[nodiscard]] std::int32_t block_size() const {
    return curve[knee].block_size;
  }
  /// The knee and the sizes beside it, in one sentence.
  [[nodiscard]] std::string Sentence() const;
};

/// The rule, for the report that applies it.
inline constexpr std::string_view kKneeRule =
    "the largest block whose waste is within 1 point of the least waste";

inline constexpr std::size_t kMinKneePoints = 3;

/// Missing if there are fewer sizes than `kMinKneePoints`; of a size that is
/// there twice the first counts.
std::optional<BlockSizeKnee> FindBlockSizeKnee(
    std::vector<BlockSizePoint> points);

/// Those of the paged policies of one report.
std::vector<BlockSizePoint> BlockSizePoints(const Report& report);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_BLOCK_SIZE_KNEE_H_
