// SPDX-License-Identifier: Apache-2.0
//
// What quantised keys and values do to the output of attention, for keys that
// have outlier channels. Prints a table.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/kv_geometry.h"
#include "pagedkv/kv_kernels.h"
#include "tests/support/attention_problem.h"
#include "tests/support/attention_reference.h"

namespace pagedkv {
namespace {

constexpr std::int32_t kHeads = 2;
constexpr std::int32_t kQueryHeads = 4;
constexpr std::int32_t kHeadSize = 64;
constexpr std::int32_t kTokens = 256;
constexpr std::int32_t kQueries = 8;
constexpr double kScale = 0.125;

std::int32_t KvHeadOf(std::int32_t query_head) {
  return query_head / (kQueryHeads / kHeads);
}

struct Case {
  std::string_view name;
  KvFormat key;
  KvFormat value;
  std::int32_t num_residual = 0;
};

constexpr KvFormat Scaled(KvDtype dtype, ScaleScheme scheme,
                          std::int32_t group = 0) {
  return {.dtype = dtype,
          .scheme = scheme,
          .group = group,
          .scale_bits = 16,
          .zero_point_bits = IsInteger(dtype) ? 16 : 0};
}
constexpr KvFormat PerToken(KvDtype dtype) {
  return Scaled(dtype, ScaleScheme::kToken);
}
constexpr KvFormat PerChannel(KvDtype dtype) {
  return Scaled(dtype, ScaleScheme::kChannel, 32);
}
constexpr KvFormat PerGroup(KvDtype dtype) {
  return Scaled(dtype, ScaleScheme::kGroup, 32);
}
Case Both(std::string_view name, const KvFormat& format) {
  return {name, format, format, 0};
}
// Keys per channel, values per token, and perhaps the youngest tokens as they
// are.
Case Kivi(std::string_view name, KvDtype dtype, std::int32_t num_residual = 0) {
  return {name, PerChannel(dtype), PerToken(dtype), num_residual};
}

AttentionOptions Options(const Case& c) {
  AttentionOptions options;
  options.layer.key = {kHeads, kHeadSize, c.key};
  options.layer.value = {kHeads, kHeadSize, c.value};
  options.block_size = BlockSize(32);
  options.num_query_heads = kQueryHeads;
  options.softmax_scale = static_cast<float>(kScale);
  options.outlier_period = 16;
  options.sequences = {{.id = 1,
                        .num_tokens = kTokens,
                        .num_queries = kQueries,
                        .num_residual = c.num_residual}};
  return options;
}

// How far an element may be from what was written, by [token][head][element]:
// half of the last place that its format has, and what rounding the scale and
// the zero point to 16 bits takes at the end of the range.
std::vector<double> ElementErrors(const AttentionProblem& problem, KvRole role,
                                  const KvFormat& format,
                                  std::int32_t num_residual) {
  std::vector<double> written;
  for (std::int32_t t = 0; t < kTokens; ++t) {
    for (std::int32_t h = 0; h < kHeads; ++h) {
      for (std::int32_t i = 0; i < kHeadSize; ++i) {
        written.push_back(problem.Source(role, 0, t, h, i));
      }
    }
  }
  const auto source = [&](std::int32_t t, std::int32_t h, std::int32_t i) {
    return written[static_cast<std::size_t>((t * kHeads + h) * kHeadSize + i)];
  };
  // The range that shares a scale with an element.
  const auto range = [&](std::int32_t t, std::int32_t h, std::int32_t i) {
    std::pair<std::int32_t, std::int32_t> tokens = {t, t + 1};
    std::pair<std::int32_t, std::int32_t> elements = {0, kHeadSize};
    if (format.scheme == ScaleScheme::kChannel) {
      const std::int32_t begin = t / format.group * format.group;
      tokens = {begin, begin + format.group};
      elements = {i, i + 1};
    } else if (format.scheme == ScaleScheme::kGroup) {
      const std::int32_t begin = i / format.group * format.group;
      elements = {begin, begin + format.group};
    }
    std::pair<double, double> limits = {source(t, h, i), source(t, h, i)};
    for (std::int32_t a = tokens.first; a < tokens.second; ++a) {
      for (std::int32_t b = elements.first; b < elements.second; ++b) {
        limits.first = std::min(limits.first, source(a, h, b));
        limits.second = std::max(limits.second, source(a, h, b));
      }
    }
    return limits;
  };
  std::vector<double> errors;
  for (std::int32_t t = 0; t < kTokens; ++t) {
    for (std::int32_t h = 0; h < kHeads; ++h) {
      for (std::int32_t i = 0; i < kHeadSize; ++i) {
        const double x = std::abs(source(t, h, i));
        double error = 0;
        const bool is_quantized = t < kTokens - num_residual;
        switch (is_quantized ? format.dtype : KvDtype::kFp32) {
          case KvDtype::kFp32:
            break;
          case KvDtype::kFp16:
            error = std::max(x * 0x1p-11, 0x1p-25);
            break;
          case KvDtype::kBf16:
            error = x * 0x1p-8;
            break;
          case KvDtype::kFp8:
          case KvDtype::kFp8E5m2: {
            // Of a scale, 0 to the largest number of the format.
            double scale = 1;
            if (format.scheme != ScaleScheme::kTensor) {
              const auto [low, high] = range(t, h, i);
              scale = std::max(-low, high) /
                      (format.dtype == KvDtype::kFp8 ? 448 : 57344);
            }
            error = format.dtype == KvDtype::kFp8
                        ? std::max(x * 0x1p-4, scale * 0x1p-10)
                        : std::max(x * 0x1p-3, scale * 0x1p-17);
            error += x * 0x1p-11;
            break;
          }
          case KvDtype::kInt8:
          case KvDtype::kInt4:
          case KvDtype::kInt2: {
            const auto [low, high] = range(t, h, i);
            const double steps = (1 << KvDtypeBits(format.dtype)) - 1;
            const double rounding =
                0x1p-11 * (std::abs(low) + high - low) + 0x1p-24 * (1 + steps);
            error = (high - low) / steps / 2 + rounding;
            break;
          }
        }
        // Arithmetic of fp32.
        errors.push_back(error * (1 + 0x1p-10) + x * 0x1p-21);
      }
    }
  }
  return errors;
}

struct Result {
  double error = 0;  // root of the mean square, of that of the output
  double bound = 0;  // likewise, by theory
};

// Attention of one query over what was written, in float64.
struct Exact {
  std::vector<double> weights;    // [tokens]
  std::vector<double> output;     // [elements]
  std::vector<double> magnitude;  // of the summands of the output
};

Exact ExactAttention(const AttentionProblem& problem, std::int32_t query,
                     std::int32_t head) {
  const std::int32_t kv_head = KvHeadOf(head);
  const std::int32_t position = kTokens - kQueries + query;
  Exact result;
  double sum = 0;
  for (std::int32_t t = 0; t <= position; ++t) {
    double dot = 0;
    for (std::int32_t i = 0; i < kHeadSize; ++i) {
      dot += problem.query().Get(query, head, i) *
             double{problem.Source(KvRole::kKey, 0, t, kv_head, i)};
    }
    result.weights.push_back(std::exp(kScale * dot));
    sum += result.weights.back();
  }
  result.output.assign(kHeadSize, 0);
  result.magnitude.assign(kHeadSize, 0);
  for (std::int32_t t = 0; t <= position; ++t) {
    double& weight = result.weights[static_cast<std::size_t>(t)];
    weight /= sum;
    for (std::int32_t i = 0; i < kHeadSize; ++i) {
      const double v = problem.Source(KvRole::kValue, 0, t, kv_head, i);
      result.output[static_cast<std::size_t>(i)] += weight * v;
      result.magnitude[static_cast<std::size_t>(i)] += weight * std::abs(v);
    }
  }
  return result;
}

// The same of every query, [queries][heads]: what was written is the same for
// all formats.
const std::vector<Exact>& ExactOutputs(const AttentionProblem& problem) {
  static const std::vector<Exact> outputs = [&problem] {
    std::vector<Exact> all;
    for (std::int32_t q = 0; q < kQueries; ++q) {
      for (std::int32_t h = 0; h < kQueryHeads; ++h) {
        all.push_back(ExactAttention(problem, q, h));
      }
    }
    return all;
  }();
  return outputs;
}

// Fails the test where an element read is further from the one written.
void ExpectElementErrors(const AttentionProblem& problem, KvRole role,
                         const std::vector<double>& errors) {
  const std::vector<float> read = problem.Dequantized(role, 0);
  std::size_t at = 0;
  for (std::int32_t t = 0; t < kTokens; ++t) {
    for (std::int32_t h = 0; h < kHeads; ++h) {
      for (std::int32_t i = 0; i < kHeadSize; ++i, ++at) {
        const double written = problem.Source(role, 0, t, h, i);
        ASSERT_LE(std::abs(read[at] - written), errors[at])
            << written << " became " << read[at];
      }
    }
  }
}

// How far the output of a query may be from `exact`, each element. Logits are
// off by at most delta = scale sum|q_i| e_i, weights then by a factor of
// exp(2 delta), values by e: so the output by at most
//   (exp(2 delta) - 1) sum w |v| + exp(2 delta) sum w e,
// and by what fp32 arithmetic adds.
std::vector<double> OutputBounds(const AttentionProblem& problem,
                                 std::int32_t query, std::int32_t head,
                                 const Exact& exact,
                                 const std::vector<double>& key_errors,
                                 const std::vector<double>& value_errors) {
  const auto at = [head](std::size_t token, std::int32_t i) {
    return (token * kHeads + static_cast<std::size_t>(KvHeadOf(head))) *
               kHeadSize +
           static_cast<std::size_t>(i);
  };
  double delta = 0;
  for (std::size_t t = 0; t < exact.weights.size(); ++t) {
    double sum = 0;
    for (std::int32_t i = 0; i < kHeadSize; ++i) {
      sum +=
          std::abs(problem.query().Get(query, head, i)) * key_errors[at(t, i)];
    }
    delta = std::max(delta, kScale * sum);
  }
  std::vector<double> bounds;
  for (std::int32_t i = 0; i < kHeadSize; ++i) {
    double value_error = 0;
    for (std::size_t t = 0; t < exact.weights.size(); ++t) {
      value_error += exact.weights[t] * value_errors[at(t, i)];
    }
    const double magnitude = exact.magnitude[static_cast<std::size_t>(i)];
    bounds.push_back((std::expm1(2 * delta) + 1e-4) * magnitude +
                     std::exp(2 * delta) * value_error);
  }
  return bounds;
}

// Fails the test where an element read, or of the output, is further off than
// theory allows.
Result Measure(const Case& c) {
  SCOPED_TRACE(std::string(c.name));
  AttentionProblem problem(Options(c));
  const absl::Status status = PagedAttention(problem.args());
  EXPECT_TRUE(status.ok()) << status;
  const std::vector<double> key_errors =
      ElementErrors(problem, KvRole::kKey, c.key, c.num_residual);
  const std::vector<double> value_errors =
      ElementErrors(problem, KvRole::kValue, c.value, c.num_residual);
  ExpectElementErrors(problem, KvRole::kKey, key_errors);
  ExpectElementErrors(problem, KvRole::kValue, value_errors);
  double error_square = 0;
  double bound_square = 0;
  double output_square = 0;
  for (std::int32_t q = 0; q < kQueries; ++q) {
    for (std::int32_t h = 0; h < kQueryHeads; ++h) {
      const Exact& exact =
          ExactOutputs(problem)[static_cast<std::size_t>(q * kQueryHeads + h)];
      const std::vector<double> bounds =
          OutputBounds(problem, q, h, exact, key_errors, value_errors);
      for (std::size_t i = 0; i < kHeadSize; ++i) {
        const double want = exact.output[i];
        const double error =
            problem.output().Get(q, h, static_cast<std::int64_t>(i)) - want;
        EXPECT_LE(std::abs(error), bounds[i]);
        error_square += error * error;
        bound_square += bounds[i] * bounds[i];
        output_square += want * want;
      }
    }
  }
  return {std::sqrt(error_square / output_square),
          std::sqrt(bound_square / output_square)};
}

double BytesPerToken(const Case& c) {
  const auto geometry =
      KvGeometry::Create({Options(c).layer}, Options(c).block_size);
  EXPECT_TRUE(geometry.ok());
  return static_cast<double>(geometry->bytes_per_block().value()) /
         Options(c).block_size.value();
}

double Error(const Case& c) { return Measure(c).error; }

TEST(FormatsEndToEndTest, ErrorsOfTheOutputAreWithinTheory) {
  const Case fp16 = Both("fp16", KvFormat::For(KvDtype::kFp16));
  const Case cases[] = {
      Both("fp32", KvFormat::For(KvDtype::kFp32)),
      fp16,
      Both("bf16", KvFormat::For(KvDtype::kBf16)),
      Both("fp8 e4m3", KvFormat::For(KvDtype::kFp8)),
      Both("fp8 e4m3 per token", PerToken(KvDtype::kFp8)),
      Both("fp8 e5m2", KvFormat::For(KvDtype::kFp8E5m2)),
      Both("int8 per token", PerToken(KvDtype::kInt8)),
      Both("int8 per group", PerGroup(KvDtype::kInt8)),
      Kivi("int8 keys per channel", KvDtype::kInt8),
      Both("int4 per token", PerToken(KvDtype::kInt4)),
      Both("int4 per group", PerGroup(KvDtype::kInt4)),
      Kivi("int4 keys per channel", KvDtype::kInt4),
      Both("int2 per token", PerToken(KvDtype::kInt2)),
      Both("int2 per group", PerGroup(KvDtype::kInt2)),
      Kivi("int2 keys per channel", KvDtype::kInt2),
      Kivi("... and 64 tokens as is", KvDtype::kInt2, 64),
  };
  std::printf("%-24s %14s %10s %12s %12s\n", "format", "bytes/token", "of fp16",
              "error", "bound");
  for (const Case& c : cases) {
    const Result result = Measure(c);
    std::printf("%-24s %14.1f %9.1f%% %12.2e %12.2e\n",
                std::string(c.name).c_str(), BytesPerToken(c),
                100 * BytesPerToken(c) / BytesPerToken(fp16), result.error,
                result.bound);
  }
}

// More bits, or scales that fewer elements share, are never in vain.
TEST(FormatsEndToEndTest, FinerFormatsAreCloser) {
  const auto both = [](const KvFormat& format) {
    return Error(Both("", format));
  };
  EXPECT_LT(both(KvFormat::For(KvDtype::kFp32)),
            both(KvFormat::For(KvDtype::kFp16)));
  EXPECT_LT(both(KvFormat::For(KvDtype::kFp16)),
            both(KvFormat::For(KvDtype::kBf16)));
  EXPECT_LT(both(KvFormat::For(KvDtype::kBf16)),
            both(KvFormat::For(KvDtype::kFp8)));
  EXPECT_LT(both(KvFormat::For(KvDtype::kFp8)),
            both(KvFormat::For(KvDtype::kFp8E5m2)));
  for (const auto& format : {PerToken, PerGroup, PerChannel}) {
    EXPECT_LT(both(format(KvDtype::kInt8)), both(format(KvDtype::kInt4)));
    EXPECT_LT(both(format(KvDtype::kInt4)), both(format(KvDtype::kInt2)));
  }
  for (const KvDtype dtype : {KvDtype::kInt8, KvDtype::kInt4, KvDtype::kInt2}) {
    EXPECT_LT(both(PerGroup(dtype)), both(PerToken(dtype)));
  }
}

// The point of KIVI: an outlier channel makes the steps of a token's scale
// large for all of its elements, but is an even channel of its own.
TEST(FormatsEndToEndTest, KeysPerChannelBeatKeysPerToken) {
  for (const KvDtype dtype : {KvDtype::kInt4, KvDtype::kInt2}) {
    const double per_token = Error(Both("", PerToken(dtype)));
    const double per_channel = Error(Kivi("", dtype));
    EXPECT_LT(per_channel, per_token / 2) << KvDtypeName(dtype);
    EXPECT_LT(Error(Kivi("", dtype, 64)), per_channel);
  }
}

}  // namespace
}  // namespace pagedkv
