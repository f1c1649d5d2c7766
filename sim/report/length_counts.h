// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_LENGTH_COUNTS_H_
#define SIM_REPORT_LENGTH_COUNTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pagedkv::sim {

/// How long requests are, and how long they are so long. A request of p prompt
/// and o output tokens has p, p + 1, ... p + o - 1 tokens in memory, one step
/// at each; preemptions and chunks of the prompt are not counted. Memory is
/// bounded by the longest request. Thread-compatible.
class LengthCounts {
 public:
  /// A request without prompt or output is never in memory.
  void Add(std::int32_t prompt_tokens, std::int32_t output_tokens) {
    if (prompt_tokens < 1 || output_tokens < 1) return;
    const auto first = static_cast<std::size_t>(prompt_tokens);
    const std::size_t last =
        first + static_cast<std::size_t>(output_tokens) - 1;
    if (last + 1 >= changes_.size()) {
      changes_.resize(last + 2);
      final_.resize(last + 2);
    }
    ++final_[last];
    ++changes_[first];
    --changes_[last + 1];
  }

  /// Calls `visit(length, requests, steps)` for each length that a request ever
  /// has, from the shortest: so many requests end at it, and all of them
  /// together spend so many steps at it.
  template <typename Visit>
  void ForEachLength(const Visit& visit) const {
    std::int64_t steps = 0;
    for (std::size_t length = 0; length < changes_.size(); ++length) {
      steps += changes_[length];
      if (steps > 0) {
        visit(static_cast<std::int64_t>(length), final_[length], steps);
      }
    }
  }

 private:
  std::vector<std::int64_t> changes_;  // of the steps, from the length before
  std::vector<std::int64_t> final_;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_LENGTH_COUNTS_H_
