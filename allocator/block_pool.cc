// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/block_pool.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"

#include "allocator/free_block_queue.h"
#include "base/check.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kMaxBlocks = std::int64_t{1} << 30;

absl::Status OutsideOfPool(BlockId block, BlockCount num_blocks) {
  return absl::InvalidArgumentError(
      absl::StrFormat("block %d is not in the pool of %d blocks", block.value(),
                      num_blocks.value()));
}

}  // namespace

absl::StatusOr<BlockPool> BlockPool::Create(const BlockPoolOptions& options) {
  const std::int64_t blocks = options.num_blocks.value();
  if (blocks < 2 || blocks > kMaxBlocks) {
    return absl::InvalidArgumentError(
        absl::StrFormat("num_blocks is %d; it must be from 2 (the null block "
                        "and one more) to %d",
                        blocks, kMaxBlocks));
  }
  if (options.external_eviction && !options.prefix_caching) {
    return absl::InvalidArgumentError(
        "external_eviction is on without prefix_caching: there is nothing to "
        "evict");
  }
  if (!(options.watermark >= 0.0 && options.watermark < 1.0)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("watermark is %g; it must be at least 0 and below 1",
                        options.watermark));
  }
  const std::int64_t most = options.max_num_blocks.value();
  if (most != 0 && (most < blocks || most > kMaxBlocks)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "max_num_blocks is %d; it must be 0, or from num_blocks, %d, to %d",
        most, blocks, kMaxBlocks));
  }
  return BlockPool(options);
}

BlockPool::BlockPool(const BlockPoolOptions& options)
    : states_(static_cast<std::size_t>(
          std::max(options.num_blocks, options.max_num_blocks).value())),
      free_(std::make_unique<FreeBlockQueue>(options.num_blocks.value(),
                                             max_num_blocks().value(),
                                             options.prefix_caching)),
      num_free_(options.num_blocks.value() - 1),
      watermark_share_(options.watermark),
      prefix_caching_(options.prefix_caching),
      external_eviction_(options.external_eviction) {
  SetNumBlocks(options.num_blocks);
}

// Ids that may be in use reach as far as the last that is.
void BlockPool::SetNumBlocks(BlockCount num_blocks) {
  num_blocks_ = num_blocks.value();
  watermark_ = BlockCount(static_cast<std::int64_t>(
      std::floor(watermark_share_ * static_cast<double>(num_blocks_))));
  extent_ = std::max(extent_, static_cast<std::uint32_t>(num_blocks_));
  while (extent_ > num_blocks_ && states_[extent_ - 1].ref_count == 0) {
    --extent_;
  }
}

BlockPool::BlockPool(BlockPool&&) noexcept = default;
BlockPool& BlockPool::operator=(BlockPool&&) noexcept = default;
BlockPool::~BlockPool() = default;

double BlockPool::usage() const {
  return static_cast<double>(num_used().value()) /
         static_cast<double>(num_blocks().value() - 1);
}

bool BlockPool::TryAllocate(std::span<BlockId> out,
                            std::vector<BlockId>* evicted) {
  if (out.size() > free_->size()) return false;
  num_free_ -= static_cast<std::int64_t>(out.size());
  num_references_ += static_cast<std::int64_t>(out.size());
  free_->PopFront(out);
  BlockState* const states = states_.data();
  if (!prefix_caching_) {
    for (BlockId block : out) states[Index(block)].ref_count = 1;
    return true;
  }
  for (BlockId block : out) {
    BlockState& state = states[Index(block)];
    state.ref_count = 1;
    if (!state.cached()) continue;
    state.SetCached(false);
    --num_cached_free_;
    if (evicted != nullptr) evicted->push_back(block);
  }
  return true;
}

absl::Status BlockPool::Share(std::span<const BlockId> blocks) {
  for (BlockId block : blocks) {
    if (!Contains(block)) return OutsideOfPool(block, num_blocks());
    const BlockState& state = states_[Index(block)];
    if (state.ref_count == 0 && !state.cached() && block != kNullBlock) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "block %d cannot be shared: it is free", block.value()));
    }
  }
  for (BlockId block : blocks) {
    if (block == kNullBlock) continue;
    BlockState& state = states_[Index(block)];
    ++num_references_;
    if (state.ref_count++ == 0) {
      if (!external_eviction_) free_->Remove(block);
      --num_free_;
      --num_cached_free_;
    }
  }
  return absl::OkStatus();
}

