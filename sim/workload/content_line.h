// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_CONTENT_LINE_H_
#define SIM_WORKLOAD_CONTENT_LINE_H_

#include <cstdint>
#include <vector>

#include "pagedkv/types.h"

namespace pagedkv::sim {

/// The context of a generated session, as block ids: a line of tokens that
/// grows at its end. Its tokens come from contents, each a name for an endless
/// text: system prompts and documents that many sessions show, and what is said
/// in one session only. Two lines have equal leading ids exactly as far as they
/// have equal full blocks: an id stands for all that is before it as well.
///
/// The id of the last, partial block is that of the block when more of the same
/// content has filled it, so a prompt that ends within a block has the id that
/// the block has in the prompts that go on from it. Thread-compatible.
class ContentLine {
 public:
  explicit ContentLine(BlockSize block) : block_(block) {}

  /// Goes on with `tokens` >= 0 of `content`: from where it was left, if it is
  /// what the line ends with, else from its start.
  void Append(std::uint64_t content, std::int64_t tokens);

  [[nodiscard]] std::int64_t num_tokens() const { return num_tokens_; }
  /// One per block, the last, partial one included.
  [[nodiscard]] const std::vector<std::uint64_t>& ids() const { return ids_; }
  /// Those of the blocks that hold the tokens from position `begin` on.
  [[nodiscard]] std::vector<std::uint64_t> IdsFrom(std::int64_t begin) const;

 private:
  BlockSize block_;
  std::int64_t num_tokens_ = 0;
  std::vector<std::uint64_t> ids_;
  std::uint64_t content_ = 0;  // of the last token
  // Of the block that the end lies in: what is before it, and the contents in
  // it that have ended, with their lengths.
  std::uint64_t before_ = 0;
  std::int64_t content_begin_ = 0;  // position in the line, or of the block
};

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_CONTENT_LINE_H_
