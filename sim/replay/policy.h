// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_POLICY_H_
#define SIM_REPLAY_POLICY_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "pagedkv/types.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

enum class PolicyKind : std::uint8_t {
  kPaged,               ///< paged-<block size>
  kContiguousMax,       ///< contiguous-max: the model's maximum, buddy
  kContiguousPow2,      ///< contiguous-pow2: output over-reserved by up to 2x
  kContiguousOracle,    ///< contiguous-oracle: the true length, buddy
  kContiguousMaxExact,  ///< contiguous-max-exact: one arena of max per request
  kConcat,              ///< concat: exact, grown by copy
};

/// One allocator under test.
struct Policy {
  PolicyKind kind = PolicyKind::kPaged;
  BlockSize block_size{16};  ///< kPaged only

  /// From an id as on the command line; InvalidArgument lists the known ones.
  static absl::StatusOr<Policy> Parse(std::string_view id);
  /// The id as on the command line and in reports.
  [[nodiscard]] std::string id() const;
  friend bool operator==(const Policy&, const Policy&) = default;
};

/// The slots that will ever hold KV of `request`: its tokens but for the last
/// one sampled, whose KV nobody computes. The final length `f` of the
/// accounting.
[[nodiscard]] constexpr std::int64_t FinalSlots(const TraceRequest& request) {
  return std::int64_t{request.prompt_tokens} + request.output_tokens - 1;
}

/// What one sequence holds: it asked for `requested` slots and was given
/// `granted`, which is more where the allocator rounds up.
struct Grant {
  std::int64_t requested = 0;
  std::int64_t granted = 0;
  friend bool operator==(const Grant&, const Grant&) = default;
};

/// How many slots a policy gives a sequence. Stateless: whether memory has
/// them, and where, is the allocator's business.
class GrantRule {
 public:
  GrantRule(const Policy& policy, TokenCount max_sequence_tokens)
      : policy_(policy), max_sequence_tokens_(max_sequence_tokens.value()) {}

  /// The grant of `request` while `present` of its tokens (>= 1) are in memory.
  /// Only paged policies and concat depend on `present`.
  [[nodiscard]] Grant For(const TraceRequest& request,
                          std::int64_t present) const;
  [[nodiscard]] const Policy& policy() const { return policy_; }
  [[nodiscard]] std::int64_t max_sequence_tokens() const {
    return max_sequence_tokens_;
  }

 private:
  Policy policy_;
  std::int64_t max_sequence_tokens_;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_POLICY_H_
