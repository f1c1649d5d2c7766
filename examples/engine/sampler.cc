// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/sampler.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "examples/engine/random.h"
#include "examples/engine/vector_math.h"

#include "pagedkv/types.h"

namespace pagedkv::engine {

TokenId Sample(std::span<const float> logits, float temperature,
               const SamplePlace& place) {
  const auto best = std::max_element(logits.begin(), logits.end());
  if (temperature == 0) return static_cast<TokenId>(best - logits.begin());

  std::uint64_t seed = place.seed;
  for (const std::uint64_t part :
       {place.request, static_cast<std::uint64_t>(place.sample),
        static_cast<std::uint64_t>(place.position)}) {
    seed = Random(seed ^ part).Next();
  }
  const float drawn = Random(seed).NextUniform();
  std::vector<float> shares(logits.begin(), logits.end());
  for (float& share : shares) share /= temperature;
  Softmax(shares);
  float sum = 0;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    sum += shares[i];
    if (drawn < sum) return static_cast<TokenId>(i);
  }
  return static_cast<TokenId>(best - logits.begin());  // sums to less than 1
}

}  // namespace pagedkv::engine
