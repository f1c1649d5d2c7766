// SPDX-License-Identifier: Apache-2.0
#include "sim/accounting/slot_ledger.h"

#include <cstdint>

#include "gtest/gtest.h"

#include "sim/accounting/causes.h"

namespace pagedkv::sim {
namespace {

// Fig. 3 of the PagedAttention paper (SOSP'23): two requests in contiguous
// memory of their maximum lengths.
TEST(SlotLedgerTest, CountsFigure3OfThePaper) {
  SlotLedger ledger;
  for (std::size_t i = 0; i < 2; ++i) ledger.Reset(i, 0);
  // A: 7 prompt tokens and 1 generated, 2 more to come, of at most 2048.
  ledger.Grant(0, /*final_slots=*/10, /*requested=*/2048, /*granted=*/2048, 0);
  ledger.Fill(0, 8, 0);
  EXPECT_EQ(ledger.slots()[Cause::kToken], 8);
  EXPECT_EQ(ledger.slots()[Cause::kReserved], 2);
  EXPECT_EQ(ledger.slots()[Cause::kInternal], 2038);
  // B: 3 and 1, 1 more to come, of at most 512.
  ledger.Grant(1, /*final_slots=*/5, /*requested=*/512, /*granted=*/512, 0);
  ledger.Fill(1, 4, 0);
  EXPECT_EQ(ledger.slots()[Cause::kToken], 8 + 4);
  EXPECT_EQ(ledger.slots()[Cause::kReserved], 2 + 1);
  EXPECT_EQ(ledger.slots()[Cause::kInternal], 2038 + 507);
  EXPECT_EQ(ledger.slots()[Cause::kRoundUp], 0);
  EXPECT_TRUE(ledger.CheckInvariants().ok()) << ledger.CheckInvariants();
}

TEST(SlotLedgerTest, ReservesInTheLastBlockOnlyWhatWillBeFilled) {
  SlotLedger ledger;
  for (std::size_t i = 0; i < 1; ++i) ledger.Reset(i, 0);
  ledger.Grant(0, /*final_slots=*/18, 16, 16, 0);
  ledger.Fill(0, 10, 0);
  EXPECT_EQ(ledger.slots()[Cause::kReserved], 6);
  EXPECT_EQ(ledger.slots()[Cause::kInternal], 0);
  ledger.Grant(0, /*final_slots=*/18, 32, 32, 1);
  ledger.Fill(0, 17, 1);
  EXPECT_EQ(ledger.slots()[Cause::kReserved], 1);
  EXPECT_EQ(ledger.slots()[Cause::kInternal], 14);
}

TEST(SlotLedgerTest, CountsRoundUpApartFromInternal) {
  SlotLedger ledger;
  for (std::size_t i = 0; i < 1; ++i) ledger.Reset(i, 0);
  ledger.Grant(0, /*final_slots=*/1030, 1040, 2048, 0);
  ledger.Fill(0, 1024, 0);
  EXPECT_EQ(ledger.slots()[Cause::kReserved], 6);
  EXPECT_EQ(ledger.slots()[Cause::kInternal], 10);
  EXPECT_EQ(ledger.slots()[Cause::kRoundUp], 1008);
  EXPECT_EQ(ledger.granted(0), 2048);
}

TEST(SlotLedgerTest, IntegratesWhatIsHeldInVainOverTime) {
  SlotLedger ledger;
  for (std::size_t i = 0; i < 1; ++i) ledger.Reset(i, 0);
  ledger.Grant(0, /*final_slots=*/10, 12, 16, 100);
  ledger.Fill(0, 8, 100);
  ledger.Fill(0, 9, 130);  // 30 ns with 2 reserved
  ledger.Release(0, 140);  // 10 ns with 1; 40 ns with 2 + 4 in vain
  EXPECT_EQ(ledger.integrals(0).reserved, 30 * 2 + 10 * 1);
  EXPECT_EQ(ledger.integrals(0).waste, 40 * (2 + 4));
}

TEST(SlotLedgerTest, KeepsIntegralsOverAPreemption) {
  SlotLedger ledger;
  for (std::size_t i = 0; i < 1; ++i) ledger.Reset(i, 0);
  ledger.Grant(0, /*final_slots=*/10, 16, 16, 0);
  ledger.Fill(0, 4, 0);
  ledger.Release(0, 10);  // holds nothing from 10 to 50
  EXPECT_EQ(ledger.slots(), CauseSlots());
  ledger.Grant(0, /*final_slots=*/10, 16, 16, 50);
  ledger.Fill(0, 10, 50);
  ledger.Release(0, 51);
  EXPECT_EQ(ledger.integrals(0).waste, 10 * 6 + 1 * 6);
  EXPECT_EQ(ledger.integrals(0).reserved, 10 * 6);
}

TEST(SlotLedgerTest, IntegratesLongTimesWithoutOverflow) {
  constexpr std::int64_t kYearNs = 365LL * 24 * 3600 * 1'000'000'000;
  SlotLedger ledger;
  for (std::size_t i = 0; i < 1; ++i) ledger.Reset(i, 0);
  ledger.Grant(0, /*final_slots=*/1, 1 << 20, 1 << 20, 0);
  ledger.Fill(0, 1, 0);
  ledger.Release(0, kYearNs);
  EXPECT_EQ(ledger.integrals(0).waste / kYearNs, (1 << 20) - 1);
}

TEST(SlotLedgerTest, CheckInvariantsNamesABrokenHolding) {
  SlotLedger ledger;
  for (std::size_t i = 0; i < 2; ++i) ledger.Reset(i, 0);
  ledger.Grant(1, /*final_slots=*/4, 8, 8, 0);
  ledger.Fill(1, 5, 0);  // beyond its final length
  EXPECT_EQ(ledger.CheckInvariants().message(),
            "sequence 1 requested 8 slots and holds 5 tokens, -1 reserved, 4 "
            "internal, 0 round-up");
}

}  // namespace
}  // namespace pagedkv::sim
