// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/policy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

#include "pagedkv/types.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {
namespace {

struct NamedKind {
  PolicyKind kind;
  std::string_view name;
};

constexpr std::string_view kPagedPrefix = "paged-";
constexpr std::array kNamedKinds = {
    NamedKind{PolicyKind::kContiguousMax, "contiguous-max"},
    NamedKind{PolicyKind::kContiguousPow2, "contiguous-pow2"},
    NamedKind{PolicyKind::kContiguousOracle, "contiguous-oracle"},
    NamedKind{PolicyKind::kContiguousMaxExact, "contiguous-max-exact"},
    NamedKind{PolicyKind::kConcat, "concat"},
};

std::int64_t PowerOfTwoAtLeast(std::int64_t slots) {
  return static_cast<std::int64_t>(
      std::bit_ceil(static_cast<std::uint64_t>(slots)));
}

absl::Status UnknownPolicy(std::string_view id) {
  std::string known = absl::StrFormat("%s<block size>", kPagedPrefix);
  for (const NamedKind& named : kNamedKinds) {
    known += absl::StrFormat(", %s", named.name);
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("unknown policy '%s': use one of %s", id, known));
}

}  // namespace

absl::StatusOr<Policy> Policy::Parse(std::string_view id) {
  for (const NamedKind& named : kNamedKinds) {
    if (named.name == id) return Policy{.kind = named.kind};
  }
  if (!id.starts_with(kPagedPrefix)) return UnknownPolicy(id);
  const std::string_view digits = id.substr(kPagedPrefix.size());
  std::int32_t block_size = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), block_size);
  if (error != std::errc() || end != digits.data() + digits.size() ||
      block_size < 1) {
    return UnknownPolicy(id);
  }
  return Policy{.kind = PolicyKind::kPaged,
                .block_size = BlockSize(block_size)};
}

std::string Policy::id() const {
  for (const NamedKind& named : kNamedKinds) {
    if (named.kind == kind) return std::string(named.name);
  }
  return absl::StrFormat("%s%d", kPagedPrefix, block_size.value());
}

Grant GrantRule::For(const TraceRequest& request, std::int64_t present) const {
  const auto on_buddy = [](std::int64_t requested) {
    return Grant{.requested = requested,
                 .granted = PowerOfTwoAtLeast(requested)};
  };
  switch (policy_.kind) {
    case PolicyKind::kPaged: {
      const BlockSize size = policy_.block_size;
      const std::int64_t slots =
          size.Slots(size.CoveringBlocks(TokenCount(present))).value();
      return {.requested = slots, .granted = slots};
    }
    case PolicyKind::kContiguousMax:
      return on_buddy(max_sequence_tokens_);
    case PolicyKind::kContiguousPow2:
      return on_buddy(std::min(
          request.prompt_tokens + PowerOfTwoAtLeast(request.output_tokens),
          max_sequence_tokens_));
    case PolicyKind::kContiguousOracle:
      return on_buddy(FinalSlots(request));
    case PolicyKind::kContiguousMaxExact:
      return {.requested = max_sequence_tokens_,
              .granted = max_sequence_tokens_};
    case PolicyKind::kConcat:
      break;
  }
  return {.requested = present, .granted = present};
}

}  // namespace pagedkv::sim
