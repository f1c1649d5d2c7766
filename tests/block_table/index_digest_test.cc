// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/index_digest.h"

#include <array>
#include <cstdint>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv {
namespace {

TEST(IndexDigestTest, IsTheSumOfTruncatedSha256) {
  IndexDigest digest;
  EXPECT_EQ(digest.ToHex(), "00000000000000000000000000000000");
  // Python: sha256(pack(">IQ", 1, 0x1122334455667788) + b"GPU").digest()[:16]
  digest.Add(1, "GPU", 0x1122334455667788);
  EXPECT_EQ(digest.ToHex(), "1299d68b530ef5704163c9a130f522ba");
  // ... and the sum wraps at 2^128.
  digest.Add(0, "disk", 7, 0xffffffffffff);
  EXPECT_EQ(digest.ToHex(), "2127f67b8df1a4f1a429dc3e00c05306");
}

TEST(IndexDigestTest, DoesNotDependOnTheOrder) {
  IndexDigest a;
  a.Add(0, "GPU", 1);
  a.Add(1, "CPU", 2);
  a.Add(0, "GPU", 1);
  a.Remove(1, "CPU", 2);
  IndexDigest b;
  b.Add(0, "GPU", 3);
  b.Add(0, "GPU", 1, 2);
  EXPECT_NE(a, b);
  b.Remove(0, "GPU", 3);
  EXPECT_EQ(a, b);
}

TEST(IndexDigestTest, TellsGroupTierHashAndNumberApart) {
  const auto of = [](int group, const char* tier, std::uint64_t hash,
                     std::uint64_t times) {
    IndexDigest digest;
    digest.Add(group, tier, hash, times);
    return digest;
  };
  const IndexDigest digest = of(1, "GPU", 2, 3);
  EXPECT_NE(digest, of(2, "GPU", 2, 3));
  EXPECT_NE(digest, of(1, "CPU", 2, 3));
  EXPECT_NE(digest, of(1, "GPU", 3, 3));
  EXPECT_NE(digest, of(1, "GPU", 2, 2));
}

TEST(IndexDigestTest, IsTheSameForAWholeHashAndItsInteger) {
  std::array<std::uint8_t, 32> bytes{};
  bytes[0] = 9;
  bytes[31] = 5;
  IndexDigest a;
  a.Add(0, "GPU", BlockHash(bytes));
  IndexDigest b;
  b.Add(0, "GPU", 5);
  EXPECT_EQ(a, b);
  EXPECT_EQ(IndexDigest(a.bytes()), a);
  a.Remove(0, "GPU", BlockHash(bytes));
  EXPECT_EQ(a, IndexDigest());
}

}  // namespace
}  // namespace pagedkv
