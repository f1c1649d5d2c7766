// SPDX-License-Identifier: Apache-2.0
//
// The rules against what they follow from: which tokens a token looks at.

#include "block_table/group_rules.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv {
namespace {

constexpr std::uint64_t kSeed = 20261125;

KvCacheGroupOptions Group(AttentionKind kind, int size, int window = 0,
                          int sinks = 0) {
  return {.block_size = BlockSize(size),
          .kind = kind,
          .window = TokenCount(window),
          .num_sink_tokens = TokenCount(sinks)};
}

std::string Text(const KvCacheGroupOptions& group) {
  return "kind " + std::to_string(static_cast<int>(group.kind)) +
         ", blocks of " + std::to_string(group.block_size.value()) +
         ", window " + std::to_string(group.window.value()) + ", sinks " +
         std::to_string(group.num_sink_tokens.value());
}

bool IsSink(const KvCacheGroupOptions& group, std::int64_t index) {
  return index * group.block_size.value() < group.num_sink_tokens.value();
}

// Whether the token at `position` looks at the one at `other`, before it. With
// state-space layers at nothing but the state after the last token.
bool LooksAt(const KvCacheGroupOptions& group, std::int64_t position,
             std::int64_t other) {
  const std::int64_t window = group.window.value();
  switch (group.kind) {
    case AttentionKind::kSlidingWindow:
      return position - other < window || other < group.num_sink_tokens.value();
    case AttentionKind::kChunkedLocal:
      return other / window == position / window;
    case AttentionKind::kStateSpace:
      return other == position - 1;
    default:
      return true;
  }
}

bool LooksAtBlock(const KvCacheGroupOptions& group, std::int64_t position,
                  std::int64_t index) {
  const std::int64_t size = group.block_size.value();
  for (std::int64_t other = index * size;
       other < std::min((index + 1) * size, position); ++other) {
    if (LooksAt(group, position, other)) return true;
  }
  return false;
}

class GroupRulesTest : public testing::Test {
 protected:
  GroupRulesTest() { std::printf("seed %d\n", static_cast<int>(kSeed)); }

  int Below(int n) {
    return static_cast<int>(random_() % static_cast<std::uint64_t>(n));
  }
  KvCacheGroupOptions AnyGroup() {
    constexpr int kSizes[] = {1, 2, 2, 3, 4, 4, 6, 8};
    const int size = kSizes[Below(8)];
    switch (Below(6)) {
      case 0:
        return Group(AttentionKind::kSlidingWindow, size, 2 + Below(16));
      case 1:
        return Group(AttentionKind::kSlidingWindow, size, 2 + Below(9),
                     Below(7));
      case 2:
        return Group(AttentionKind::kChunkedLocal, size, 1 + Below(12));
      case 3:
        return Group(AttentionKind::kStateSpace, size);
      case 4:
        return Group(AttentionKind::kLatent, size);
      default:
        return Group(AttentionKind::kFull, size);
    }
  }

