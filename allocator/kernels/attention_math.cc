// SPDX-License-Identifier: Apache-2.0
#include "allocator/kernels/attention_math.h"

#include <cstddef>
#include <limits>

// Arrays of vectors need vectors whose size the compiler knows.
#define HWY_DISABLED_TARGETS \
  (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#define HWY_TARGET_INCLUDE "allocator/kernels/attention_math.cc"
// clang-format off: it compiles this file once for each target, from here on.
#include "hwy/foreach_target.h"
// clang-format on
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace pagedkv::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, kVectorAlignment>;
using Vector = hn::Vec<Floats>;
constexpr Floats kFloats;
constexpr std::size_t kLanes = hn::MaxLanes(kFloats);
constexpr std::size_t kTile = kTileTokens;
static_assert(kTile % kVectorAlignment == 0);

// The sums of vectors kFirst, kFirst + 1, ..., of kCount in all, each in
// kLanes / kCount lanes: neighbouring lanes are added, and two halves make a
// whole, so that a sum costs two instructions or three.
template <std::size_t kFirst, std::size_t kCount>
HWY_INLINE Vector SumEach(const Vector (&vectors)[kLanes]) {
#if HWY_TARGET != HWY_SCALAR
  if constexpr (kCount > 1) {
    const Vector low = SumEach<kFirst, kCount / 2>(vectors);
    const Vector high = SumEach<kFirst + kCount / 2, kCount / 2>(vectors);
    return hn::Add(hn::ConcatEven(kFloats, high, low),
                   hn::ConcatOdd(kFloats, high, low));
  }
#endif
  return vectors[kFirst];
}

void ComputeLogits(const float* HWY_RESTRICT query,
                   const float* HWY_RESTRICT keys, std::int32_t size,
                   std::int32_t num_tokens, float scale,
                   float* HWY_RESTRICT logits) {
  const auto stride = static_cast<std::size_t>(size);
  const auto end = static_cast<std::size_t>(num_tokens);
  const Vector factor = hn::Set(kFloats, scale);
  for (std::size_t token = 0; token < end; token += kLanes) {
    const float* HWY_RESTRICT key = keys + token * stride;
    Vector sums[kLanes];
    for (Vector& sum : sums) sum = hn::Zero(kFloats);
    for (std::size_t i = 0; i < stride; i += kLanes) {
      const Vector q = hn::Load(kFloats, query + i);
      for (std::size_t t = 0; t < kLanes; ++t) {
        sums[t] =
            hn::MulAdd(q, hn::Load(kFloats, key + t * stride + i), sums[t]);
      }
    }
    hn::Store(hn::Mul(factor, SumEach<0, kLanes>(sums)), kFloats,
              logits + token);
  }
}

float UpdateSoftmax(SoftmaxState& state, float* HWY_RESTRICT logits) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  Vector max = hn::Set(kFloats, state.max);
  for (std::size_t t = 0; t < kTile; t += kLanes) {
    max = hn::Max(max, hn::Load(kFloats, logits + t));
  }
  max = hn::MaxOfLanes(kFloats, max);
  const float new_max = hn::GetLane(max);
  // Nothing but -inf as yet: weights are 0, not exp(-inf + inf).
  const Vector shift = new_max == kNone ? hn::Zero(kFloats) : max;
  // Highway's Exp makes 0 of NaN; a softmax does not.
  const auto weight = [&](Vector logit) HWY_ATTR {
    const Vector x = hn::Sub(logit, shift);
    return hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(kFloats, x));
  };
  Vector sum = hn::Zero(kFloats);
  for (std::size_t t = 0; t < kTile; t += kLanes) {
    const Vector w = weight(hn::Load(kFloats, logits + t));
    hn::Store(w, kFloats, logits + t);
    sum = hn::Add(sum, w);
  }
  const float factor = hn::GetLane(weight(hn::Set(kFloats, state.max)));
  state.max = new_max;
  state.sum = state.sum * factor + hn::GetLane(hn::SumOfLanes(kFloats, sum));
  return factor;
}

// AddValues for kVectors * kLanes elements.
template <std::size_t kVectors>
void AddPart(const float* HWY_RESTRICT weights,
             const float* HWY_RESTRICT values, std::size_t stride,
             const TokenRange (&ranges)[2], float factor,
             float* HWY_RESTRICT sum) {
  const Vector f = hn::Set(kFloats, factor);
  Vector sums[kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) {
    sums[v] = hn::Mul(f, hn::Load(kFloats, sum + v * kLanes));
  }
  for (const TokenRange& range : ranges) {
    for (auto t = static_cast<std::size_t>(range.begin);
         t < static_cast<std::size_t>(range.end); ++t) {
      const Vector weight = hn::Set(kFloats, weights[t]);
      const float* HWY_RESTRICT value = values + t * stride;
      for (std::size_t v = 0; v < kVectors; ++v) {
        sums[v] =
            hn::MulAdd(weight, hn::Load(kFloats, value + v * kLanes), sums[v]);
      }
    }
  }
  for (std::size_t v = 0; v < kVectors; ++v) {
    hn::Store(sums[v], kFloats, sum + v * kLanes);
  }
}

void AddValues(const float* weights, const float* values, std::int32_t stride,
               std::int32_t size, TokenRange first, TokenRange second,
               float factor, float* sum) {
  constexpr std::size_t kVectors = 8;
  const auto row = static_cast<std::size_t>(stride);
  const auto end = static_cast<std::size_t>(size);
  const TokenRange ranges[2] = {first, second};
  std::size_t i = 0;
  for (; i + kVectors * kLanes <= end; i += kVectors * kLanes) {
    AddPart<kVectors>(weights, values + i, row, ranges, factor, sum + i);
  }
  for (; i < end; i += kLanes) {
    AddPart<1>(weights, values + i, row, ranges, factor, sum + i);
  }
}

}  // namespace
}  // namespace pagedkv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagedkv {
namespace {
HWY_EXPORT(ComputeLogits);
HWY_EXPORT(UpdateSoftmax);
HWY_EXPORT(AddValues);
}  // namespace

void ComputeLogits(const float* query, const float* keys, std::int32_t size,
                   std::int32_t num_tokens, float scale, float* logits) {
  HWY_DYNAMIC_DISPATCH(ComputeLogits)
  (query, keys, size, num_tokens, scale, logits);
}

float UpdateSoftmax(SoftmaxState& state, float* logits) {
  return HWY_DYNAMIC_DISPATCH(UpdateSoftmax)(state, logits);
}

void AddValues(const float* weights, const float* values, std::int32_t stride,
               std::int32_t size, TokenRange first, TokenRange second,
               float factor, float* sum) {
  HWY_DYNAMIC_DISPATCH(AddValues)
  (weights, values, stride, size, first, second, factor, sum);
}

}  // namespace pagedkv
#endif  // HWY_ONCE
