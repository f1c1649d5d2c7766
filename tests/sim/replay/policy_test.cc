// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/policy.h"

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "gtest/gtest.h"

#include "pagedkv/types.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {
namespace {

TraceRequest Lengths(std::int32_t prompt, std::int32_t output) {
  TraceRequest request;
  request.prompt_tokens = prompt;
  request.output_tokens = output;
  return request;
}

TEST(PolicyTest, ParsesItsOwnIds) {
  for (const char* id :
       {"paged-1", "paged-16", "paged-128", "contiguous-max", "contiguous-pow2",
        "contiguous-oracle", "contiguous-max-exact", "concat"}) {
    const auto policy = Policy::Parse(id);
    ASSERT_TRUE(policy.ok()) << policy.status();
    EXPECT_EQ(policy->id(), id);
  }
  EXPECT_EQ(Policy::Parse("paged-32")->block_size, BlockSize(32));
}

TEST(PolicyTest, RefusesAnythingElseAndSaysWhatIsKnown) {
  for (const char* id :
       {"", "paged", "paged-", "paged-0", "paged--16", "paged-16x", "paged-+16",
        "paged- 16", "paged-99999999999", "contiguous", "Concat",
        "contiguous-max-"}) {
    const auto policy = Policy::Parse(id);
    ASSERT_FALSE(policy.ok()) << id;
    EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(std::string(policy.status().message()),
              "unknown policy '" + std::string(id) +
                  "': use one of paged-<block size>, contiguous-max, "
                  "contiguous-pow2, contiguous-oracle, contiguous-max-exact, "
                  "concat");
  }
}

TEST(FinalSlotsTest, LeavesOutTheLastTokenSampled) {
  EXPECT_EQ(FinalSlots(Lengths(7, 1)), 7);
  EXPECT_EQ(FinalSlots(Lengths(7, 4)), 10);
}

class GrantRuleTest : public testing::Test {
 protected:
  static Grant For(const char* id, TraceRequest request, std::int64_t present) {
    return GrantRule(*Policy::Parse(id), TokenCount(2048))
        .For(request, present);
  }
};

TEST_F(GrantRuleTest, PagedCoversThePresentTokensByBlocks) {
  EXPECT_EQ(For("paged-16", Lengths(20, 9), 16), (Grant{16, 16}));
  EXPECT_EQ(For("paged-16", Lengths(20, 9), 17), (Grant{32, 32}));
}

TEST_F(GrantRuleTest, MaxAsksForTheMaximumWhateverTheLength) {
  EXPECT_EQ(For("contiguous-max", Lengths(20, 9), 20), (Grant{2048, 2048}));
  EXPECT_EQ(For("contiguous-max-exact", Lengths(20, 9), 20),
            (Grant{2048, 2048}));
}

TEST_F(GrantRuleTest, MaxIsRoundedUpByTheBuddyAllocatorOnly) {
  const TokenCount max(3000);
  EXPECT_EQ(
      GrantRule(*Policy::Parse("contiguous-max"), max).For(Lengths(20, 9), 20),
      (Grant{3000, 4096}));
  EXPECT_EQ(GrantRule(*Policy::Parse("contiguous-max-exact"), max)
                .For(Lengths(20, 9), 20),
            (Grant{3000, 3000}));
}

// The PagedAttention paper, section 6.1: "if the true output length is 25, it
// reserves 32 positions".
TEST_F(GrantRuleTest, Pow2RoundsTheOutputUpToAPowerOfTwo) {
  EXPECT_EQ(For("contiguous-pow2", Lengths(100, 25), 100), (Grant{132, 256}));
  EXPECT_EQ(For("contiguous-pow2", Lengths(100, 32), 100), (Grant{132, 256}));
  EXPECT_EQ(For("contiguous-pow2", Lengths(100, 33), 100), (Grant{164, 256}));
  EXPECT_EQ(For("contiguous-pow2", Lengths(1500, 500), 1500),
            (Grant{2012, 2048}));
}

TEST_F(GrantRuleTest, Pow2NeverAsksForMoreThanTheMaximum) {
  EXPECT_EQ(For("contiguous-pow2", Lengths(1500, 520), 1500),
            (Grant{2048, 2048}));
}

// The same, section 6.5: a prompt of 1024 plus anything takes a chunk of 2048.
TEST_F(GrantRuleTest, OracleAsksForWhatWillBeUsed) {
  EXPECT_EQ(For("contiguous-oracle", Lengths(1023, 2), 1023),
            (Grant{1024, 1024}));
  EXPECT_EQ(For("contiguous-oracle", Lengths(1024, 2), 1024),
            (Grant{1025, 2048}));
}

TEST_F(GrantRuleTest, ConcatHasExactlyThePresentTokens) {
  EXPECT_EQ(For("concat", Lengths(20, 9), 23), (Grant{23, 23}));
}

}  // namespace
}  // namespace pagedkv::sim
