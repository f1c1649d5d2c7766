// SPDX-License-Identifier: Apache-2.0
// Random holdings against the formulas of SIMULATOR.md, evaluated anew for
// every nanosecond.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"

#include "sim/accounting/causes.h"
#include "sim/accounting/slot_ledger.h"

namespace pagedkv::sim {
namespace {

struct NaiveHolding {
  std::int64_t n = 0, f = 0, r = 0, a = 0;
  std::int64_t waste = 0, reserved = 0;
};

TEST(SlotLedgerModelTest, AgreesWithTheFormulasAtEveryInstant) {
  constexpr std::uint64_t kSeed = 20231016;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  constexpr std::size_t kSequences = 8;
  std::mt19937_64 random(kSeed);
  const auto uniform = [&random](std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(random);
  };

  SlotLedger ledger;
  for (std::size_t i = 0; i < kSequences; ++i) ledger.Reset(i, 0);
  std::vector<NaiveHolding> naive(kSequences);
  for (std::int64_t now_ns = 0; now_ns < 20'000; ++now_ns) {
    const auto i = static_cast<std::size_t>(uniform(0, kSequences - 1));
    NaiveHolding& h = naive[i];
    if (h.r == 0) {
      h.f = uniform(1, 100);
      h.n = uniform(1, h.f);
      h.r = uniform(h.n, 150);
      h.a = uniform(h.r, 200);
      ledger.Grant(i, h.f, h.r, h.a, now_ns);
      ledger.Fill(i, h.n, now_ns);
    } else if (h.n < std::min(h.f, h.r)) {
      h.n = uniform(h.n + 1, std::min(h.f, h.r));
      ledger.Fill(i, h.n, now_ns);
    } else if (h.n < h.f) {
      h.r = uniform(h.r + 1, 150);
      h.a = uniform(h.r, 200);
      ledger.Grant(i, h.f, h.r, h.a, now_ns);
    } else {
      ledger.Release(i, now_ns);
      ASSERT_EQ(ledger.integrals(i).waste, h.waste);
      ASSERT_EQ(ledger.integrals(i).reserved, h.reserved);
      h.n = h.f = h.r = h.a = 0;
    }

    CauseSlots expected;
    for (NaiveHolding& holding : naive) {
      const std::int64_t reserved =
          std::max<std::int64_t>(0, std::min(holding.r, holding.f) - holding.n);
      const std::int64_t internal =
          std::max<std::int64_t>(0, holding.r - holding.f);
      expected[Cause::kToken] += holding.n;
      expected[Cause::kReserved] += reserved;
      expected[Cause::kInternal] += internal;
      expected[Cause::kRoundUp] += holding.a - holding.r;
      holding.reserved += reserved;
      holding.waste += internal + holding.a - holding.r;
    }
    ASSERT_EQ(ledger.slots(), expected);
    ASSERT_TRUE(ledger.CheckInvariants().ok()) << ledger.CheckInvariants();
  }
}

}  // namespace
}  // namespace pagedkv::sim
