// SPDX-License-Identifier: Apache-2.0

/// The index against a map from token strings to lists of blocks, under random
/// operations, with and without colliding hashes.

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "block_table/prefix_index.h"

namespace pagedkv {
namespace {

constexpr std::int32_t kUnit = 2;
constexpr std::int32_t kNumBlocks = 160;
constexpr std::int32_t kMaxUnits = 300;  // longer than a node

struct Parameters {
  std::uint32_t edge_hash_mask;
  int num_groups;
  bool with_hashes;
  std::int32_t max_length;
};

// What a naive index would be: every content with its blocks, oldest first.
class NaiveIndex {
 public:
  using Key = std::pair<std::vector<TokenId>, int>;

  void Insert(const Key& key, BlockId block) {
    contents_[key].push_back(block);
    keys_[block] = key;
  }
  void Remove(BlockId block) {
    const auto found = keys_.find(block);
    if (found == keys_.end()) return;
    const auto blocks = contents_.find(found->second);
    std::erase(blocks->second, block);
    if (blocks->second.empty()) contents_.erase(blocks);
    keys_.erase(found);
  }
  [[nodiscard]] BlockId Find(const Key& key) const {
    const auto found = contents_.find(key);
    return found == contents_.end() ? kNullBlock : found->second.front();
  }
  [[nodiscard]] bool Contains(BlockId block) const {
    return keys_.contains(block);
  }
  [[nodiscard]] std::int64_t num_keys() const {
    return static_cast<std::int64_t>(contents_.size());
  }

 private:
  std::map<Key, std::vector<BlockId>> contents_;
  std::map<BlockId, Key> keys_;
};

class PrefixIndexModelTest : public testing::TestWithParam<Parameters> {
 protected:
  // Tokens of few values, so that prefixes are shared and diverge anywhere.
  std::vector<TokenId> RandomTokens() {
    const auto units = Below(GetParam().max_length) + 1;
    std::vector<TokenId> tokens;
    const bool is_long = Below(4) == 0;
    for (std::int64_t i = 0; i < units * kUnit; ++i) {
      // Now and then a long common stretch.
      tokens.push_back(
          is_long && Below(40) != 0 ? 7 : static_cast<TokenId>(Below(2)));
    }
    return tokens;
  }
  std::int64_t Below(std::int64_t bound) {
    return std::uniform_int_distribution<std::int64_t>(0, bound - 1)(random_);
  }
  static NaiveIndex::Key KeyAt(const std::vector<TokenId>& tokens,
                               std::int32_t position, int group) {
    return {{tokens.begin(), tokens.begin() + (position + 1) * kUnit}, group};
  }

