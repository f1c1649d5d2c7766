// SPDX-License-Identifier: Apache-2.0
#include "sim/report/block_size_knee.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_format.h"

namespace pagedkv::sim {
namespace {

constexpr double kKneePoints = 1;

}  // namespace

std::optional<BlockSizeKnee> FindBlockSizeKnee(
    std::vector<BlockSizePoint> points) {
  // Of the points with one block size, the one with the least waste is kept.
  std::sort(points.begin(), points.end(),
            [](const BlockSizePoint& a, const BlockSizePoint& b) {
              return std::tie(a.block_size, a.waste_pct) <
                     std::tie(b.block_size, b.waste_pct);
            });
  points.erase(
      std::unique(points.begin(), points.end(),
                  [](const BlockSizePoint& a, const BlockSizePoint& b) {
                    return a.block_size == b.block_size;
                  }),
      points.end());
  if (points.size() < kMinKneePoints) return std::nullopt;
  double least = points.front().waste_pct;
  for (const BlockSizePoint& point : points) {
    least = std::min(least, point.waste_pct);
  }
  BlockSizeKnee knee{std::move(points), 0};
  for (std::size_t i = 0; i < knee.curve.size(); ++i) {
    if (knee.curve[i].waste_pct <= least + kKneePoints) knee.knee = i;
  }
  return knee;
}

std::string BlockSizeKnee::Sentence() const {
  const BlockSizePoint& at = curve[knee];
  const BlockSizePoint& smallest = curve.front();
  std::string sentence =
      absl::StrFormat("knee of the block size: %d tokens waste %.1f %%",
                      at.block_size, at.waste_pct);
  if (knee > 0) {
    sentence += absl::StrFormat(
        ", beside %.1f %% with %d, for %.3gx fewer blocks", smallest.waste_pct,
        smallest.block_size,
        static_cast<double>(at.block_size) / smallest.block_size);
  }
  if (knee + 1 < curve.size()) {
    const BlockSizePoint& next = curve[knee + 1];
    return sentence + absl::StrFormat("; %d waste %.1f %%", next.block_size,
                                      next.waste_pct);
  }
  return sentence + "; it may be beyond the sizes tried";
}

std::vector<BlockSizePoint> BlockSizePoints(const Report& report) {
  std::vector<BlockSizePoint> points;
  for (const PolicyResult& result : report.results) {
    const std::optional<Estimate>& waste = result.metrics.waste_intrinsic_pct;
    if (result.policy.kind != PolicyKind::kPaged || !waste) continue;
    points.push_back({result.policy.block_size.value(), waste->mean});
  }
  return points;
}

}  // namespace pagedkv::sim
