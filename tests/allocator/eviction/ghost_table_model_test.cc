// SPDX-License-Identifier: Apache-2.0
//
// Random operations on a GhostTable and on lists of contents, which must agree.

#include <algorithm>
#include <cstdint>
#include <list>
#include <random>
#include <vector>

#include "gtest/gtest.h"

#include "allocator/eviction/ghost_table.h"

namespace pagedkv {
namespace {

class GhostTableModelTest : public testing::TestWithParam<std::uint64_t> {};

TEST_P(GhostTableModelTest, AgreesWithANaiveReference) {
  constexpr std::int64_t kCapacity = 13;
  std::mt19937_64 random(GetParam());
  GhostTable table(kCapacity, 2);
  std::vector<std::list<std::uint64_t>> lists(2);
  // Few contents, so that they come again, and many that share a place.
  const auto any_content = [&] {
    return random() % 40 * 0xF1DE83E19937733DULL;
  };
  for (int i = 0; i < 50000; ++i) {
    SCOPED_TRACE(testing::Message() << "operation " << i);
    const std::uint64_t content = any_content();
    const std::size_t list = random() % 2;
    switch (random() % 4) {
      case 0:
      case 1:
        lists[0].remove(content);
        lists[1].remove(content);
        if (std::ssize(lists[0]) + std::ssize(lists[1]) == kCapacity) {
          lists[lists[0].size() < lists[1].size() ? 1 : 0].pop_front();
        }
        lists[list].push_back(content);
        table.Push(list, content);
        break;
      case 2:
        if (const GhostId ghost = table.Find(content); ghost != kNoGhost) {
          table.Erase(ghost);
        }
        lists[0].remove(content);
        lists[1].remove(content);
        break;
      default:
        if (table.size(list) > 0) {
          table.EraseOldest(list);
          lists[list].pop_front();
        }
    }
    ASSERT_TRUE(table.CheckInvariants().ok()) << table.CheckInvariants();
    for (std::size_t which = 0; which < 2; ++which) {
      ASSERT_EQ(table.size(which), std::ssize(lists[which]));
      for (std::uint64_t remembered : lists[which]) {
        const GhostId ghost = table.Find(remembered);
        ASSERT_NE(ghost, kNoGhost);
        ASSERT_EQ(table.list(ghost), which);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, GhostTableModelTest, testing::Values(1, 2, 3));

TEST(GhostTableTest, AMarkEndsWithItsGhost) {
  GhostTable table(4, 1);
  table.Push(0, 7);
  EXPECT_FALSE(table.marked(table.Find(7)));
  table.Mark(table.Find(7));
  EXPECT_TRUE(table.marked(table.Find(7)));
  table.Push(0, 7);
  EXPECT_FALSE(table.marked(table.Find(7)));
}

}  // namespace
}  // namespace pagedkv