  std::mt19937_64 random_{20261125};
};

TEST_P(PrefixIndexModelTest, AgreesWithAMapOfTokenStrings) {
  const Parameters& parameters = GetParam();
  PrefixIndexOptions options = {.num_blocks = BlockCount(kNumBlocks),
                                .num_groups = parameters.num_groups,
                                .unit = BlockSize(kUnit),
                                .secret = 42,
                                .edge_hash_mask = parameters.edge_hash_mask,
                                .hasher = std::nullopt};
  if (parameters.with_hashes) {
    options.hasher.emplace(BlockHashAlgorithm::kXxh3Cbor, "0");
  }
  PrefixIndex index(std::move(options));
  BlockHasher hasher(BlockHashAlgorithm::kXxh3Cbor, "0");
  NaiveIndex naive;
  std::vector<std::pair<PrefixIndex::Cursor, std::vector<TokenId>>> pinned;
  std::set<BlockId> unused;
  for (std::int32_t i = 1; i < kNumBlocks; ++i) unused.insert(BlockId(i));

  for (int step = 0; step < 6000; ++step) {
    const auto choice = Below(10);
    const std::vector<TokenId> tokens = RandomTokens();
    const auto units = static_cast<std::int32_t>(tokens.size() / kUnit);
    if (choice < 4) {  // a sequence goes on from where its prefix is known
      std::vector<PrefixIndex::Segment> path;
      const PrefixIndex::Cursor cursor =
          index.Extend({}, {tokens, nullptr}, units, path);
      index.Pin(cursor);
      std::int32_t expected_begin = 0;
      for (const PrefixIndex::Segment& segment : path) {
        ASSERT_EQ(segment.begin, expected_begin);
        expected_begin = segment.end;
        for (std::int32_t at = segment.begin; at < segment.end; ++at) {
          for (int group = 0; group < parameters.num_groups; ++group) {
            if (unused.empty() || Below(3) == 0) continue;
            const BlockId block = *unused.begin();
            unused.erase(unused.begin());
            ASSERT_TRUE(index.Insert(segment.node, at, group, block));
            naive.Insert(KeyAt(tokens, at, group), block);
          }
        }
      }
      ASSERT_EQ(expected_begin, units);
      pinned.emplace_back(cursor, tokens);
    } else if (choice < 7) {  // blocks leave, one or a few in a row
      const auto first = static_cast<std::int32_t>(1 + Below(kNumBlocks - 1));
      const auto last = std::min<std::int32_t>(
          first + static_cast<std::int32_t>(Below(30)), kNumBlocks - 1);
      for (std::int32_t i = last; i >= first; --i) {
        std::vector<PrefixIndex::Removed> removed;
        ASSERT_EQ(index.Contains(BlockId(i)), naive.Contains(BlockId(i)));
        index.Remove(BlockId(i), &removed);
        ASSERT_EQ(removed.size(), naive.Contains(BlockId(i)) ? 1u : 0u);
        naive.Remove(BlockId(i));
        unused.insert(BlockId(i));
      }
    } else if (choice < 9 && !pinned.empty()) {  // a sequence ends
      const auto at = static_cast<std::size_t>(
          Below(static_cast<std::int64_t>(pinned.size())));
      index.Unpin(pinned[at].first);
      pinned.erase(pinned.begin() + static_cast<std::ptrdiff_t>(at));
    }
    while (pinned.size() > 12) {
      index.Unpin(pinned.front().first);
      pinned.erase(pinned.begin());
    }
    ASSERT_EQ(index.CheckInvariants(), absl::OkStatus()) << "step " << step;
    ASSERT_EQ(index.num_keys(), naive.num_keys()) << "step " << step;

    // Whatever is cached of a random string and of one that is pinned.
    for (const std::vector<TokenId>& query :
         {tokens, pinned.empty() ? tokens : pinned[0].second}) {
      std::vector<PrefixIndex::Segment> path;
      const auto length = static_cast<std::int32_t>(query.size() / kUnit);
      const std::int32_t depth = index.Walk({query, nullptr}, length, path);
      BlockHash hash = hasher.root();
      for (const PrefixIndex::Segment& segment : path) {
        for (std::int32_t at = segment.begin; at < segment.end; ++at) {
          for (int group = 0; group < parameters.num_groups; ++group) {
            ASSERT_EQ(index.BlockAt(segment.node, at, group),
                      naive.Find(KeyAt(query, at, group)));
          }
          if (!parameters.with_hashes) continue;
          hash = hasher.Hash(hash,
                             std::span(query).subspan(
                                 static_cast<std::size_t>(at) * kUnit, kUnit));
          ASSERT_EQ(index.HashAt({segment.node, at + 1}), hash);
        }
      }
      for (std::int32_t at = depth; at < length; ++at) {
        for (int group = 0; group < parameters.num_groups; ++group) {
          ASSERT_EQ(naive.Find(KeyAt(query, at, group)), kNullBlock)
              << "step " << step << ": the walk ended at " << depth;
        }
      }
    }
  }
  for (const auto& [cursor, tokens] : pinned) index.Unpin(cursor);
  index.Clear();
  EXPECT_EQ(index.num_keys(), 0);
  EXPECT_EQ(index.num_nodes(), 1);
  EXPECT_EQ(index.CheckInvariants(), absl::OkStatus());
}

INSTANTIATE_TEST_SUITE_P(
    Everything, PrefixIndexModelTest,
    testing::Values(Parameters{~0u, 1, false, 12}, Parameters{~0u, 2, true, 12},
                    Parameters{~0u, 1, false, kMaxUnits},
                    Parameters{0u, 1, false, 12},   // every edge collides
                    Parameters{3u, 3, false, 40}),  // many do
    [](const testing::TestParamInfo<Parameters>& info) {
      return "mask_" + std::to_string(info.param.edge_hash_mask) + "_groups_" +
             std::to_string(info.param.num_groups) + "_length_" +
             std::to_string(info.param.max_length);
    });

}  // namespace
}  // namespace pagedkv
