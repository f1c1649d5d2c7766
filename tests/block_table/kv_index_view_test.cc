// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_index_view.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

BlockHash Hash(std::uint8_t number) {
  const std::uint8_t bytes[] = {0, 0, 0, 0, 0, 0, 0, number};
  return BlockHash(bytes);
}

KvEvent Stored(std::vector<BlockHash> hashes, int group = 0) {
  return BlocksStored{.group = group, .hashes = std::move(hashes)};
}

KvEvent Removed(std::vector<BlockHash> hashes, int group = 0) {
  return BlocksRemoved{.group = group, .hashes = std::move(hashes)};
}

TEST(KvIndexViewTest, CountsBlocksWithTheSameContent) {
  KvIndexView view;
  ASSERT_TRUE(view.Apply({0,
                          {Stored({Hash(1), Hash(2)}), Stored({Hash(1)}),
                           Stored({Hash(1)}, 1)}})
                  .ok());
  EXPECT_EQ(view.Count(0, "GPU", Hash(1)), 2);
  EXPECT_EQ(view.Count(1, "GPU", Hash(1)), 1);
  EXPECT_EQ(view.Count(0, "CPU", Hash(1)), 0);
  EXPECT_EQ(view.num_blocks(), 4);
  ASSERT_TRUE(view.Apply({3, {Removed({Hash(1)})}}).ok());
  EXPECT_EQ(view.Count(0, "GPU", Hash(1)), 1);
  view.CheckInvariants();
  ASSERT_TRUE(view.Apply({4, {AllBlocksCleared{}, Stored({Hash(3)})}}).ok());
  EXPECT_EQ(view.num_blocks(), 1);
  EXPECT_EQ(view.Count(0, "GPU", 3), 1);
  EXPECT_EQ(view.next_sequence(), 6);
  view.CheckInvariants();
}

TEST(KvIndexViewTest, AGapIsRefusedWithTheExpectedAndTheFoundNumber) {
  KvIndexView view;
  ASSERT_TRUE(view.Apply({0, {Stored({Hash(1)})}}).ok());
  for (const std::uint64_t found : {0u, 3u}) {
    const absl::Status status = view.Apply({found, {Stored({Hash(2)})}});
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(
        std::string(status.message()),
        HasSubstr("expected event 1, found event " + std::to_string(found)));
  }
  EXPECT_EQ(view.next_sequence(), 1);
  EXPECT_EQ(view.num_blocks(), 1);
}

TEST(KvIndexViewTest, ABatchThatRemovesWhatIsNotThereChangesNothing) {
  KvIndexView view;
  ASSERT_TRUE(view.Apply({0, {Stored({Hash(1), Hash(2)})}}).ok());
  const KvIndexSnapshot before = view.Snapshot();
  const std::vector<std::vector<KvEvent>> batches = {
      {Removed({Hash(1), Hash(9)})},
      {Removed({Hash(1)}), Stored({Hash(3)}, 1), Removed({Hash(1)})},
      {Removed({Hash(2)}), AllBlocksCleared{}, Stored({Hash(4)}),
       AllBlocksCleared{}, Removed({Hash(1)})},
  };
  for (const std::vector<KvEvent>& batch : batches) {
    const absl::Status status = view.Apply({1, batch});
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("event " + std::to_string(batch.size()) +
                          ": it removes block"));
    EXPECT_EQ(view.Snapshot(), before);
    view.CheckInvariants();
  }
}

TEST(KvIndexViewTest, ASnapshotIsSortedAndBeginsInTheMiddle) {
  KvIndexView view;
  ASSERT_TRUE(view.Apply({0,
                          {Stored({Hash(2)}, 1), Stored({Hash(5)}),
                           BlocksStored{.hashes = {Hash(1)}, .tier = "CPU"},
                           Stored({Hash(3), Hash(5)})}})
                  .ok());
  const KvIndexSnapshot snapshot = view.Snapshot();
  EXPECT_EQ(snapshot.next_sequence, 4);
  EXPECT_THAT(
      snapshot.entries,
      ElementsAre(KvIndexEntry{0, "CPU", 1, 1}, KvIndexEntry{0, "GPU", 3, 1},
                  KvIndexEntry{0, "GPU", 5, 2}, KvIndexEntry{1, "GPU", 2, 1}));
  auto restored = KvIndexView::Create(snapshot);
  ASSERT_TRUE(restored.ok()) << restored.status();
  restored->CheckInvariants();
  EXPECT_EQ(restored->Snapshot(), snapshot);
  EXPECT_TRUE(restored->Apply({4, {Removed({Hash(5), Hash(5)})}}).ok());
}

TEST(KvIndexViewTest, ASnapshotThatWasAlteredIsRefused) {
  KvIndexView view;
  ASSERT_TRUE(view.Apply({0, {Stored({Hash(1), Hash(2)})}}).ok());
  const KvIndexSnapshot good = view.Snapshot();
  const auto complaint = [](const KvIndexSnapshot& snapshot) {
    const auto restored = KvIndexView::Create(snapshot);
    EXPECT_EQ(restored.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(restored.status().message());
  };
  KvIndexSnapshot bad = good;
  bad.entries.pop_back();
  EXPECT_THAT(complaint(bad), HasSubstr("digest"));
  bad = good;
  bad.entries[1].hash = 7;
  EXPECT_THAT(complaint(bad), HasSubstr("digest"));
  bad = good;
  bad.entries[1].count = 2;
  EXPECT_THAT(complaint(bad), HasSubstr("digest"));
  bad.entries[1].count = 0;
  EXPECT_THAT(complaint(bad), HasSubstr("entry 1 has group 0 and count 0"));
  bad = good;
  bad.entries[0].group = -1;
  EXPECT_THAT(complaint(bad), HasSubstr("entry 0 has group -1"));
  bad = good;
  bad.entries[0].hash = 2;
  EXPECT_THAT(complaint(bad), HasSubstr("entry 1 does not come after"));
}

}  // namespace
}  // namespace pagedkv
