// SPDX-License-Identifier: Apache-2.0
#include "block_table/extra_key_table.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr BlockSize kUnit{4};

void ExpectSound(const ExtraKeyTable& table) {
  const absl::Status status = table.CheckInvariants();
  ASSERT_TRUE(status.ok()) << status;
}

TEST(ExtraKeyTableTest, NoKeysHaveNoIds) {
  ExtraKeyTable table;
  const SequenceExtras extras = table.Acquire({}, kUnit);
  EXPECT_THAT(extras.leading, IsEmpty());
  EXPECT_EQ(extras.rest, kNoExtra);
  EXPECT_THAT(table.keys(kNoExtra), IsEmpty());
  table.Release(extras);
  ExpectSound(table);
}

TEST(ExtraKeyTableTest, KeysThatNobodyHoldsAreUnknown) {
  ExtraKeyTable table;
  const ContentKeys keys = {.adapter = "a"};
  EXPECT_EQ(table.Find(keys, kUnit).rest, kUnknownExtra);
  const SequenceExtras extras = table.Acquire(keys, kUnit);
  EXPECT_NE(extras.rest, kNoExtra);
  EXPECT_EQ(table.Find(keys, kUnit), extras);
  EXPECT_EQ(table.Acquire(keys, kUnit), extras);
  table.Release(extras);
  EXPECT_EQ(table.Find(keys, kUnit), extras);  // one holder is left
  table.Release(extras);
  EXPECT_EQ(table.Find(keys, kUnit).rest, kUnknownExtra);
  ExpectSound(table);
}

TEST(ExtraKeyTableTest, AnAdapterIsNotASaltOfTheSameName) {
  ExtraKeyTable table;
  const SequenceExtras adapter = table.Acquire({.adapter = "x"}, kUnit);
  const SequenceExtras salt =
      table.Acquire({.salts = {{"x", TokenCount(0)}}}, kUnit);
  ASSERT_EQ(salt.leading.size(), 1u);
  EXPECT_NE(salt.leading[0], adapter.rest);
  EXPECT_EQ(table.keys(salt.leading[0]), table.keys(adapter.rest));
  EXPECT_EQ(salt.rest, kNoExtra);  // what follows is told apart by its parent
  ExpectSound(table);
}

TEST(ExtraKeyTableTest, EachUnitHasTheKeysThatTouchIt) {
  ExtraKeyTable table;
  // An item over the tokens 3 to 9, a salt from token 6 on.
  const ContentKeys keys = {.items = {{"cat", TokenCount(3), TokenCount(7)}},
                            .salts = {{"s", TokenCount(6)}}};
  const SequenceExtras extras = table.Acquire(keys, kUnit);
  ASSERT_EQ(extras.leading.size(), 3u);
  EXPECT_THAT(table.keys(extras.leading[0]),
              ElementsAre(ExtraKey(ItemAtOffset("cat", 3))));
  EXPECT_THAT(table.keys(extras.leading[1]),
              ElementsAre(ExtraKey(ItemAtOffset("cat", -1)), ExtraKey("s")));
  EXPECT_THAT(table.keys(extras.leading[2]),
              ElementsAre(ExtraKey(ItemAtOffset("cat", -5))));
  EXPECT_EQ(extras.rest, kNoExtra);
  // One token earlier the same item is another key everywhere.
  ContentKeys shifted = keys;
  shifted.items[0].offset = TokenCount(2);
  EXPECT_THAT(table.Find(shifted, kUnit).leading, Each(kUnknownExtra));
}

TEST(ExtraKeyTableTest, EmbeddingsAreKeysOfTheirOwnUnitAndOfAllThatFollow) {
  ExtraKeyTable table;
  ContentKeys keys;
  keys.embedding_bytes_per_token = 2;
  keys.prompt_embeddings.resize(12);  // 6 tokens
  const SequenceExtras extras = table.Acquire(keys, kUnit);
  ASSERT_EQ(extras.leading.size(), 2u);
  EXPECT_NE(extras.leading[0], extras.leading[1]);
  EXPECT_NE(extras.rest, kNoExtra);
  keys.prompt_embeddings[11] = std::byte{1};
  const SequenceExtras other = table.Acquire(keys, kUnit);
  EXPECT_EQ(other.leading[0], extras.leading[0]);
  EXPECT_NE(other.leading[1], extras.leading[1]);
  EXPECT_EQ(other.rest, extras.rest);
}