// `block_at(i)` is the i-th block to release and `may_release(i)` whether the
// caller still holds it. Counts go down first, where a mistake shows and can be
// undone; only then does anything become free.
template <typename BlockAt, typename MayRelease>
absl::Status BlockPool::ReleaseEach(std::size_t count, BlockAt block_at,
                                    MayRelease may_release) {
  if (freed_.size() < count) freed_.resize(count);
  BlockState* const states = states_.data();
  // Cached ones from the front of the scratch, others from its end: with a
  // prefix cache the two go to different ends of the queue.
  BlockId* const freed = freed_.data();
  BlockId* blanks = freed + freed_.size();
  BlockId* blanks_end = blanks;
  std::size_t num_freed = 0;
  std::size_t num_null = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const BlockId block = block_at(i);
    if (block == kNullBlock) {
      ++num_null;
      continue;
    }
    if (!Contains(block) || !may_release(i) ||
        states[Index(block)].ref_count == 0) {
      return UndoRelease(i, block_at);
    }
    BlockState& state = states[Index(block)];
    if (!state.Drop()) continue;
    if (prefix_caching_ && !state.cached()) {
      *--blanks = block;
    } else {
      freed[num_freed++] = block;
    }
  }
  if (num_draining_ > 0) [[unlikely]] {
    num_freed = Withdraw({freed, num_freed});
    blanks_end = blanks + Withdraw({blanks, blanks_end});
  }
  num_free_ += static_cast<std::int64_t>(num_freed) + (blanks_end - blanks);
  num_references_ -= static_cast<std::int64_t>(count - num_null);
  if (prefix_caching_) {
    num_cached_free_ += static_cast<std::int64_t>(num_freed);
  }
  if (!external_eviction_) free_->PushBack({freed, num_freed});
  // The last that was freed comes first here, as it has to.
  for (; blanks != blanks_end; ++blanks) free_->PushFront(*blanks);
  return absl::OkStatus();
}

// Counts back the first `count` blocks, and says why the next is refused. Not
// inline: it would cost the good case its registers.
template <typename BlockAt>
[[gnu::noinline]] absl::Status BlockPool::UndoRelease(std::size_t count,
                                                      BlockAt block_at) {
  for (std::size_t i = 0; i < count; ++i) {
    if (block_at(i) != kNullBlock) states_[Index(block_at(i))].UndoDrop();
  }
  const BlockId block = block_at(count);
  if (!Contains(block)) return OutsideOfPool(block, num_blocks());
  return absl::FailedPreconditionError(absl::StrFormat(
      "block %d is released by someone who no longer holds it: it has %d "
      "references and was freed %d times",
      block.value(), ref_count(block), handle(block).generation));
}

absl::Status BlockPool::Release(std::span<const BlockId> blocks) {
  return ReleaseEach(
      blocks.size(), [blocks](std::size_t i) { return blocks[i]; },
      [](std::size_t) { return true; });
}

absl::Status BlockPool::ReleaseReversed(std::span<const BlockId> blocks) {
  return ReleaseEach(
      blocks.size(),
      [blocks](std::size_t i) { return blocks[blocks.size() - 1 - i]; },
      [](std::size_t) { return true; });
}

absl::Status BlockPool::Release(std::span<const BlockHandle> handles) {
  return ReleaseEach(
      handles.size(), [handles](std::size_t i) { return handles[i].id; },
      [this, handles](std::size_t i) { return IsCurrent(handles[i]); });
}

// Those of the blocks just freed that are not of the pool any longer are gone;
// moves the others to the front, in their order, and returns how many they are.
// Not inline, like `UndoRelease`.
[[gnu::noinline, gnu::cold]] std::size_t BlockPool::Withdraw(
    std::span<BlockId> freed) {
  std::size_t kept = 0;
  for (BlockId block : freed) {
    if (block.value() < num_blocks_) {
      freed[kept++] = block;
    } else {
      states_[Index(block)].SetCached(false);
      --num_draining_;
    }
  }
  SetNumBlocks(num_blocks());
  return kept;
}

absl::Status BlockPool::Grow(BlockCount num_blocks) {
  if (num_blocks < this->num_blocks() || num_blocks > max_num_blocks()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a pool of %d blocks cannot grow to %d; give as many as there are, to "
        "max_num_blocks, %d",
        num_blocks_, num_blocks.value(), max_num_blocks().value()));
  }
  for (std::int64_t id = num_blocks_; id < num_blocks.value(); ++id) {
    const BlockId block(static_cast<std::int32_t>(id));
    if (ref_count(block) > 0) {
      --num_draining_;
    } else {
      free_->PushBack(block);
      ++num_free_;
    }
  }
  SetNumBlocks(num_blocks);
  return absl::OkStatus();
}

