// SPDX-License-Identifier: Apache-2.0
//
// Random events go through a log, are encoded and decoded, and reach a
// KvIndexView and a naive multiset; some batches get lost, come twice, or
// remove what is not there. After each step the view must hold what the
// multiset holds, and its digest be the publisher's, which follows the same
// events one by one.

#include <array>
#include <cstdint>
#include <iostream>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/kv_event_encoding.h"
#include "pagedkv/kv_event_log.h"
#include "pagedkv/kv_index_view.h"

namespace pagedkv {
namespace {

using Block = std::tuple<int, std::string, std::uint64_t>;

// A whole hash, of which events may carry the last 8 bytes only.
BlockHash Hash(std::uint64_t number) {
  std::array<std::uint8_t, 32> bytes;
  bytes.fill(0xee);
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[24 + i] = static_cast<std::uint8_t>(number >> (56 - 8 * i));
  }
  return BlockHash(bytes);
}

class Publisher {
 public:
  explicit Publisher(std::uint64_t seed) : random_(seed) {}

  std::uint64_t Random(std::uint64_t below) { return random_() % below; }

  void Step() {
    if (Random(100) == 0) {
      blocks_.clear();
      digest_ = {};
      log_.Append(AllBlocksCleared{});
    } else if (blocks_.empty() || Random(2) == 0) {
      Store();
    } else {
      Remove();
    }
  }

  [[nodiscard]] std::multiset<Block>& blocks() { return blocks_; }
  [[nodiscard]] const IndexDigest& digest() const { return digest_; }
  KvEventLog& log() { return log_; }

 private:
  std::string Tier() { return Random(4) == 0 ? "CPU" : "GPU"; }

  void Store() {
    BlocksStored event{
        .group = static_cast<int>(Random(3)), .block_size = 16, .tier = Tier()};
    for (std::uint64_t i = Random(5); i > 0; --i) {
      const std::uint64_t number = Random(30);
      event.hashes.push_back(Hash(number));
      blocks_.emplace(event.group, event.tier, number);
      digest_.Add(event.group, event.tier, Hash(number));
    }
    log_.Append(std::move(event));
  }

  void Remove() {
    auto block = blocks_.begin();
    std::advance(block, Random(blocks_.size()));
    const auto [group, tier, number] = *block;
    blocks_.erase(block);
    digest_.Remove(group, tier, Hash(number));
    log_.Append(
        BlocksRemoved{.group = group, .hashes = {Hash(number)}, .tier = tier});
  }

  std::mt19937_64 random_;
  std::multiset<Block> blocks_;
  IndexDigest digest_;
  KvEventLog log_;
};

std::multiset<Block> BlocksOf(const KvIndexView& view) {
  std::multiset<Block> blocks;
  for (const KvIndexEntry& entry : view.Snapshot().entries) {
    for (std::int64_t i = 0; i < entry.count; ++i) {
      blocks.emplace(entry.group, entry.tier, entry.hash);
    }
  }
  return blocks;
}

TEST(KvIndexViewModelTest, HoldsWhatTheEventsSayAndNoticesWhatIsWrong) {
  constexpr std::uint64_t kSeed = 20260704;
  std::cout << "seed " << kSeed << '\n';
  Publisher publisher(kSeed);
  KvIndexView view;
  int num_snapshots = 0;
  for (int round = 0; round < 3000; ++round) {
    for (std::uint64_t i = publisher.Random(6); i > 0; --i) publisher.Step();
    KvEventBatch batch = publisher.log().Take();
    publisher.log().CheckInvariants();
    const auto decoded = DecodeEventBatch(EncodeEventBatch(
        round, batch.events, 0,
        {.form = static_cast<KvEventForm>(publisher.Random(2)),
         .hashes = static_cast<KvEventHashes>(publisher.Random(2))}));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    batch.events = decoded->events;

    const KvIndexSnapshot before = view.Snapshot();
    // One that goes wrong at its end is taken back as a whole.
    KvEventBatch bad = batch;
    bad.events.emplace_back(BlocksRemoved{.hashes = {Hash(99)}});
    EXPECT_FALSE(view.Apply(bad).ok());
    ASSERT_EQ(view.Snapshot(), before);
    view.CheckInvariants();

    if (!batch.events.empty() && publisher.Random(20) == 0) {
      // The batch got lost. The next one shows it, and a snapshot helps.
      EXPECT_FALSE(
          view.Apply({publisher.log().next_sequence(), {AllBlocksCleared{}}})
              .ok());
      ASSERT_EQ(view.Snapshot(), before);
      std::multiset<Block> blocks = publisher.blocks();
      KvIndexSnapshot snapshot{.next_sequence = publisher.log().next_sequence(),
                               .digest = publisher.digest()};
      for (auto block = blocks.begin(); block != blocks.end();
           block = blocks.upper_bound(*block)) {
        const auto& [group, tier, number] = *block;
        snapshot.entries.push_back(
            {group, tier, number,
             static_cast<std::int64_t>(blocks.count(*block))});
      }
      auto restored = KvIndexView::Create(snapshot);
      ASSERT_TRUE(restored.ok()) << restored.status();
      view = *std::move(restored);
      ++num_snapshots;
    } else {
      ASSERT_TRUE(view.Apply(batch).ok());
      if (!batch.events.empty()) {
        EXPECT_FALSE(view.Apply(batch).ok());
      }
    }
    view.CheckInvariants();
    ASSERT_EQ(view.next_sequence(), publisher.log().next_sequence());
    ASSERT_EQ(BlocksOf(view), publisher.blocks());
    ASSERT_EQ(view.digest(), publisher.digest());
    ASSERT_EQ(view.num_blocks(),
              static_cast<std::int64_t>(publisher.blocks().size()));
  }
  EXPECT_GT(num_snapshots, 50);
}

}  // namespace
}  // namespace pagedkv
