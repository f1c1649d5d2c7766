// SPDX-License-Identifier: Apache-2.0
//
// A pool that shrinks under the requests.
#include "absl/strings/str_format.h"

#include "scheduler/scheduler_impl.h"

namespace pagedkv {

// Blocks that a request holds at most, alone. The last token that is sampled is
// never computed.
BlockCount Scheduler::Impl::BlocksToFinish(
    std::int32_t width, TokenCount num_prompt_tokens, std::int64_t end_tokens,
    TokenCount num_encoder_tokens) const {
  return cache_.BlocksForForks(width, num_prompt_tokens,
                               TokenCount(end_tokens - 1), num_encoder_tokens);
}

absl::Status Scheduler::Impl::BeginShrink(BlockCount num_blocks) {
  if (in_flight_) {
    return absl::FailedPreconditionError(
        "the pool cannot shrink while a plan is in flight: call Update first");
  }
  BlockCount most(0);
  RequestId needing_most;
  for (const auto& [id, slot] : slot_of_) {
    const LiveRequest& live = request(slot);
    const RequestDetails& details = this->details(slot);
    const BlockCount needed =
        BlocksToFinish(IsGroup(live) ? group(live).width() : 1,
                       TokenCount(details.num_prompt_tokens), live.end_tokens,
                       details.sequence.num_encoder_tokens);
    // Of equal ones the first by id: the same one in every run.
    if (needed > most || (needed == most && id < needing_most)) {
      most = needed;
      needing_most = id;
    }
  }
  // The null block is not for use.
  const BlockCount least = most + BlockCount(1);
  if (num_blocks >= BlockCount(2) && num_blocks < least) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "request %d could never finish in a pool of %d blocks; shrink to %d or "
        "more, or wait for it, or abort it",
        needing_most.value(), num_blocks.value(), least.value()));
  }
  return cache_.BeginShrink(num_blocks);
}

absl::StatusOr<BlockCount> Scheduler::Impl::Drain(BlockCount max_copies) {
  if (in_flight_) {
    return absl::FailedPreconditionError(
        "blocks cannot be moved while a plan is in flight: call Update first");
  }
  return cache_.Drain(max_copies);
}

}  // namespace pagedkv
