// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_SAMPLER_H_
#define EXAMPLES_ENGINE_SAMPLER_H_

#include <cstdint>
#include <span>

#include "pagedkv/types.h"

namespace pagedkv::engine {

/// Where in which text a token is drawn: what the draw depends on beside the
/// logits, so that it is the same in any batch.
struct SamplePlace {
  std::uint64_t seed = 0;
  std::uint64_t request = 0;
  std::int32_t sample = 0;
  std::int32_t position = 0;
};

/// The token with the largest logit, of equals the first, if `temperature` is
/// 0; otherwise one drawn with probability softmax(logits / temperature), as
/// the largest of the logits with Gumbel noise. Not by walking up their sums:
/// there, the last digit of any logit moves all that follow, and texts that
/// should be equal part sooner.
[[nodiscard]] TokenId Sample(std::span<const float> logits, float temperature,
                             const SamplePlace& place);

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_SAMPLER_H_
