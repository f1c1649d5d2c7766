// SPDX-License-Identifier: Apache-2.0
// Lines of random contents against the tokens themselves: ids are equal exactly
// as far as full blocks of tokens are.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "sim/workload/content_line.h"
#include "sim/workload/random.h"

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kBlock = 4;

/// A token: which content, and which of its tokens.
using Tokens = std::vector<std::pair<std::uint64_t, std::int64_t>>;

struct Line {
  ContentLine ids{BlockSize(kBlock)};
  Tokens tokens;
  std::int64_t into = 0;  // of the content that it ends with

  void Append(std::uint64_t content, std::int64_t count) {
    if (count == 0) return;
    if (tokens.empty() || tokens.back().first != content) into = 0;
    ids.Append(content, count);
    for (std::int64_t i = 0; i < count; ++i) {
      tokens.emplace_back(content, into++);
    }
  }
};

TEST(ContentLineModelTest, IdsAreEqualAsFarAsFullBlocksAre) {
  constexpr std::uint64_t kSeed = 11;
  SCOPED_TRACE(kSeed);
  Random random(kSeed, 0);
  std::vector<Line> lines(1);
  for (int step = 0; step < 400; ++step) {
    // A line goes on from a start that others have as well.
    Line line = lines[random.Word() % lines.size()];
    const int pieces = static_cast<int>(random.Word() % 4);
    for (int i = 0; i < pieces; ++i) {
      line.Append(random.Word() % 3, random.Word() % 11);
    }
    ASSERT_EQ(line.ids.num_tokens(),
              static_cast<std::int64_t>(line.tokens.size()));
    ASSERT_EQ(line.ids.ids().size(), (line.tokens.size() + 3) / 4);
    lines.push_back(std::move(line));
  }
  std::size_t shared = 0;
  for (const Line& a : lines) {
    for (const Line& b : lines) {
      const auto [end, other] = std::mismatch(a.tokens.begin(), a.tokens.end(),
                                              b.tokens.begin(), b.tokens.end());
      const std::size_t equal =
          static_cast<std::size_t>(end - a.tokens.begin()) / kBlock;
      const std::size_t full =
          std::min(a.tokens.size(), b.tokens.size()) / kBlock;
      std::size_t same = 0;
      while (same < full && a.ids.ids()[same] == b.ids.ids()[same]) ++same;
      ASSERT_EQ(same, equal);
      shared += equal;
    }
  }
  EXPECT_GT(shared, 1000U);  // there was something to share
}

TEST(ContentLineModelTest, AnIdStandsForAllThatIsBeforeIt) {
  Random random(12, 0);
  std::map<std::uint64_t, Tokens> prefixes;
  for (int i = 0; i < 500; ++i) {
    Line line;
    for (int piece = 0; piece < 4; ++piece) {
      line.Append(random.Word() % 2, random.Word() % 9);
    }
    for (std::size_t block = 0; (block + 1) * kBlock <= line.tokens.size();
         ++block) {
      const Tokens prefix(line.tokens.begin(),
                          line.tokens.begin() + static_cast<std::ptrdiff_t>(
                                                    (block + 1) * kBlock));
      const auto [entry, added] =
          prefixes.try_emplace(line.ids.ids()[block], prefix);
      ASSERT_EQ(entry->second, prefix);
    }
  }
}

TEST(ContentLineModelTest, APartialBlockHasTheIdOfTheFullOne) {
  Line line;
  line.Append(1, 6);
  line.Append(2, 1);
  const std::vector<std::uint64_t> before = line.ids.ids();
  EXPECT_EQ(line.ids.IdsFrom(7), std::vector<std::uint64_t>{before[1]});
  EXPECT_TRUE(line.ids.IdsFrom(8).empty());
  line.Append(2, 5);
  EXPECT_EQ(line.ids.ids()[1], before[1]);
  EXPECT_EQ(line.ids.ids().size(), 3U);
}

}  // namespace
}  // namespace pagedkv::sim
