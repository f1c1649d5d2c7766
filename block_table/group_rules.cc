// SPDX-License-Identifier: Apache-2.0
#include "block_table/group_rules.h"

#include <algorithm>
#include <numeric>

namespace pagedkv::group_rules {
namespace {

// Tokens that no token from position `computed` on looks at.
TokenCount SkippedTokens(const KvCacheGroupOptions& group,
                         TokenCount computed) {
  switch (group.kind) {
    case AttentionKind::kSlidingWindow:
      return std::max(TokenCount(0), computed - group.window + TokenCount(1));
    case AttentionKind::kChunkedLocal:
      return TokenCount(computed.value() / group.window.value() *
                        group.window.value());
    case AttentionKind::kStateSpace:
      // The last state is read once more, to compute the next.
      return std::max(TokenCount(0), computed - TokenCount(1));
    default:
      return TokenCount(0);
  }
}

}  // namespace

BlockCount SkippedBlocks(const KvCacheGroupOptions& group,
                         TokenCount computed) {
  return group.block_size.FullBlocks(SkippedTokens(group, computed));
}

std::optional<TokenCount> NextSkip(const KvCacheGroupOptions& group,
                                   TokenCount computed) {
  const TokenCount skipped =
      group.block_size.Slots(SkippedBlocks(group, computed) + BlockCount(1));
  switch (group.kind) {
    case AttentionKind::kSlidingWindow:
      return skipped + group.window - TokenCount(1);
    case AttentionKind::kChunkedLocal: {
      const std::int64_t window = group.window.value();
      return TokenCount((skipped.value() + window - 1) / window * window);
    }
    case AttentionKind::kStateSpace:
      return skipped + TokenCount(1);
    default:
      return std::nullopt;
  }
}

BlockCount SinkBlocks(const KvCacheGroupOptions& group) {
  return group.block_size.CoveringBlocks(group.num_sink_tokens);
}

BlockCount MostBlocks(const KvCacheGroupOptions& group, TokenCount num_tokens,
                      TokenCount max_in_flight,
                      TokenCount max_sequence_tokens) {
  const BlockCount all = group.block_size.CoveringBlocks(num_tokens);
  // At once: the last state, and the one that is computed from it.
  if (group.kind == AttentionKind::kStateSpace) {
    return std::min(all, BlockCount(2));
  }
  if (max_in_flight == TokenCount(0)) return all;
  if (group.kind == AttentionKind::kSlidingWindow) {
    const TokenCount held = std::min(
        group.window - TokenCount(1) + max_in_flight, max_sequence_tokens);
    return std::min(all, group.block_size.CoveringBlocks(held) + BlockCount(1) +
                             SinkBlocks(group));
  }
  if (group.kind == AttentionKind::kChunkedLocal) {
    // A chunk that does not begin with a block has a part of one more.
    const bool is_split =
        group.block_size.Remainder(group.window) > TokenCount(0);
    return std::min(
        all, group.block_size.CoveringBlocks(
                 std::min(group.window + max_in_flight, max_sequence_tokens)) +
                 BlockCount(is_split ? 1 : 0));
  }
  return all;
}

bool IsWorthIndexing(const KvCacheGroupOptions& group, std::int64_t index,
                     TokenCount alignment) {
  if (group.kind != AttentionKind::kSlidingWindow) return true;
  if (index < SinkBlocks(group).value()) return true;
  const std::int64_t needed =
      group.block_size.CoveringBlocks(group.window - TokenCount(1)).value();
  const std::int64_t period = group.block_size.FullBlocks(alignment).value();
  return needed >= period || index % period >= period - needed;
}

// The hit of one spec, as the rules of its kind have it.
class Matcher::Lookup {
 public:
  Lookup(const Spec& spec, std::span<const std::vector<BlockId>> lanes,
         TokenCount alignment, std::span<std::vector<BlockId>> blocks)
      : spec_(spec), lanes_(lanes), alignment_(alignment), blocks_(blocks) {}

  TokenCount Find(TokenCount max_tokens) {
    const BlockCount most = size().FullBlocks(max_tokens);
    switch (spec_.options.kind) {
      case AttentionKind::kSlidingWindow:
        FindWindow(most.value());
        break;
      case AttentionKind::kChunkedLocal:
        FindInChunk(max_tokens);
        break;
      case AttentionKind::kStateSpace:
        FindLast(most.value());
        break;
      default:
        FindLeading(0, most.value());
    }
    return size().Slots(BlockCount(length()));
  }

 private:
  [[nodiscard]] BlockSize size() const { return spec_.options.block_size; }
  [[nodiscard]] std::int64_t length() const {
    return static_cast<std::int64_t>(blocks_[spec_.groups[0]].size());
  }
  [[nodiscard]] BlockId At(std::size_t group, std::int64_t index) const {
    const std::int64_t unit = (index + 1) * spec_.units_per_block - 1;
    const std::vector<BlockId>& lane = lanes_[group];
    return unit < static_cast<std::int64_t>(lane.size())
               ? lane[static_cast<std::size_t>(unit)]
               : kNullBlock;
  }
  [[nodiscard]] bool IsCached(std::int64_t index) const {
    return std::all_of(
        spec_.groups.begin(), spec_.groups.end(),
        [&](std::size_t group) { return At(group, index) != kNullBlock; });
  }
  [[nodiscard]] bool IsAligned(std::int64_t length) const {
    return size().Slots(BlockCount(length)).value() % alignment_.value() == 0;
  }
  void Resize(std::int64_t length) {
    for (std::size_t group : spec_.groups) {
      blocks_[group].resize(static_cast<std::size_t>(length), kNullBlock);
    }
  }
  void Clear(std::int64_t length) {
    Resize(0);
    Resize(length);
  }
  void Take(std::int64_t index) {
    for (std::size_t group : spec_.groups) {
      blocks_[group][static_cast<std::size_t>(index)] = At(group, index);
    }
  }
  void PopUntilAligned() {
    std::int64_t aligned = length();
    while (!IsAligned(aligned)) --aligned;
    Resize(aligned);
  }

