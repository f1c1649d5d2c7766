// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_SIM_REPLAY_REQUESTS_H_
#define TESTS_SIM_REPLAY_REQUESTS_H_

#include <cstdint>
#include <random>
#include <vector>

#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

struct Lengths {
  std::int32_t prompt = 0;
  std::int32_t output = 0;
  std::int64_t arrival_ns = 0;
};

inline std::vector<TraceRequest> Requests(const std::vector<Lengths>& lengths) {
  std::vector<TraceRequest> requests;
  for (const Lengths& length : lengths) {
    TraceRequest& request = requests.emplace_back();
    request.id = static_cast<std::int64_t>(requests.size()) - 1;
    request.arrival_ns = length.arrival_ns;
    request.prompt_tokens = length.prompt;
    request.output_tokens = length.output;
  }
  return requests;
}

/// Lengths up to `most` tokens each for prompt and output; bursts and lulls.
inline std::vector<TraceRequest> RandomRequests(std::uint64_t seed, int count,
                                                std::uint32_t most) {
  std::mt19937_64 random(seed);
  std::vector<Lengths> lengths;
  std::int64_t arrival_ns = 0;
  for (int i = 0; i < count; ++i) {
    arrival_ns += static_cast<std::int64_t>(random() % 10 == 0 ? random() % 500
                                                               : random() % 7);
    lengths.push_back({.prompt = static_cast<std::int32_t>(1 + random() % most),
                       .output = static_cast<std::int32_t>(1 + random() % most),
                       .arrival_ns = arrival_ns});
  }
  return Requests(lengths);
}

}  // namespace pagedkv::sim

#endif  // TESTS_SIM_REPLAY_REQUESTS_H_
