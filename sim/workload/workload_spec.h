// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_WORKLOAD_SPEC_H_
#define SIM_WORKLOAD_WORKLOAD_SPEC_H_

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "pagedkv/types.h"
#include "sim/workload/distribution.h"

namespace pagedkv::sim {

enum class ArrivalKind { kPoisson, kGamma, kConstant };

/// When sessions of a class start.
struct ArrivalSpec {
  ArrivalKind kind = ArrivalKind::kPoisson;
  double sessions_per_s = 1.0;
  /// Of gamma: the coefficient of variation of the gaps; 1 is Poisson, more is
  /// burstier.
  double burstiness_cv = 1.0;
  /// Empty: the rate does not change. Else the rates, in any unit, of the equal
  /// parts of a period; `sessions_per_s` is their mean.
  std::vector<std::uint32_t> profile = {};
  std::int64_t period_ns = std::int64_t{86'400} * 1'000'000'000;
  /// Recorded times are rounded down to a multiple of this.
  std::int64_t tick_ns = 1;

  friend bool operator==(const ArrivalSpec&, const ArrivalSpec&) = default;
};

/// Texts that sessions have in common, at the start of their first prompt:
/// system prompts, descriptions of tools, documents that were retrieved.
struct SharedTexts {
  std::string name;
  std::int64_t count = 1;             ///< how many different ones there are
  std::int32_t zipf_thousandths = 0;  ///< popularity: of the r-th, 1 / r^zipf
  Distribution tokens{1};             ///< of a text
  Distribution draws{1};  ///< how many, all different, a session begins with

  friend bool operator==(const SharedTexts&, const SharedTexts&) = default;
};

/// A distribution that depends on the length of the prompt.
struct ByPrompt {
  struct Range {
    std::int64_t up_to = std::numeric_limits<std::int64_t>::max();
    Distribution values{1};
    friend bool operator==(const Range&, const Range&) = default;
  };
  /// At least one; `up_to` rises, the last is max.
  std::vector<Range> ranges = std::vector<Range>(1);

  [[nodiscard]] const Distribution& For(std::int64_t prompt_tokens) const;
  friend bool operator==(const ByPrompt&, const ByPrompt&) = default;
};

/// Sessions of one kind. A session is a number of turns: a prompt, which is all
/// that was said so far and a new message, and an answer. One with a single
/// turn is a plain request.
struct WorkloadClass {
  std::string name;
  ArrivalSpec arrivals;
  std::vector<SharedTexts> shared = {};  ///< in this order, then the message
  ByPrompt turns;                        ///< by that of the first turn
  Distribution first_message{1};  ///< tokens of the user's, of the first turn
  Distribution message{1};        ///< of the turns after it, or a tool's result
  ByPrompt answer;
  /// From an answer to the next turn: reading and writing, or a tool at work.
  Distribution think_time_ms{0};
  /// Requests beside the session's next turn that go on from the same answer
  /// with a message of their own, and end there: an agent's parallel calls.
  Distribution branches{0};
  /// Whether turns wait for the one before to finish; if not, think times count
  /// from its arrival.
  bool closed_loop = true;
  /// Prompt and answer together; a session ends before a turn that is longer.
  std::int64_t max_context_tokens = std::int64_t{1} << 30;

  /// Of a session; those that `max_context_tokens` cuts short count in full.
  [[nodiscard]] double MeanTurns() const;
  friend bool operator==(const WorkloadClass&, const WorkloadClass&) = default;
};

/// A generated workload: a mixture of classes, each with arrivals of its own.
struct WorkloadSpec {
  std::string name;
  std::string description;
  std::int64_t num_requests = 1;  ///< by default
  BlockSize block{16};            ///< of the block ids
  std::vector<WorkloadClass> classes;

  /// Mean requests per second once sessions start and end equally often; of
  /// sessions that `max_context_tokens` does not cut short.
  [[nodiscard]] double requests_per_s() const;
  friend bool operator==(const WorkloadSpec&, const WorkloadSpec&) = default;
};

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_WORKLOAD_SPEC_H_
