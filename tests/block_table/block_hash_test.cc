// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/block_hash.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace pagedkv {
namespace {

using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr BlockHashAlgorithm kAllAlgorithms[] = {
    BlockHashAlgorithm::kSha256Pickle, BlockHashAlgorithm::kSha256Cbor,
    BlockHashAlgorithm::kXxh3Pickle, BlockHashAlgorithm::kXxh3Cbor,
    BlockHashAlgorithm::kKeyed128};

std::string Hex(std::span<const std::uint8_t> bytes) {
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

std::vector<std::uint8_t> FromHex(const std::string& hex) {
  const std::string bytes = absl::HexStringToBytes(hex);
  return {bytes.begin(), bytes.end()};
}

Sha256Digest DigestFromHex(const std::string& hex) {
  Sha256Digest digest{};
  const std::vector<std::uint8_t> bytes = FromHex(hex);
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

// 0, 1, ..., size - 1.
std::vector<TokenId> Tokens(TokenId size) {
  std::vector<TokenId> tokens;
  for (TokenId token = 0; token < size; ++token) tokens.push_back(token);
  return tokens;
}

ExtraKey Text(std::string text) { return text; }
ExtraKey Item(std::string identifier, std::int64_t offset) {
  return ItemAtOffset(std::move(identifier), offset);
}

// A valid hash of a parent that none of the tests' own hashes equals.
BlockHash Parent() { return BlockHash(FromHex("00112233445566778899")); }

// --- What the whole of one hash is, where vLLM or CPython says it ---

TEST(BlockHasherTest, RootIsTheHashOfTheSeedInEveryAlgorithm) {
  const std::map<BlockHashAlgorithm, std::string> none_hash_of_0 = {
      {BlockHashAlgorithm::kSha256Pickle,
       "1973e23848344dc43a988a9b478663803cfffe1243480253f9a3cf004b14aa7c"},
      {BlockHashAlgorithm::kSha256Cbor,
       "4e1195df020de59e0d65a33a4279f1183e7ae4e5d980e309f8b55adff2e61c3e"},
      {BlockHashAlgorithm::kXxh3Pickle, "6fb31cc38bba6066183f7f2104b9c051"},
      {BlockHashAlgorithm::kXxh3Cbor, "1ebe36576dcb573f26b99533a20aaeca"}};
  for (const auto& [algorithm, hex] : none_hash_of_0) {
    EXPECT_EQ(BlockHasher(algorithm, "0").root().ToHex(), hex);
  }
}

TEST(BlockHasherTest, PickleOfABlockIsThatOfPython) {
  BlockHasher hasher(BlockHashAlgorithm::kSha256Pickle, "0");
  EXPECT_EQ(Hex(hasher.Serialize({}, Tokens(16))),
            "8005954a0000000000000043201973e23848344dc43a988a9b478663803cfffe12"
            "43480253f9a3cf004b14aa7c94284b004b014b024b034b044b054b064b074b084b"
            "094b0a4b0b4b0c4b0d4b0e4b0f74944e87942e");
  const BlockHash hash = hasher.Hash({}, Tokens(16));
  EXPECT_EQ(hash.ToHex(),
            "6358e31578a64b75ebe28cdb99d3beae65de82a2087321dc6ec84ae048faaaa6");
  EXPECT_EQ(hash.ToInt(), 7982712666671721126u);
}

TEST(BlockHasherTest, PickleOfNumbersAndTextsOfAllLengthsIsThatOfPython) {
  BlockHasher hasher(BlockHashAlgorithm::kSha256Pickle, "0");
  const std::vector<TokenId> tokens = {-1, INT32_MIN, INT32_MAX};
  const ExtraKeys extra = {Text(std::string(256, 'a')),
                           Item("b", -3'000'000'000),
                           Item("", std::int64_t{1} << 40),
                           Item("\u00e9", -(std::int64_t{1} << 40))};
  EXPECT_THAT(Hex(hasher.Serialize({}, tokens, extra)), HasSubstr("94"
                                                                  "4affffffff"
                                                                  "4a00000080"
                                                                  "4affffff7f"
                                                                  "8794"
                                                                  "28"
                                                                  "5800010000"
                                                                  "6161"));
  // hashlib.sha256(pickle.dumps(..., protocol=5)) of the same in CPython 3.11.
  EXPECT_EQ(hasher.Hash({}, tokens, extra).ToHex(),
            "5a4cd9b07962103db699d25990d0392f6da35a25086e93e7b6ee871c411b6f44");
}

// CPython begins another frame after 64 KiB.
TEST(BlockHasherTest, PickleOfMoreThanOneFrameIsThatOfPython) {
  BlockHasher hasher(BlockHashAlgorithm::kSha256Pickle, "0");
  std::vector<TokenId> tokens;
  for (int i = 0; i < 40000; ++i) {
    tokens.push_back(static_cast<TokenId>(i * std::int64_t{7919} % 200000));
  }
  EXPECT_EQ(hasher.Hash({}, tokens).ToHex(),
            "5f82e7ca724a4958894c3ec1ebbc45ebb1a7d5f2273c0f3a7b4cc0c417647519");
  const ExtraKeys extra = {Text(std::string(300, 'a')),
                           Item("b", -3'000'000'000),
                           Item("", std::int64_t{1} << 40), Text("\u00e9")};
  EXPECT_EQ(hasher.Hash({}, tokens, extra).ToHex(),
            "5f8f4f15ec67647da3840cd53b310174ccc2a174269e852064df3673ff9e9d8a");
}

TEST(BlockHasherTest, PickleOfNoTokensIsThatOfPython) {
  BlockHasher hasher(BlockHashAlgorithm::kXxh3Pickle, "0");
  EXPECT_EQ(Hex(hasher.Serialize({}, {})),
            "80059518000000000000004310"
            "6fb31cc38bba6066183f7f2104b9c051"
            "94294e87942e");
}

// The integers are examples of RFC 8949, appendix A.
TEST(BlockHasherTest, CborTakesTheShortestForm) {
  BlockHasher hasher(BlockHashAlgorithm::kSha256Cbor, "0");
  const std::vector<TokenId> tokens = {0,   1,    10,      23, 24,  25,
                                       100, 1000, 1000000, -1, -10, -1000};
  EXPECT_EQ(Hex(hasher.Serialize(Parent(), tokens)),
            "83"
            "4a00112233445566778899"
            "8c"
            "00"
            "01"
            "0a"
            "17"
            "1818"
            "1819"
            "1864"
            "1903e8"
            "1a000f4240"
            "20"
            "29"
            "3903e7"
            "f6");
  const ExtraKeys extra = {Item("IETF", 1'000'000'000'000), Text("\u00fc")};
  EXPECT_EQ(Hex(hasher.Serialize(Parent(), {}, extra)),
            "83"
            "4a00112233445566778899"
            "80"
            "82"
            "82"
            "6449455446"
            "1b000000e8d4a51000"
            "62c3bc");
}

TEST(BlockHasherTest, KeyedBytesAreCborWithTheTokensAsTheyLieInMemory) {
  BlockHasher hasher(BlockHashAlgorithm::kKeyed128, "secret");
  const TokenId token = 0x01010101;  // the same in any order of bytes
  EXPECT_EQ(Hex(hasher.Serialize(Parent(), {&token, 1}, {Text("a")})),
            "83"
            "4a00112233445566778899"
            "4401010101"
            "81"
            "6161");
}

// --- Recorded from vLLM 48ebd6f2 ---

ExtraKeys ExtraKeysFromJson(const Json& recorded) {
  ExtraKeys extra;
  for (const Json& key : recorded) {  // none in a null
    if (key.is_string()) extra.push_back(key.get<std::string>());
    if (key.is_array()) {
      extra.push_back(
          Item(key.at(0).get<std::string>(), key.at(1).get<std::int64_t>()));
    }
    if (key.is_object()) {
      extra.push_back(DigestFromHex(key.at("bytes").get<std::string>()));
    }
  }
  return extra;
}

class RecordedBlockHashTest
    : public testing::TestWithParam<BlockHashAlgorithm> {};

TEST_P(RecordedBlockHashTest, BytesHashesAndIntegersEqualTheRecording) {
  const char* folder = std::getenv("PAGEDKV_GOLDEN");
  const std::string path =
      (folder != nullptr ? std::string(folder)
                         : PAGEDKV_SOURCE_DIR "/../shared/golden") +
      "/hash_vectors.jsonl";
  std::ifstream file(path);
  if (!file) {
    GTEST_SKIP() << "no recording " << path
                 << "; set PAGEDKV_GOLDEN to the folder that has it";
  }
  int num_blocks = 0;
  int num_seeds = 0;
  std::string line;
  for (std::getline(file, line); std::getline(file, line);) {
    const Json record = Json::parse(line);
    const auto text = [&](const char* key) {
      return record.at(key).get<std::string>();
    };
    if (text("algo") != BlockHashAlgorithmName(GetParam())) continue;
    SCOPED_TRACE(text("case"));
    if (record.contains("seed")) {
      const BlockHasher hasher(GetParam(), text("seed"));
      EXPECT_EQ(hasher.root().ToHex(), text("hash"));
      ++num_seeds;
      continue;
    }
    BlockHasher hasher(GetParam(), "0");
    const BlockHash parent(FromHex(text("parent")));
    const bool is_first = record.at("parent_is_none_hash").get<bool>();
    EXPECT_EQ(parent == hasher.root(), is_first);
    const auto tokens = record.at("tokens").get<std::vector<TokenId>>();
    const ExtraKeys extra = ExtraKeysFromJson(record.at("extra_keys"));
    EXPECT_EQ(Hex(hasher.Serialize(parent, tokens, extra)), text("serialized"));
    const BlockHash hash = hasher.Hash(parent, tokens, extra);
    EXPECT_EQ(hash.ToHex(), text("hash"));
    EXPECT_EQ(hash.ToInt(), record.at("event_int64").get<std::uint64_t>());
    EXPECT_EQ(hasher.Hash({}, tokens, extra) == hash, is_first);
    ++num_blocks;
  }
  EXPECT_EQ(num_blocks, 15);
  EXPECT_EQ(num_seeds, 1);
}

INSTANTIATE_TEST_SUITE_P(, RecordedBlockHashTest,
                         testing::Values(BlockHashAlgorithm::kSha256Pickle,
                                         BlockHashAlgorithm::kSha256Cbor,
                                         BlockHashAlgorithm::kXxh3Pickle,
                                         BlockHashAlgorithm::kXxh3Cbor),
                         [](const auto& info) {
                           return std::string(
                               BlockHashAlgorithmName(info.param));
                         });

// --- Of every algorithm ---

class BlockHasherPropertyTest
    : public testing::TestWithParam<BlockHashAlgorithm> {
 protected:
  BlockHasher hasher_{GetParam(), "0"};
};

TEST_P(BlockHasherPropertyTest, HashHasTheSizeOfItsDigest) {
  const bool is_sha256 = GetParam() == BlockHashAlgorithm::kSha256Pickle ||
                         GetParam() == BlockHashAlgorithm::kSha256Cbor;
  const std::size_t size = is_sha256 ? 32 : 16;
  EXPECT_EQ(hasher_.root().bytes().size(), size);
  EXPECT_EQ(hasher_.Hash({}, Tokens(16)).bytes().size(), size);
}

TEST_P(BlockHasherPropertyTest, SameContentSameHashInEveryHasherOfTheSeed) {
  const ExtraKeys extra = {Text("a"), Item("b", -1), Sha256Digest{}};
  const BlockHash hash = hasher_.Hash(Parent(), Tokens(16), extra);
  // What was hashed in between leaves no trace.
  EXPECT_NE(hasher_.Hash(hash, Tokens(400)), hash);
  EXPECT_EQ(hasher_.Hash(Parent(), Tokens(16), extra), hash);
  BlockHasher other(GetParam(), "0");
  EXPECT_EQ(other.root(), hasher_.root());
  EXPECT_EQ(other.Hash(Parent(), Tokens(16), extra), hash);
  BlockHasher moved = std::move(other);
  EXPECT_EQ(moved.Hash(Parent(), Tokens(16), extra), hash);
}

TEST_P(BlockHasherPropertyTest, SeedsDifferInTheirRootsAndFirstBlocks) {
  std::set<BlockHash> roots;
  std::set<BlockHash> blocks;
  const std::string seeds[] = {
      "", "0", "00", "1", std::string(1000, '0'), std::string(1000, '0') + "1"};
  for (const std::string& seed : seeds) {
    BlockHasher hasher(GetParam(), seed);
    roots.insert(hasher.root());
    blocks.insert(hasher.Hash({}, Tokens(16)));
  }
  EXPECT_EQ(roots.size(), std::size(seeds));
  EXPECT_EQ(blocks.size(), std::size(seeds));
}

TEST_P(BlockHasherPropertyTest, DifferentContentNeverSerialisesAlike) {
  const Sha256Digest zeros{};
  const std::string zeros_as_text(32, '\0');
  const ExtraKeys contents[] = {
      {},
      {Text("")},
      {Text(""), Text("")},
      {Text("ab"), Text("c")},
      {Text("a"), Text("bc")},
      {Text("abc")},
      {Text("c"), Text("ab")},  // the order counts
      {Text("img")},
      {Item("img", 0)},
      {Item("img", 1)},
      {Item("img", -1)},
      {Item("img", 255)},
      {Item("img", -256)},
      {Item("img", std::int64_t{1} << 32)},
      {Text("img"), Item("img", 0)},
      {Item("img", 0), Text("img")},
      {Item("a", 0), Item("b", 1)},
      {Item("b", 1), Item("a", 0)},
      {zeros},
      {Text(zeros_as_text)},
      {zeros, zeros},
      {Text(std::string(23, 'x'))},
      {Text(std::string(24, 'x'))},
      {Text(std::string(255, 'x'))},
      {Text(std::string(256, 'x'))},
      {Text("a"), Text("b"), Text("c"), Text("d")},
      {Text("a"), Text("b"), Text("cd")},
  };
  const std::vector<TokenId> blocks[] = {{},         {0},       {0, 0},
                                         {0, 1},     {1, 0},    {256},
                                         {0x616263}, {1, 2, 3}, {1, 2, 3, 4}};
  std::set<std::vector<std::uint8_t>> serialised;
  std::set<BlockHash> hashes;
  std::size_t num_contents = 0;
  for (const BlockHash& parent : {hasher_.root(), Parent()}) {
    for (const std::vector<TokenId>& tokens : blocks) {
      for (const ExtraKeys& extra : contents) {
        const auto bytes = hasher_.Serialize(parent, tokens, extra);
        serialised.emplace(bytes.begin(), bytes.end());
        hashes.insert(hasher_.Hash(parent, tokens, extra));
        ++num_contents;
      }
    }
  }
  EXPECT_EQ(serialised.size(), num_contents);
  EXPECT_EQ(hashes.size(), num_contents);
}

TEST_P(BlockHasherPropertyTest, WarmBufferStaysWhereItIs) {
  const ExtraKeys extra = {Text("adapter"), Item("image", 3)};
  const auto* const buffer = hasher_.Serialize({}, Tokens(64), extra).data();
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(hasher_.Serialize({}, Tokens(i % 65)).data(), buffer);
  }
}

// Every length writes up to the end of the room that was made for it: what goes
// beyond is for the address sanitizer to find.
TEST_P(BlockHasherPropertyTest, RoomSufficesForContentOfAnySize) {
  constexpr std::uint32_t kSeed = 20260801;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  const auto below = [&](std::uint32_t bound) {
    return static_cast<std::uint32_t>(random()) % bound;
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<TokenId> tokens(below(8) == 0 ? below(20000) : below(20));
    for (TokenId& token : tokens) {
      token = static_cast<TokenId>(random() >> below(32));
    }
    ExtraKeys extra;
    for (std::uint32_t i = below(6); i > 0; --i) {
      std::string text(below(8) == 0 ? below(70000) : below(300), 'x');
      const auto offset =
          static_cast<std::int64_t>(std::uint64_t{random()} << below(32));
      switch (below(3)) {
        case 0:
          extra.push_back(text);
          break;
        case 1:
          extra.push_back(Item(text, -offset));
          break;
        default:
          extra.push_back(Sha256Digest{});
      }
    }
    BlockHasher fresh(GetParam(), "");
    EXPECT_EQ(fresh.Hash(Parent(), tokens, extra),
              fresh.Hash(Parent(), tokens, extra));
  }
}

INSTANTIATE_TEST_SUITE_P(, BlockHasherPropertyTest,
                         testing::ValuesIn(kAllAlgorithms),
                         [](const auto& info) {
                           return std::string(
                               BlockHashAlgorithmName(info.param));
                         });

// --- Names ---

TEST(BlockHashAlgorithmTest, NamesAreThoseOfVllmAndParseBack) {
  std::vector<std::string_view> names;
  for (const BlockHashAlgorithm algorithm : kAllAlgorithms) {
    names.push_back(BlockHashAlgorithmName(algorithm));
    EXPECT_EQ(*ParseBlockHashAlgorithm(names.back()), algorithm);
  }
  EXPECT_THAT(names, ElementsAre("sha256", "sha256_cbor", "xxhash",
                                 "xxhash_cbor", "keyed128"));
}

TEST(BlockHashAlgorithmTest, UnknownNameIsRefusedWithTheKnownOnes) {
  const auto refused = ParseBlockHashAlgorithm("SHA\n256");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.status().message(),
            "unknown block hash algorithm \"SHA\\n256\"; known are sha256, "
            "sha256_cbor, xxhash, xxhash_cbor, keyed128");
  EXPECT_FALSE(ParseBlockHashAlgorithm("").ok());
}

// --- BlockHash ---

TEST(BlockHashTest, IntegerIsTheLastEightBytesBigEndian) {
  EXPECT_EQ(BlockHash(FromHex("ff0102030405060708")).ToInt(),
            0x0102030405060708u);
  EXPECT_EQ(BlockHash(FromHex("0a0b")).ToInt(), 0x0a0bu);
  EXPECT_EQ(BlockHash().ToInt(), 0u);
}

TEST(BlockHashTest, HashesOfDifferentSizesDiffer) {
  EXPECT_TRUE(BlockHash().empty());
  EXPECT_NE(BlockHash(FromHex("00")), BlockHash());
  EXPECT_NE(BlockHash(FromHex("0000")), BlockHash(FromHex("00")));
  EXPECT_EQ(BlockHash(FromHex("0100")).ToHex(), "0100");
}

TEST(BlockHashDeathTest, DigestOfNoOrTooManyBytesIsNone) {
  EXPECT_DEATH(BlockHash(std::vector<std::uint8_t>(0)), "digest");
  EXPECT_DEATH(BlockHash(std::vector<std::uint8_t>(33)), "digest");
}

// --- ExtraKeysOfBlock ---

constexpr BlockSize kSixteen{16};

ExtraKeys KeysAt(const ContentKeys& keys, std::int64_t begin,
                 BlockSize size = kSixteen) {
  return ExtraKeysOfBlock(keys, TokenCount(begin), size);
}

TEST(ExtraKeysOfBlockTest, PlainContentHasNone) {
  EXPECT_THAT(KeysAt({}, 0), IsEmpty());
  EXPECT_THAT(KeysAt({}, 160), IsEmpty());
}

TEST(ExtraKeysOfBlockTest, OrderIsAdapterItemsSaltsEmbeddings) {
  const ContentKeys keys = {
      .adapter = "adapter",
      .items = {{"image", TokenCount(2), TokenCount(3)},
                {"sound", TokenCount(9), TokenCount(1)}},
      .salts = {{"first", TokenCount(0)}, {"second", TokenCount(9)}},
      .prompt_embeddings = std::vector<std::byte>(0x20),
      .embedding_bytes_per_token = 2};
  const ExtraKeys extra = KeysAt(keys, 0);
  ASSERT_EQ(extra.size(), 6u);
  EXPECT_TRUE(std::holds_alternative<Sha256Digest>(extra.back()));
  EXPECT_THAT(std::span(extra).first(5),
              ElementsAre(Text("adapter"), Item("image", 2), Item("sound", 9),
                          Text("first"), Text("second")));
}

TEST(ExtraKeysOfBlockTest, AdapterIsInEveryBlock) {
  const ContentKeys keys = {.adapter = "adapter"};
  EXPECT_THAT(KeysAt(keys, 0), ElementsAre(Text("adapter")));
  EXPECT_THAT(KeysAt(keys, 1600), ElementsAre(Text("adapter")));
}

TEST(ExtraKeysOfBlockTest, ItemIsInEachBlockThatItOverlaps) {
  const ContentKeys keys = {
      .items = {{"image", TokenCount(10), TokenCount(30)}}};
  EXPECT_THAT(KeysAt(keys, 0), ElementsAre(Item("image", 10)));
  EXPECT_THAT(KeysAt(keys, 16), ElementsAre(Item("image", -6)));
  EXPECT_THAT(KeysAt(keys, 32), ElementsAre(Item("image", -22)));
  EXPECT_THAT(KeysAt(keys, 48), IsEmpty());
}

TEST(ExtraKeysOfBlockTest, ItemThatOnlyTouchesABlockIsNotInIt) {
  const ContentKeys keys = {
      .items = {{"image", TokenCount(16), TokenCount(16)}}};
  EXPECT_THAT(KeysAt(keys, 0), IsEmpty());
  EXPECT_THAT(KeysAt(keys, 16), ElementsAre(Item("image", 0)));
  EXPECT_THAT(KeysAt(keys, 32), IsEmpty());
}

TEST(ExtraKeysOfBlockTest, SaltIsInTheBlockInWhichItBegins) {
  const ContentKeys keys = {
      .salts = {{"first", TokenCount(0)}, {"middle", TokenCount(47)}}};
  EXPECT_THAT(KeysAt(keys, 0), ElementsAre(Text("first")));
  EXPECT_THAT(KeysAt(keys, 16), IsEmpty());
  EXPECT_THAT(KeysAt(keys, 32), ElementsAre(Text("middle")));
  EXPECT_THAT(KeysAt(keys, 48), IsEmpty());
}

TEST(ExtraKeysOfBlockTest, EmptySaltIsNone) {
  EXPECT_THAT(KeysAt({.salts = {{"", TokenCount(0)}}}, 0), IsEmpty());
}

// A salt in the middle keeps what is before it shared, and nothing after it.
TEST(ExtraKeysOfBlockTest, SaltInTheMiddleSeparatesFromItsBlockOn) {
  for (const BlockHashAlgorithm algorithm : kAllAlgorithms) {
    SCOPED_TRACE(BlockHashAlgorithmName(algorithm));
    BlockHasher hasher(algorithm, "0");
    const auto chain = [&](const ContentKeys& keys) {
      std::vector<BlockHash> hashes;
      BlockHash parent;
      for (std::int64_t begin = 0; begin < 64; begin += 16) {
        parent = hasher.Hash(parent, Tokens(16), KeysAt(keys, begin));
        hashes.push_back(parent);
      }
      return hashes;
    };
    const auto plain = chain({});
    const auto salted = chain({.salts = {{"tenant", TokenCount(33)}}});
    EXPECT_EQ(salted[0], plain[0]);
    EXPECT_EQ(salted[1], plain[1]);
    EXPECT_NE(salted[2], plain[2]);
    EXPECT_NE(salted[3], plain[3]);
  }
}

TEST(ExtraKeysOfBlockTest, EmbeddingsAreDigestedBlockByBlock) {
  ContentKeys keys = {.prompt_embeddings = {}, .embedding_bytes_per_token = 2};
  for (int i = 0; i < 12; ++i) {
    keys.prompt_embeddings.push_back(static_cast<std::byte>(i % 8));
  }
  const BlockSize four(4);
  // SHA-256 of the bytes 0 to 7, of 0 to 3, and of none.
  EXPECT_THAT(
      KeysAt(keys, 0, four),
      ElementsAre(DigestFromHex("8a851ff82ee7048ad09ec3847f1ddf44944104d2cbd17e"
                                "f4e3db22c6785a0d45")));
  EXPECT_THAT(
      KeysAt(keys, 4, four),
      ElementsAre(DigestFromHex("054edec1d0211f624fed0cbca9d4f9400b0e491c43742a"
                                "f2c5b0abebf0c990d8")));
  EXPECT_THAT(
      KeysAt(keys, 8, four),
      ElementsAre(DigestFromHex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b93"
                                "4ca495991b7852b855")));
}

}  // namespace
}  // namespace pagedkv
