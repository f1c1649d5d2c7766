// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <span>

#include "examples/engine/random.h"

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
  Random random(seed);
  std::size_t token = 0;
  double largest = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double noise = -std::log(-std::log(random.NextDouble()));
    const double value = double{logits[i]} / double{temperature} + noise;
    if (value > largest) {
      largest = value;
      token = i;
    }
  }
  return static_cast<TokenId>(token);
}

}  // namespace pagedkv::engine
