// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_event_log.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

KvEvent Event(int group) { return BlocksRemoved{.group = group}; }

TEST(KvEventLogTest, NumbersEventsWithoutGapsAcrossBatches) {
  KvEventLog log;
  EXPECT_EQ(log.next_sequence(), 0);
  log.Append(Event(0));
  log.Append(Event(1));
  const KvEventBatch first = log.Take();
  EXPECT_EQ(first.first_sequence, 0);
  EXPECT_THAT(first.events, ElementsAre(Event(0), Event(1)));
  const KvEventBatch none = log.Take();
  EXPECT_EQ(none.first_sequence, 2);
  EXPECT_THAT(none.events, IsEmpty());
  log.Append(Event(2));
  const KvEventBatch second = log.Take();
  EXPECT_EQ(second.first_sequence, 2);
  EXPECT_THAT(second.events, ElementsAre(Event(2)));
  EXPECT_EQ(log.next_sequence(), 3);
  log.CheckInvariants();
}

TEST(KvEventLogTest, TheOldestEventMakesRoomAndTheLossShows) {
  KvEventLog log(3);
  for (int i = 0; i < 8; ++i) {
    log.Append(Event(i));
    log.CheckInvariants();
  }
  EXPECT_EQ(log.size(), 3);
  EXPECT_EQ(log.num_dropped(), 5);
  const KvEventBatch batch = log.Take();
  EXPECT_EQ(batch.first_sequence, 5);
  EXPECT_THAT(batch.events, ElementsAre(Event(5), Event(6), Event(7)));
  log.CheckInvariants();
  log.Append(Event(8));
  const KvEventBatch next = log.Take();
  EXPECT_EQ(next.first_sequence, 8);
  EXPECT_THAT(next.events, ElementsAre(Event(8)));
  log.CheckInvariants();
}

}  // namespace
}  // namespace pagedkv