// Against a count of the holders of each distinct list of keys.
TEST(ExtraKeyTableTest, IdsAreHeldByThoseWhoAcquiredThem) {
  constexpr std::uint64_t kSeed = 20261125;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  const auto below = [&random](int n) {
    return static_cast<int>(random() % static_cast<std::uint64_t>(n));
  };
  const auto any_keys = [&] {
    ContentKeys keys;
    const std::string names = "abc";
    const auto name = [&] {
      return std::string(1, names[static_cast<std::size_t>(below(3))]);
    };
    if (below(2) == 0) keys.adapter = name();
    for (int i = below(3); i > 0; --i) {
      keys.items.push_back(
          {name(), TokenCount(below(12)), TokenCount(1 + below(6))});
    }
    for (int i = below(3); i > 0; --i) {
      keys.salts.push_back({name(), TokenCount(below(12))});
    }
    if (below(4) == 0) {
      keys.embedding_bytes_per_token = 1;
      const int bytes = 1 + below(9);
      keys.prompt_embeddings.resize(static_cast<std::size_t>(bytes));
    }
    return keys;
  };
  using Named = std::pair<bool, ExtraKeys>;  // with an adapter or without
  const auto named = [](const ContentKeys& keys, std::size_t unit) {
    return Named(
        !keys.adapter.empty(),
        ExtraKeysOfBlock(keys, TokenCount(4 * static_cast<std::int64_t>(unit)),
                         kUnit));
  };
  ExtraKeyTable table;
  std::vector<std::pair<ContentKeys, SequenceExtras>> held;
  std::map<Named, int> holders;
  const auto count = [&](const ContentKeys& keys, std::size_t units, int by) {
    for (std::size_t unit = 0; unit <= units; ++unit) {
      const Named name = named(keys, unit);
      if (name.second.empty()) continue;
      holders[name] += by;
      if (holders[name] == 0) holders.erase(name);
    }
  };
  for (int step = 0; step < 20'000; ++step) {
    if (held.size() < 30 && (held.empty() || below(2) == 0)) {
      ContentKeys keys = any_keys();
      SequenceExtras extras;
      if (!held.empty() && below(4) == 0) {  // as a fork
        const std::size_t at =
            static_cast<std::size_t>(below(static_cast<int>(held.size())));
        std::tie(keys, extras) = held[at];
        table.Acquire(extras);
      } else {
        extras = table.Acquire(keys, kUnit);
      }
      count(keys, extras.leading.size(), 1);
      held.emplace_back(std::move(keys), std::move(extras));
    } else {
      const auto at = below(static_cast<int>(held.size()));
      const auto& [keys, extras] = held[static_cast<std::size_t>(at)];
      count(keys, extras.leading.size(), -1);
      table.Release(extras);
      held.erase(held.begin() + at);
    }
    ExpectSound(table);
    std::map<ExtraId, Named> names;
    for (const auto& [keys, extras] : held) {
      for (std::size_t unit = 0; unit <= extras.leading.size() + 2; ++unit) {
        const ExtraId id =
            unit < extras.leading.size() ? extras.leading[unit] : extras.rest;
        const Named name = named(keys, unit);
        ASSERT_EQ(id == kNoExtra, name.second.empty());
        if (id == kNoExtra) continue;
        ASSERT_EQ(table.keys(id), name.second);
        ASSERT_EQ(names.emplace(id, name).first->second, name);
      }
    }
    ASSERT_EQ(names.size(), holders.size());
    const ContentKeys keys = any_keys();
    const SequenceExtras found = table.Find(keys, kUnit);
    for (std::size_t unit = 0; unit < found.leading.size(); ++unit) {
      const Named name = named(keys, unit);
      const ExtraId id = found.leading[unit];
      ASSERT_EQ(id == kUnknownExtra,
                !name.second.empty() && !holders.contains(name));
      if (id != kUnknownExtra && id != kNoExtra) {
        ASSERT_EQ(names.at(id), name);
      }
    }
  }
  for (const auto& [keys, extras] : held) table.Release(extras);
  ExpectSound(table);
}

}  // namespace
}  // namespace pagedkv
