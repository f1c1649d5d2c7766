// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_SUPPORT_ATTENTION_REFERENCE_H_
#define TESTS_SUPPORT_ATTENTION_REFERENCE_H_

/// Attention in float64, written down as the formula: what the kernels of any
/// device are tested against. It shares no code with them.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace pagedkv {

/// What one query of one head attends with.
struct ReferenceQuery {
  std::span<const float> query{};                ///< [size of a key]
  std::vector<std::span<const float>> keys{};    ///< [tokens] of the context
  std::vector<std::span<const float>> values{};  ///< likewise
  std::int64_t position = 0;                     ///< its own, in the context
  double softmax_scale = 1;
  std::int64_t window = 0;
  std::int64_t num_sink_tokens = 0;
  double sink_logit = -std::numeric_limits<double>::infinity();
};

struct ReferenceOutput {
  std::vector<double> output;  ///< [size of a value]
  /// How far from `output` fp32 arithmetic may be, each element.
  std::vector<double> tolerance;
  double relative_tolerance = 0;  ///< the part of the summands that it is
};

/// Whether the formula lets a query at `position` see `token`.
inline bool Sees(const ReferenceQuery& q, std::int64_t token) {
  if (token > q.position) return false;
  return q.window == 0 || q.position - token < q.window ||
         token < q.num_sink_tokens;
}

/// The tolerance follows from rounding alone, with u = 2^-24, n tokens and keys
/// of d elements:
///  - a logit is a sum of d products: off by (d + 4) u scale sum|q_i k_i| in
///  any
///    order of summation (Higham, Accuracy and Stability, 3.1), for short e;
///  - a weight exp(logit - max) is then off by a factor exp(2 e), by that of
///    rounding the difference, u |logit - max|, and by 4 u for exp itself;
///  - an online softmax multiplies with such a factor at most once per token,
///    and the differences add up to at most twice the range of logits R;
///  - sums over tokens, of weights and of weighted values, add n + 4 each;
///  - a quotient has both errors.
/// So each output is within (exp(2 (2 e + u (2 R + 8 n + 16))) - 1) of itself,
/// if all summands were positive: times sum of w |v|.
inline ReferenceOutput ReferenceAttention(const ReferenceQuery& q) {
  constexpr double kUnit = 0x1p-24;
  const auto num_tokens = static_cast<std::int64_t>(q.keys.size());
  std::vector<double> logits(q.keys.size());
  double max = q.sink_logit;
  double min = std::isinf(q.sink_logit)
                   ? std::numeric_limits<double>::infinity()
                   : q.sink_logit;
  double logit_error = 0;
  std::int64_t num_seen = 0;
  for (std::int64_t t = 0; t < num_tokens; ++t) {
    if (!Sees(q, t)) continue;
    ++num_seen;
    const auto token = static_cast<std::size_t>(t);
    double dot = 0;
    double magnitude = 0;
    for (std::size_t i = 0; i < q.query.size(); ++i) {
      const double product = double{q.query[i]} * double{q.keys[token][i]};
      dot += product;
      magnitude += std::abs(product);
    }
    logits[token] = q.softmax_scale * dot;
    max = std::max(max, logits[token]);
    min = std::min(min, logits[token]);
    logit_error =
        std::max(logit_error, (static_cast<double>(q.query.size()) + 4) *
                                  kUnit * q.softmax_scale * magnitude);
  }
  ReferenceOutput result;
  const std::size_t size = q.values.front().size();
  result.output.assign(size, 0);
  result.tolerance.assign(size, 0);
  double sum = std::exp(q.sink_logit - max);
  for (std::int64_t t = 0; t < num_tokens; ++t) {
    if (!Sees(q, t)) continue;
    const auto token = static_cast<std::size_t>(t);
    const double weight = std::exp(logits[token] - max);
    sum += weight;
    for (std::size_t d = 0; d < size; ++d) {
      result.output[d] += weight * double{q.values[token][d]};
      result.tolerance[d] += weight * std::abs(double{q.values[token][d]});
    }
  }
  const double factor = std::expm1(
      2 * (2 * logit_error +
           kUnit * (2 * (max - min) + 8 * static_cast<double>(num_seen) + 16)));
  result.relative_tolerance = factor;
  for (std::size_t d = 0; d < size; ++d) {
    result.output[d] /= sum;
    // What underflows is lost as well.
    result.tolerance[d] = factor * result.tolerance[d] / sum + 0x1p-120;
  }
  return result;
}

}  // namespace pagedkv

#endif  // TESTS_SUPPORT_ATTENTION_REFERENCE_H_
