// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/content_line.h"

#include <cstddef>

#include "sim/trace/mix64.h"

namespace pagedkv::sim {
namespace {

/// Added where a block begins: no length of a content, which is added where
/// that ends within a block.
constexpr std::uint64_t kNextBlock = 0xB10C'0000'0000'0001;

}  // namespace

void ContentLine::Append(std::uint64_t content, std::int64_t tokens) {
  if (tokens == 0) return;
  const std::int64_t into = block_.Remainder(TokenCount(num_tokens_)).value();
  if (into > 0 && content != content_) {
    // The block is shared only with lines that change here as well.
    before_ = Mix64(before_ + Mix64(content_));
    before_ = Mix64(before_ +
                    static_cast<std::uint64_t>(num_tokens_ - content_begin_));
    content_begin_ = num_tokens_;
    ids_.back() = Mix64(before_ + Mix64(content));
  }
  content_ = content;
  num_tokens_ += tokens;
  const auto blocks = static_cast<std::size_t>(
      block_.CoveringBlocks(TokenCount(num_tokens_)).value());
  while (ids_.size() < blocks) {
    content_begin_ = static_cast<std::int64_t>(ids_.size()) * block_.value();
    before_ = Mix64((ids_.empty() ? 0 : ids_.back()) + kNextBlock);
    ids_.push_back(Mix64(before_ + Mix64(content)));
  }
}

std::vector<std::uint64_t> ContentLine::IdsFrom(std::int64_t begin) const {
  return {ids_.begin() + block_.FullBlocks(TokenCount(begin)).value(),
          ids_.end()};
}

}  // namespace pagedkv::sim
