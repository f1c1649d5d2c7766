// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/hitcurve_plot.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>
#include <vector>

#include "absl/strings/str_format.h"

#include "sim/report/decimal.h"

namespace pagedkv::sim {
namespace {

constexpr int kHeight = 12;
constexpr std::size_t kColumnWidth = 4;
constexpr std::string_view kMarks = "123456789abcdefghijklmnopqrstuvwxyz";

// The line, from the bottom up, of a rate; the top one is that of `most`.
std::size_t LineOf(double rate, double most) {
  if (most <= 0) return 0;
  const double line = std::round(rate / most * (kHeight - 1));
  return static_cast<std::size_t>(std::clamp(line, 0.0, kHeight - 1.0));
}

}  // namespace

std::string HitcurvePlot(const HitcurveReport& report, HitWeight weight) {
  const HitCurve& curve = report.curve;
  const double most = HitRateOf(curve.unbounded, weight);
  const std::size_t width = kColumnWidth * curve.sizes.size();
  std::vector<std::string> lines(kHeight, std::string(width, ' '));
  lines[LineOf(most, most)].assign(width, '-');
  const std::size_t num_marked = std::min(curve.rows.size(), kMarks.size());
  // The first policy last, so that it lies on top.
  for (std::size_t row = num_marked; row-- > 0;) {
    for (std::size_t i = 0; i < curve.sizes.size(); ++i) {
      const double rate = HitRateOf(curve.rows[row].counts[i], weight);
      lines[LineOf(rate, most)][kColumnWidth * i + kColumnWidth / 2] =
          kMarks[row];
    }
  }
  std::string text;
  for (std::size_t i = lines.size(); i-- > 0;) {
    const std::string label =
        i == kHeight - 1 ? absl::StrFormat("%.4f", most)
                         : (i == 0 ? std::string("0.0000") : std::string());
    absl::StrAppendFormat(&text, "%6s |%s\n", label, lines[i]);
  }
  const std::string first = Grouped(curve.sizes.front().value());
  const std::string last = Grouped(curve.sizes.back().value()) + " blocks";
  const int between = static_cast<int>(
      width > first.size() ? std::max(width - first.size(), last.size() + 1)
                           : last.size() + 1);
  absl::StrAppendFormat(&text, "       +%s\n        %s%*s\n",
                        std::string(width, '-'), first, between, last);
  for (std::size_t row = 0; row < num_marked; ++row) {
    absl::StrAppendFormat(&text, "%s%c %s", row == 0 ? "        " : "  ",
                          kMarks[row], curve.rows[row].policy);
  }
  text += "  - unbounded\n";
  return text;
}

}  // namespace pagedkv::sim