  std::mt19937_64 random_{kSeed};
};

TEST_F(GroupRulesTest, WhatIsSkippedIsLookedAtByNobodyLater) {
  for (int i = 0; i < 300; ++i) {
    const KvCacheGroupOptions group = AnyGroup();
    SCOPED_TRACE(Text(group));
    for (std::int64_t computed = 0; computed < 60; ++computed) {
      const std::int64_t skipped =
          group_rules::SkippedBlocks(group, TokenCount(computed)).value();
      for (std::int64_t later = computed; later < computed + 20; ++later) {
        for (std::int64_t index = 0; index < skipped; ++index) {
          ASSERT_TRUE(IsSink(group, index) ||
                      !LooksAtBlock(group, later, index) ||
                      group.kind == AttentionKind::kStateSpace)
              << "token " << later << ", block " << index;
        }
      }
      // And no fewer: the next token looks at the first that is kept.
      const bool is_at_end = skipped * group.block_size.value() == computed;
      if (!is_at_end) {
        ASSERT_TRUE(LooksAtBlock(group, computed, skipped) ||
                    (skipped + 1) * group.block_size.value() > computed)
            << computed;
      }
    }
  }
}

TEST_F(GroupRulesTest, TheNextSkipIsTheFirstWithMoreBlocks) {
  for (int i = 0; i < 300; ++i) {
    const KvCacheGroupOptions group = AnyGroup();
    SCOPED_TRACE(Text(group));
    for (std::int64_t computed = 0; computed < 60; ++computed) {
      const BlockCount now =
          group_rules::SkippedBlocks(group, TokenCount(computed));
      const std::optional<TokenCount> next =
          group_rules::NextSkip(group, TokenCount(computed));
      std::int64_t first = computed;
      while (first < 120 &&
             group_rules::SkippedBlocks(group, TokenCount(first)) <= now) {
        ++first;
      }
      ASSERT_EQ(next.has_value(), first < 120) << computed;
      if (next.has_value()) {
        ASSERT_EQ(next->value(), first) << computed;
      }
    }
  }
}

TEST_F(GroupRulesTest, ASequenceNeverHoldsMoreThanTheMost) {
  constexpr std::int64_t kMaxTokens = 80;
  for (int i = 0; i < 3000; ++i) {
    const KvCacheGroupOptions group = AnyGroup();
    const std::int64_t in_flight = 1 + Below(12);
    SCOPED_TRACE(Text(group));
    const std::int64_t total = 1 + Below(kMaxTokens);
    const BlockCount most =
        group_rules::MostBlocks(group, TokenCount(total), TokenCount(in_flight),
                                TokenCount(kMaxTokens));
    const bool is_state = group.kind == AttentionKind::kStateSpace;
    for (std::int64_t computed = 0; computed < total;) {
      const std::int64_t count =
          std::min(1 + std::int64_t{Below(static_cast<int>(in_flight))},
                   total - computed);
      const std::int64_t size = group.block_size.value();
      const std::int64_t end = (computed + count + size - 1) / size;
      const std::int64_t skipped =
          group_rules::SkippedBlocks(group, TokenCount(computed)).value();
      std::int64_t held = 0;
      for (std::int64_t index = 0; index < end; ++index) {
        if (index < skipped && !IsSink(group, index)) continue;
        // Of states only the one that is read, and the one that is written.
        if (is_state && index != end - 1 && index != (computed - 1) / size) {
          continue;
        }
        ++held;
      }
      ASSERT_LE(held, most.value()) << computed << " + " << count << " of "
                                    << total << ", in flight " << in_flight;
      computed += count;
    }
  }
}

TEST_F(GroupRulesTest, AllThatAHitCanNeedIsWorthIndexing) {
  for (int i = 0; i < 300; ++i) {
    const KvCacheGroupOptions group = AnyGroup();
    const std::int64_t size = group.block_size.value();
    const std::int64_t alignment = std::lcm(size, 1 + Below(8));
    SCOPED_TRACE(Text(group) + ", alignment " + std::to_string(alignment));
    for (std::int64_t index = 0; index < 40; ++index) {
      bool is_needed = group.kind != AttentionKind::kSlidingWindow;
      for (std::int64_t hit = alignment; hit < 400; hit += alignment) {
        is_needed |=
            (index + 1) * size <= hit && LooksAtBlock(group, hit, index);
      }
      ASSERT_EQ(
          group_rules::IsWorthIndexing(group, index, TokenCount(alignment)),
          is_needed)
          << index;
    }
  }
}

// The longest aligned length that each group could serve, by trying all.
TEST_F(GroupRulesTest, TheHitIsTheLongestThatEveryGroupServes) {
  int hits = 0;
  for (int i = 0; i < 60'000; ++i) {
    std::vector<KvCacheGroupOptions> groups;
    for (int n = 1 + Below(4); n > 0; --n) {
      groups.push_back(!groups.empty() && Below(4) == 0 ? groups[0]
                                                        : AnyGroup());
    }
    if (Below(8) == 0) groups.push_back(Group(AttentionKind::kCross, 5));
    std::int64_t unit = 0;
    std::int64_t alignment = 1;
    for (const KvCacheGroupOptions& group : groups) {
      if (group.kind == AttentionKind::kCross) continue;
      unit = std::gcd(unit, std::int64_t{group.block_size.value()});
      alignment = std::lcm(alignment, std::int64_t{group.block_size.value()});
    }
    if (unit % 2 == 0 && Below(3) == 0) unit /= 2;
    const int units = Below(60);
    const int density = 1 + Below(12);
    std::vector<std::vector<BlockId>> lanes(groups.size());
    for (std::size_t g = 0; g < groups.size(); ++g) {
      for (int u = 0; u < units; ++u) {
        const bool ends = (u + 1) * unit % groups[g].block_size.value() == 0;
        lanes[g].push_back(BlockId(ends && Below(density) != 0
                                       ? static_cast<int>(g) * 100 + u + 1
                                       : 0));
      }
    }
    const std::int64_t most =
        units == 0 ? 0 : Below(units * static_cast<int>(unit) + 1);
    const auto at = [&](std::size_t g, std::int64_t index) {
      const std::int64_t position =
          (index + 1) * groups[g].block_size.value() / unit - 1;
      return lanes[g][static_cast<std::size_t>(position)];
    };

    std::int64_t expected = most / alignment * alignment;
    for (; expected > 0; expected -= alignment) {
      bool all = true;
      for (std::size_t g = 0; g < groups.size(); ++g) {
        if (groups[g].kind == AttentionKind::kCross) continue;
        const std::int64_t end = expected / groups[g].block_size.value();
        for (std::int64_t index = 0; index < end; ++index) {
          all &= !LooksAtBlock(groups[g], expected, index) ||
                 at(g, index) != kNullBlock;
        }
      }
      if (all) break;
    }
    hits += expected > 0 ? 1 : 0;

    const group_rules::Matcher matcher(
        groups, BlockSize(static_cast<std::int32_t>(unit)),
        TokenCount(alignment));
    std::vector<std::vector<BlockId>> blocks(groups.size());
    const TokenCount hit = matcher.Match(lanes, TokenCount(most), blocks);
    std::string text;
    for (const KvCacheGroupOptions& group : groups) text += Text(group) + '\n';
    ASSERT_EQ(hit.value(), expected)
        << text << "most " << most << ", unit " << unit << ", case " << i;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      if (groups[g].kind == AttentionKind::kCross) {
        ASSERT_TRUE(blocks[g].empty());
        continue;
      }
      const std::int64_t end = expected / groups[g].block_size.value();
      ASSERT_EQ(std::ssize(blocks[g]), end) << text << "group " << g;
      for (std::int64_t index = 0; index < end; ++index) {
        const BlockId block = blocks[g][static_cast<std::size_t>(index)];
        if (LooksAtBlock(groups[g], expected, index)) {
          ASSERT_EQ(block, at(g, index))
              << text << "group " << g << ", " << index;
        } else {
          // What nobody looks at may be named, but only as what it is.
          ASSERT_TRUE(block == kNullBlock || block == at(g, index));
        }
      }
    }
  }
  EXPECT_GT(hits, 10'000);
}

}  // namespace
}  // namespace pagedkv