absl::Status BlockPool::CheckShrink(BlockCount num_blocks) const {
  if (num_blocks < BlockCount(2) || num_blocks > this->num_blocks()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a pool of %d blocks cannot shrink to %d; give 2 (the null block and "
        "one more) to as many as there are",
        num_blocks_, num_blocks.value()));
  }
  return absl::OkStatus();
}

absl::Status BlockPool::BeginShrink(BlockCount num_blocks,
                                    std::vector<BlockId>* evicted) {
  if (absl::Status status = CheckShrink(num_blocks); !status.ok()) {
    return status;
  }
  for (std::int64_t id = num_blocks.value(); id < num_blocks_; ++id) {
    const BlockId block(static_cast<std::int32_t>(id));
    BlockState& state = states_[Index(block)];
    const bool is_free = state.ref_count == 0;
    if (state.cached()) {
      state.SetCached(false);
      if (is_free) --num_cached_free_;
      if (evicted != nullptr) evicted->push_back(block);
    }
    if (is_free) {
      --num_free_;
    } else {
      ++num_draining_;
    }
  }
  free_->RemoveFrom(BlockId(static_cast<std::int32_t>(num_blocks.value())));
  SetNumBlocks(num_blocks);
  return absl::OkStatus();
}

bool BlockPool::IsCurrent(BlockHandle handle) const {
  return Contains(handle.id) && this->handle(handle.id) == handle;
}

// With external_eviction: a free block is in the queue unless it is cached.
void BlockPool::MoveFree(BlockId block, bool cached) {
  if (is_cached(block) == cached) return;
  if (cached) {
    free_->Remove(block);
  } else {
    free_->PushFront(block);
  }
}

BlockCount BlockPool::num_takeable() const {
  return BlockCount(static_cast<std::int64_t>(free_->size()));
}

std::vector<BlockId> BlockPool::FreeBlocks() const { return free_->ToVector(); }

absl::Status BlockPool::CheckInvariants() const {
  if (absl::Status status = free_->CheckInvariants(); !status.ok()) {
    return status;
  }
  std::vector<bool> is_free(states_.size(), false);
  for (BlockId block : free_->ToVector()) {
    if (!Contains(block) || is_free[Index(block)]) {
      return absl::InternalError(absl::StrFormat(
          "block %d is in the free queue twice, or outside of the pool",
          block.value()));
    }
    is_free[Index(block)] = true;
  }
  std::int64_t num_free = 0;
  std::int64_t num_cached_free = 0;
  std::int64_t num_references = 0;
  std::int64_t num_draining = 0;
  for (std::size_t i = 1; i < states_.size(); ++i) {
    const std::int32_t references = states_[i].ref_count;
    const bool is_member = std::cmp_less(i, num_blocks_);
    const bool is_withheld =
        !is_member || (external_eviction_ && states_[i].cached());
    if (references < 0 || (references == 0 && !is_withheld) != is_free[i]) {
      return absl::InternalError(absl::StrFormat(
          "block %d of a pool of %d has %d references and is%s in the free "
          "queue",
          i, num_blocks_, references, is_free[i] ? "" : " not"));
    }
    num_references += references;
    if (is_member) {
      num_free += references == 0 ? 1 : 0;
      num_cached_free += references == 0 && states_[i].cached() ? 1 : 0;
      continue;
    }
    num_draining += references > 0 ? 1 : 0;
    if ((references > 0 && i >= extent_) || states_[i].cached()) {
      return absl::InternalError(absl::StrFormat(
          "block %d has left a pool of %d, whose extent is %d; it has %d "
          "references and is%s marked as cached",
          i, num_blocks_, extent_, references,
          states_[i].cached() ? "" : " not"));
    }
  }
  if (num_draining != num_draining_ || std::cmp_less(extent_, num_blocks_)) {
    return absl::InternalError(absl::StrFormat(
        "the pool of %d blocks counts %d that drain, below %d; there are %d",
        num_blocks_, num_draining_, extent_, num_draining));
  }
  if (num_cached_free != num_cached_free_ ||
      num_references != num_references_) {
    return absl::InternalError(absl::StrFormat(
        "the pool counts %d references and %d free blocks with content; there "
        "are %d and %d",
        num_references_, num_cached_free_, num_references, num_cached_free));
  }
  if (num_free != num_free_ || is_free[0] || states_[0].ref_count != 0) {
    return absl::InternalError(absl::StrFormat(
        "the pool counts %d free blocks, the queue has %d; the null block has "
        "%d references",
        num_free_, num_free, states_[0].ref_count));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