  // Blocks from `start` on up to the first that is missing; none before it is
  // looked at, and so all count as found.
  void FindLeading(std::int64_t start, std::int64_t most) {
    Clear(std::min(start, most));
    for (std::int64_t i = start; i < most && IsCached(i); ++i) {
      Resize(i + 1);
      Take(i);
    }
    PopUntilAligned();
  }

  // Nothing before the chunk of the next token is looked at. A hit that ends
  // before the chunk that it was looked for in ends in an earlier one.
  void FindInChunk(TokenCount max_tokens) {
    const std::int64_t window = spec_.options.window.value();
    for (;;) {
      const TokenCount chunk(max_tokens.value() / window * window);
      FindLeading(size().FullBlocks(chunk).value(),
                  size().FullBlocks(max_tokens).value());
      max_tokens = size().Slots(BlockCount(length()));
      if (max_tokens >= chunk) return;
    }
  }

  // The rightmost run that fills a window, else the run at the very start.
  void FindWindow(std::int64_t most) {
    const std::int64_t needed =
        size().CoveringBlocks(spec_.options.window - TokenCount(1)).value();
    const std::int64_t sinks = SinkBlocks(spec_.options).value();
    std::int64_t num_sinks = 0;
    while (num_sinks < std::min(sinks, most) && IsCached(num_sinks)) {
      ++num_sinks;
    }
    if (num_sinks < std::min(sinks, most)) return FindLeading(0, num_sinks);
    Clear(most);
    std::int64_t run = 0;
    bool found = false;
    for (std::int64_t i = most - 1; i >= 0 && !found; --i) {
      if (!IsCached(i)) {
        run = 0;
        continue;
      }
      if (run == 0 && !IsAligned(i + 1)) continue;
      Take(i);
      ++run;
      if (run >= needed) {
        Resize(i + run);
        found = true;
      }
    }
    if (!found) {
      Resize(run);
      PopUntilAligned();
    }
    for (std::int64_t i = 0; i < std::min(sinks, length()); ++i) Take(i);
  }

  // The last state that is there; those before it are not needed.
  void FindLast(std::int64_t most) {
    std::int64_t i = most - 1;
    while (i >= 0 && !(IsCached(i) && IsAligned(i + 1))) --i;
    Clear(i + 1);
    if (i >= 0) Take(i);
  }

  const Spec& spec_;
  std::span<const std::vector<BlockId>> lanes_;
  TokenCount alignment_;
  std::span<std::vector<BlockId>> blocks_;
};

Matcher::Matcher(std::span<const KvCacheGroupOptions> groups, BlockSize unit,
                 TokenCount alignment)
    : alignment_(alignment) {
  // Those that keep all come first: what they lack shortens every hit.
  for (const bool keeps_all : {true, false}) {
    for (std::size_t group = 0; group < groups.size(); ++group) {
      const KvCacheGroupOptions& options = groups[group];
      if (!IsShareable(options) || KeepsAll(options) != keeps_all) continue;
      const auto equal = std::find_if(
          specs_.begin(), specs_.end(),
          [&](const Spec& spec) { return spec.options == options; });
      if (equal != specs_.end()) {
        equal->groups.push_back(group);
      } else {
        specs_.push_back(
            {options, options.block_size.value() / unit.value(), {group}});
      }
    }
  }
}

TokenCount Matcher::Match(std::span<const std::vector<BlockId>> lanes,
                          TokenCount max_tokens,
                          std::span<std::vector<BlockId>> blocks) const {
  if (specs_.empty()) return TokenCount(0);
  if (specs_.size() == 1) {
    return Lookup(specs_[0], lanes, alignment_, blocks).Find(max_tokens);
  }
  // What one kind lacks shortens the hit of the others, which may then end
  // where they lack something themselves: until nothing changes.
  const bool is_simple = specs_.size() == 2 && KeepsAll(specs_[0].options);
  TokenCount hit = max_tokens;
  for (bool first = true;; first = false) {
    TokenCount current = hit;
    for (const Spec& spec : specs_) {
      if (KeepsAll(spec.options) && !first) {
        const auto found =
            static_cast<std::int64_t>(blocks[spec.groups[0]].size());
        const BlockSize size = spec.options.block_size;
        current = std::min(size.Slots(size.FullBlocks(current)),
                           size.Slots(BlockCount(found)));
      } else {
        current = Lookup(spec, lanes, alignment_, blocks).Find(current);
      }
    }
    if (current >= hit) break;
    hit = current;
    if (is_simple) break;
  }
  for (const Spec& spec : specs_) {
    const auto length = static_cast<std::size_t>(
        spec.options.block_size.CoveringBlocks(hit).value());
    for (std::size_t group : spec.groups) {
      if (blocks[group].size() > length) blocks[group].resize(length);
    }
  }
  return hit;
}

}  // namespace pagedkv::group_rules
