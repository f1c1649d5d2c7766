// SPDX-License-Identifier: Apache-2.0
//
// A MissExplainer against maps that forget nothing: what it says must be what
// they say, and it may forget removals only.

#include <cstdint>
#include <iostream>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "block_table/miss_explainer.h"

namespace pagedkv {
namespace {

constexpr std::uint64_t kSeed = 20261126;
constexpr std::int32_t kNumBlocks = 50;
constexpr BlockSize kUnit{2};

std::vector<ContentFingerprint> FingerprintsOf(
    const MissExplainer& explainer, const std::vector<TokenId>& tokens,
    const ContentKeys& keys) {
  std::vector<ContentFingerprint> each;
  static_cast<void>(explainer.Extend(
      {}, tokens, keys,
      static_cast<std::int32_t>(
          kUnit.FullBlocks(TokenCount(std::ssize(tokens))).value()),
      &each));
  return each;
}

TEST(MissExplainerTest, AFingerprintIsTheSameInOneStepOrInMany) {
  const MissExplainer explainer(BlockCount(kNumBlocks), kUnit, 3);
  const std::vector<TokenId> tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  const ContentKeys keys = {.adapter = "a",
                            .salts = {{.salt = "s", .begin = TokenCount(3)}}};
  const auto whole = FingerprintsOf(explainer, tokens, keys);
  ASSERT_EQ(whole.size(), 4u);
  ContentFingerprint step;
  for (std::int32_t depth = 1; depth <= 4; ++depth) {
    step = explainer.Extend(step, tokens, keys, depth, nullptr);
    const ContentFingerprint& at = whole[static_cast<std::size_t>(depth) - 1];
    EXPECT_EQ(step.depth, depth);
    EXPECT_EQ(step.tokens, at.tokens);
    EXPECT_EQ(step.keys, at.keys);
  }
}

TEST(MissExplainerTest, KeysAreTheirOwnAndFlowDownTheChain) {
  const MissExplainer explainer(BlockCount(kNumBlocks), kUnit, 3);
  const std::vector<TokenId> tokens = {1, 2, 3, 4, 5, 6};
  const auto plain = FingerprintsOf(explainer, tokens, {});
  const std::vector<ContentKeys> all_keys = {
      {.adapter = "x"},
      {.salts = {{.salt = "x"}}},
      {.items = {{.identifier = "x", .length = TokenCount(2)}}},
      {.items = {{.identifier = "x",
                  .offset = TokenCount(1),
                  .length = TokenCount(1)}}},
      {.prompt_embeddings = std::vector<std::byte>(6),
       .embedding_bytes_per_token = 1},
  };
  for (std::size_t i = 0; i < all_keys.size(); ++i) {
    const auto with = FingerprintsOf(explainer, tokens, all_keys[i]);
    for (std::size_t depth = 0; depth < 3; ++depth) {
      EXPECT_EQ(plain[depth].keys, 0u);
      EXPECT_EQ(with[depth].tokens, plain[depth].tokens);
      EXPECT_NE(with[depth].keys, 0u);
      for (std::size_t j = 0; j < i; ++j) {
        EXPECT_NE(with[depth].keys,
                  FingerprintsOf(explainer, tokens, all_keys[j])[depth].keys);
      }
    }
  }
  // A salt in the middle leaves what lies before it.
  const auto salted = FingerprintsOf(
      explainer, tokens, {.salts = {{.salt = "x", .begin = TokenCount(3)}}});
  EXPECT_EQ(salted[0].keys, 0u);
  EXPECT_NE(salted[1].keys, 0u);
  EXPECT_EQ(salted[2].keys, salted[1].keys);
}

TEST(MissExplainerModelTest, SaysWhatMapsSayThatForgetNothing) {
  std::cout << "seed " << kSeed << '\n';
  std::mt19937_64 random(kSeed);
  const auto below = [&random](std::uint64_t bound) {
    return random() % bound;
  };
  MissExplainer explainer(BlockCount(kNumBlocks), kUnit, 99);

  using Tokens = std::vector<TokenId>;
  struct Content {
    int group = 0;
    Tokens tokens;
    bool has_salt = false;
    auto operator<=>(const Content&) const = default;
  };
  struct Left {
    RemovalReason reason;
    std::int64_t time_ns;
    std::int64_t number;
    SequenceId taker;
  };
  std::map<std::int32_t, Content> cached;
  std::map<Content, Left> left;
  std::int64_t removals = 0;
  SequenceId taker{0};
  const auto keys_of = [](const Content& content) {
    ContentKeys keys;
    if (content.has_salt) keys.salts = {{.salt = "s"}};
    return keys;
  };
  const auto note_removal = [&](std::int32_t block, RemovalReason reason,
                                std::int64_t now) {
    left[cached.at(block)] = {
        reason, now, ++removals,
        reason == RemovalReason::kCapacity ? taker : SequenceId(0)};
    cached.erase(block);
  };

  int remembered = 0;
  int forgotten = 0;
  for (std::int64_t now = 0; now < 20000; ++now) {
    const auto block = static_cast<std::int32_t>(1 + below(kNumBlocks - 1));
    if (below(2000) == 0) {
      explainer.OnCleared(RemovalReason::kReset, now);
      while (!cached.empty()) {
        note_removal(cached.begin()->first, RemovalReason::kReset, now);
      }
    } else if (below(2) == 0) {
      if (!cached.contains(block)) {
        Content content{static_cast<int>(below(2)), {}, below(2) == 0};
        for (std::uint64_t i = 1 + below(4); i > 0; --i) {
          content.tokens.push_back(static_cast<TokenId>(below(2)));
          content.tokens.push_back(5);
        }
        explainer.OnStored(
            BlockId(block), content.group,
            FingerprintsOf(explainer, content.tokens, keys_of(content)).back());
        cached[block] = std::move(content);
      }
    } else {
      taker = SequenceId(below(100));
      explainer.SetTaker(taker, taker.value() + 1000);
      const auto reason =
          below(2) == 0 ? RemovalReason::kCapacity : RemovalReason::kEvicted;
      explainer.OnRemoved(BlockId(block), reason, now);
      if (cached.contains(block)) note_removal(block, reason, now);
    }
    ASSERT_EQ(explainer.num_removals(), removals);
    if (now % 10 != 0) continue;
    ASSERT_TRUE(explainer.CheckInvariants().ok());
    for (const auto& [content, known] : left) {
      const ContentFingerprint fingerprint =
          FingerprintsOf(explainer, content.tokens, keys_of(content)).back();
      bool has_tokens = false;
      for (const auto& [id, other] : cached) {
        has_tokens |=
            other.group == content.group && other.tokens == content.tokens;
      }
      ASSERT_EQ(explainer.HasTokens(content.group, fingerprint), has_tokens);
      const MissExplainer::Removal* const removal =
          explainer.FindRemoval(content.group, fingerprint);
      if (removal == nullptr) {
        ++forgotten;
        continue;
      }
      ++remembered;
      ASSERT_EQ(removal->number, known.number);
      ASSERT_EQ(removal->time_ns, known.time_ns);
      ASSERT_EQ(removal->reason, known.reason);
      ASSERT_EQ(removal->taker, known.taker);
      if (known.reason == RemovalReason::kCapacity) {
        ASSERT_EQ(removal->taker_tag, known.taker.value() + 1000);
      }
    }
  }
  // 120 contents, and room for 64.
  EXPECT_GT(remembered, forgotten);
}

}  // namespace
}  // namespace pagedkv
