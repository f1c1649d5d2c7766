// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_event_encoding.h"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "pagedkv/kv_index_view.h"

namespace pagedkv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr KvEventEncodingOptions kMap;
constexpr KvEventEncodingOptions kArray{.form = KvEventForm::kArray};

std::string Hex(std::span<const std::uint8_t> bytes) {
  return absl::BytesToHexString(
      {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::vector<std::uint8_t> FromHex(const std::string& hex) {
  const std::string bytes = absl::HexStringToBytes(hex);
  return {bytes.begin(), bytes.end()};
}

BlockHash HashOfInt(std::uint64_t number) {
  std::array<std::uint8_t, 8> bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(number >> (56 - 8 * i));
  }
  return BlockHash(bytes);
}

BlocksStored Stored() {
  return {.hashes = {HashOfInt(5)}, .tokens = {1, 2}, .block_size = 2};
}

// The message of the error that the bytes are answered with; empty if none.
std::string Complaint(const std::string& hex) {
  const auto batch = DecodeEventBatch(FromHex(hex));
  if (batch.ok()) return "";
  EXPECT_EQ(batch.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(batch.status().message());
}

// --- vectors written here, by hand from the format --------------------------

TEST(KvEventEncodingTest, AnEventByNameLeavesOutWhatItDoesNotSay) {
  BlocksStored event = Stored();
  event.kind = std::nullopt;
  event.tier = "";
  const std::vector<KvEvent> events = {event};
  EXPECT_EQ(Hex(EncodeEventBatch(0.5, events, std::nullopt, kMap)),
            "93"                  // [
            "cb3fe0000000000000"  // 0.5,
            "91"                  // [
            "89"                  // {
            "a474797065"
            "ab426c6f636b53746f726564"  // type: BlockStored
            "ac626c6f636b5f686173686573"
            "9105"  // block_hashes: [5]
            "b1706172656e745f626c6f636b5f68617368"
            "c0"
            "a9746f6b656e5f696473"
            "920102"  // token_ids: [1, 2]
            "aa626c6f636b5f73697a65"
            "02"  // block_size: 2
            "a76c6f72615f6964"
            "c0"  // lora_id
            "a66d656469756d"
            "c0"  // medium
            "a96c6f72615f6e616d65"
            "c0"  // lora_name
            "a967726f75705f696478"
            "00"    // group_idx: 0
            "c0");  // }], nil]
}

TEST(KvEventEncodingTest, AnEventByPositionHasAllItsFields) {
  BlocksStored event = Stored();
  event.parent = HashOfInt(0x1122);
  event.adapter_id = -1;
  event.adapter = "x";
  event.extra = {{"a", ItemAtOffset("b", -200), Sha256Digest{}}};
  event.kind = AttentionKind::kSlidingWindow;
  event.window = 40000;
  const std::vector<KvEvent> events = {event, BlocksRemoved{.group = 1},
                                       AllBlocksCleared{}};
  EXPECT_EQ(Hex(EncodeEventBatch(0.5, events, 300, kArray)),
            "93cb3fe000000000000093"
            "9cab426c6f636b53746f726564"
            "9105"
            "cd1122"
            "920102"
            "02"
            "ff"
            "a3475055"
            "a178"
            "9193"
            "a161"
            "92a162d1ff38"
            "c420" +
                std::string(64, '0') +
                "00"
                "ae736c6964696e675f77696e646f77"
                "cd9c40"
                "94ac426c6f636b52656d6f766564"
                "90"
                "a3475055"
                "01"
                "91b0416c6c426c6f636b73436c6561726564"
                "cd012c");
}

TEST(KvEventEncodingTest, ABlockIsNamedByIntegerOrByItsWholeHash) {
  BlockHash hash(FromHex("000102030405060708090a0b0c0d0e0f"));
  const std::vector<KvEvent> events = {BlocksRemoved{.hashes = {hash}}};
  EXPECT_THAT(Hex(EncodeEventBatch(0, events, 0, kArray)),
              HasSubstr("91cf08090a0b0c0d0e0fa3"));
  EXPECT_THAT(Hex(EncodeEventBatch(0, events, 0,
                                   {.form = KvEventForm::kArray,
                                    .hashes = KvEventHashes::kBytes})),
              HasSubstr("91c410000102030405060708090a0b0c0d0e0fa3"));
}

TEST(KvEventEncodingTest, EachKindHasTheNameThatVllmGivesIt) {
  const std::pair<AttentionKind, std::string> names[] = {
      {AttentionKind::kFull, "full_attention"},
      {AttentionKind::kSlidingWindow, "sliding_window"},
      {AttentionKind::kChunkedLocal, "chunked_local_attention"},
      {AttentionKind::kLatent, "mla_attention"},
      {AttentionKind::kCross, "cross_attention"},
      {AttentionKind::kStateSpace, "mamba"}};
  for (const auto& [kind, name] : names) {
    BlocksStored event = Stored();
    event.kind = kind;
    const std::vector<KvEvent> events = {event};
    const auto bytes = EncodeEventBatch(0, events, 0);
    EXPECT_THAT(std::string(bytes.begin(), bytes.end()), HasSubstr(name));
    EXPECT_THAT(DecodeEventBatch(bytes)->events, ElementsAre(KvEvent(event)));
  }
}

TEST(KvEventEncodingTest, ReasonsAreWrittenByNameAndOnlyWhenAskedFor) {
  const std::vector<KvEvent> events = {
      BlocksRemoved{.hashes = {HashOfInt(5)},
                    .reason = RemovalReason::kExpired},
      AllBlocksCleared{.reason = RemovalReason::kWeights}};
  const auto decoded = [&](const KvEventEncodingOptions& options) {
    return DecodeEventBatch(EncodeEventBatch(0, events, 0, options))->events;
  };
  EXPECT_EQ(decoded({.with_reasons = true}), events);
  for (const KvEventForm form : {KvEventForm::kMap, KvEventForm::kArray}) {
    EXPECT_THAT(
        decoded({.form = form, .with_reasons = form == KvEventForm::kArray}),
        ElementsAre(KvEvent(BlocksRemoved{.hashes = {HashOfInt(5)}}),
                    KvEvent(AllBlocksCleared{})));
  }
}

TEST(KvEventEncodingTest, LongFieldsComeBack) {
  BlocksStored event = Stored();
  event.adapter = std::string(40, 'x');
  event.tier = std::string(300, 'y');
  event.tokens.resize(70000, -7);
  event.hashes.resize(20, HashOfInt(~std::uint64_t{0}));
  event.extra = {{std::string(70000, 'z')}, {}};
  std::vector<KvEvent> events(70000, AllBlocksCleared{});
  events.emplace_back(event);
  for (const KvEventForm form : {KvEventForm::kMap, KvEventForm::kArray}) {
    const auto batch =
        DecodeEventBatch(EncodeEventBatch(1e9, events, 1, {.form = form}));
    ASSERT_TRUE(batch.ok()) << batch.status();
    EXPECT_EQ(batch->events, events);
    EXPECT_EQ(batch->timestamp_seconds, 1e9);
    EXPECT_EQ(batch->data_parallel_rank, 1);
  }
}

// --- what others send -------------------------------------------------------

TEST(KvEventDecodingTest, ReadsWhatOlderVersionsLeaveOut) {
  // vLLM 0.10: five fields, Python's hash(), and no rank.
  const auto batch =
      DecodeEventBatch(FromHex("920192"
                               "96ab426c6f636b53746f726564"
                               "91ff"
                               "c0"
                               "920102"
                               "02"
                               "07"
                               "92ac426c6f636b52656d6f766564"
                               "91d1ff00"));
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->timestamp_seconds, 1);
  EXPECT_EQ(batch->data_parallel_rank, std::nullopt);
  EXPECT_THAT(
      batch->events,
      ElementsAre(KvEvent(BlocksStored{.hashes = {HashOfInt(~std::uint64_t{0})},
                                       .tokens = {1, 2},
                                       .block_size = 2,
                                       .adapter_id = 7,
                                       .tier = "",
                                       .kind = std::nullopt}),
                  KvEvent(BlocksRemoved{
                      .hashes = {HashOfInt(0xffffffffffffff00)}, .tier = ""})));
}

TEST(KvEventDecodingTest, SkipsWhatYoungerVersionsAdd) {
  // A map in a map, an extension, booleans and floats; the type comes last.
  const auto by_name =
      DecodeEventBatch(FromHex("94ca3f80000091"
                               "83"
                               "a178"
                               "8201c70302010203a179"
                               "9ac2c3cacdccccccd5000000"
                               "d90161c40161d40000dc0001c0de0000de000101c0"
                               "ac626c6f636b5f686173686573"
                               "9105"
                               "a474797065"
                               "ac426c6f636b52656d6f766564"
                               "c081a178c3"));
  ASSERT_TRUE(by_name.ok()) << by_name.status();
  EXPECT_EQ(by_name->timestamp_seconds, 1);
  EXPECT_THAT(by_name->events, ElementsAre(KvEvent(BlocksRemoved{
                                   .hashes = {HashOfInt(5)}, .tier = ""})));
  const auto by_position =
      DecodeEventBatch(FromHex("93cb000000000000000091"
                               "96ac426c6f636b52656d6f766564"
                               "9105"
                               "a3475055"
                               "02"
                               "a178"
                               "80"
                               "c0"));
  ASSERT_TRUE(by_position.ok()) << by_position.status();
  EXPECT_THAT(by_position->events, ElementsAre(KvEvent(BlocksRemoved{
                                       .group = 2, .hashes = {HashOfInt(5)}})));
}

TEST(KvEventDecodingTest, AKindThatItCannotSayIsNone) {
  const std::string before =
      "93009187"
      "a474797065"
      "ab426c6f636b53746f726564"
      "ac626c6f636b5f686173686573"
      "90"
      "b1706172656e745f626c6f636b5f68617368"
      "c0"
      "a9746f6b656e5f696473"
      "90"
      "aa626c6f636b5f73697a65"
      "02"
      "a6726561736f6e"
      "a178"
      "b26b765f63616368655f737065635f6b696e64";
  const auto kind = [&before](const std::string& hex) {
    const auto batch = DecodeEventBatch(FromHex(before + hex + "c0"));
    EXPECT_TRUE(batch.ok()) << batch.status();
    return std::get<BlocksStored>(batch->events[0]).kind;
  };
  EXPECT_EQ(kind("a7756e6b6e6f776e"), std::nullopt);
  EXPECT_EQ(kind("c0"), std::nullopt);
  EXPECT_EQ(kind("b373696e6b5f66756c6c5f617474656e74696f6e"),
            AttentionKind::kFull);
}

TEST(KvEventDecodingTest, SaysWhatIsWrongAndWhere) {
  const std::string removed = "ac426c6f636b52656d6f766564";
  EXPECT_EQ(Complaint(""), "byte 0: the input ends here, too early");
  EXPECT_EQ(Complaint("c1"), "byte 0: 0xc1 is not msgpack");
  EXPECT_EQ(Complaint("05"), "byte 0: there is no array here");
  EXPECT_THAT(Complaint("9100"), HasSubstr("byte 0: a batch is [timestamp"));
  EXPECT_EQ(Complaint("93a0"),
            "byte 0: the array has more elements than bytes "
            "are left");
  EXPECT_EQ(Complaint("93a0a0a0"), "byte 1: there is no number here");
  EXPECT_EQ(Complaint("92cb3fe0"), "byte 1: the input ends within this value");
  EXPECT_EQ(Complaint("9300ddffffffff"),
            "byte 2: the array has more elements than bytes are left");
  EXPECT_EQ(Complaint("9300919000"), "byte 3: an event has no type");
  EXPECT_THAT(Complaint("93009191a178c0"),
              HasSubstr("byte 3: the type of an event must be BlockStored"));
  EXPECT_THAT(Complaint("93009180c0"), HasSubstr("byte 3: the type"));
  EXPECT_EQ(Complaint("93009191" + removed + "c0"),
            "byte 3: the event has no block_hashes");
  EXPECT_EQ(Complaint("93009192" + removed + "91a178c0"),
            "byte 18: there is no integer here");
  EXPECT_EQ(Complaint("93009192" + removed + "91c400c0"),
            "byte 18: a hash has 1 to 32 bytes");
  EXPECT_EQ(Complaint("93009192" + removed + "91c4ff00c0"),
            "byte 20: 255 bytes are to follow, and there are 2");
  EXPECT_EQ(Complaint("93009194" + removed + "90c0ffc0"),
            "byte 19: an integer is not from 0 to 2147483647");
  EXPECT_EQ(Complaint("9300910900"), "byte 3: there is no array here");
  EXPECT_EQ(Complaint("930090c0c0"),
            "byte 4: the batch ended before this byte");
  EXPECT_EQ(Complaint("930090cfffffffffffffffff").substr(0, 28),
            "byte 3: an integer is not fr");
  EXPECT_THAT(Complaint("93009195ab426c6f636b53746f726564"
                        "90c090"
                        "00c0"),
              HasSubstr("byte 19: an integer is not from 1"));
  EXPECT_THAT(Complaint("93009195ab426c6f636b53746f726564"
                        "90c091"
                        "ce80000000"
                        "02c0"),
              HasSubstr("byte 19: an integer is not from -2147483648"));
}

TEST(KvEventDecodingTest, DepthAndClaimedSizesCostNothing) {
  // An unknown field of ten million nested arrays, and one that claims more.
  std::vector<std::uint8_t> deep = FromHex("93009182a178");
  deep.resize(10'000'000, 0x91);
  EXPECT_FALSE(DecodeEventBatch(deep).ok());
  EXPECT_THAT(Complaint("93009182a178"
                        "9fdfffffffff" +
                        std::string(40, '0')),
              HasSubstr("more elements than bytes"));
  EXPECT_THAT(Complaint("93009182a178"
                        "dbffffffff" +
                        std::string(40, '0')),
              HasSubstr("byte 11: 4294967295 bytes are to follow"));
  const auto large = DecodeEventBatch(
      std::vector<std::uint8_t>(kMaxEventBatchBytes + 1, 0x90));
  EXPECT_THAT(std::string(large.status().message()),
              HasSubstr("byte 67108864: "));
}

TEST(KvEventDecodingTest, EveryPrefixOfABatchIsRefused) {
  BlocksStored stored = Stored();
  stored.extra = {{"a", ItemAtOffset("b", -200), Sha256Digest{}}};
  const std::vector<KvEvent> events = {stored, BlocksRemoved{}};
  for (const auto& options : {kMap, kArray}) {
    const auto bytes = EncodeEventBatch(0.5, events, 300, options);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(DecodeEventBatch(std::span(bytes).first(size)).ok()) << size;
    }
    EXPECT_TRUE(DecodeEventBatch(bytes).ok());
  }
}

// --- recordings of vLLM -----------------------------------------------------

std::string GoldenFile(const std::string& name) {
  const char* folder = std::getenv("PAGEDKV_GOLDEN");
  return (folder != nullptr ? std::string(folder)
                            : PAGEDKV_SOURCE_DIR "/../shared/golden") +
         "/" + name;
}

std::string Missing(const std::string& name) {
  return "no " + name + ": set PAGEDKV_GOLDEN to the folder of the recordings";
}

BlockHash HashOfJson(const Json& value) {
  if (value.is_null()) return {};
  if (value.is_object()) {
    return BlockHash(FromHex(value["bytes"].get<std::string>()));
  }
  return HashOfInt(value.get<std::uint64_t>());
}

std::string StringOfJson(const Json& value) {
  return value.is_null() ? "" : value.get<std::string>();
}

std::optional<std::int64_t> IntOfJson(const Json& event, const char* name) {
  const auto value = event.find(name);
  if (value == event.end() || value->is_null()) return std::nullopt;
  return value->get<std::int64_t>();
}

ExtraKeys ExtraOfJson(const Json& value) {
  ExtraKeys keys;
  for (const Json& key : value) {
    if (key.is_string()) {
      keys.emplace_back(key.get<std::string>());
    } else {
      keys.emplace_back(ItemAtOffset(key[0].get<std::string>(), key[1]));
    }
  }
  return keys;
}

KvEvent EventOfJson(const Json& value) {
  const std::string tag = value[0];
  const Json& fields = value[1];
  if (tag == "AllBlocksCleared") return AllBlocksCleared{};
  std::vector<BlockHash> hashes;
  for (const Json& hash : fields["block_hashes"]) {
    hashes.push_back(HashOfJson(hash));
  }
  const int group = fields["group_idx"];
  const std::string tier = StringOfJson(fields["medium"]);
  if (tag == "BlockRemoved") {
    return BlocksRemoved{.group = group, .hashes = hashes, .tier = tier};
  }
  BlocksStored stored{
      .group = group,
      .hashes = hashes,
      .parent = HashOfJson(fields["parent_block_hash"]),
      .tokens = fields["token_ids"],
      .block_size = fields["block_size"],
      .adapter_id = IntOfJson(fields, "lora_id"),
      .adapter = StringOfJson(fields["lora_name"]),
      .tier = tier,
      .kind = std::nullopt,
      .window = IntOfJson(fields, "kv_cache_spec_sliding_window")};
  if (fields.contains("extra_keys")) {
    for (const Json& keys : fields["extra_keys"]) {
      stored.extra.push_back(ExtraOfJson(keys));
    }
  }
  if (fields.contains("kv_cache_spec_kind")) {
    stored.kind = fields["kv_cache_spec_kind"] == "full_attention"
                      ? AttentionKind::kFull
                      : AttentionKind::kSlidingWindow;
  }
  return stored;
}

TEST(KvEventGoldenTest, BytesAreThoseOfVllmInBothFormsAndBothWays) {
  const std::string name = "event_vectors.jsonl";
  std::ifstream file(GoldenFile(name));
  if (!file.is_open()) GTEST_SKIP() << Missing(name);
  int num_cases = 0;
  for (std::string line; std::getline(file, line);) {
    const Json vector = Json::parse(line);
    if (!vector.contains("case")) continue;
    SCOPED_TRACE(vector["case"].get<std::string>());
    ++num_cases;
    std::vector<KvEvent> events;
    for (const Json& event : vector["events"]) {
      events.push_back(EventOfJson(event));
    }
    const double timestamp = vector["ts"];
    const auto rank = IntOfJson(vector, "data_parallel_rank");
    const bool bytes = line.find("{\"bytes\":") != std::string::npos;
    for (const KvEventForm form : {KvEventForm::kMap, KvEventForm::kArray}) {
      const std::string golden =
          vector[form == KvEventForm::kMap ? "msgpack_map" : "msgpack_array"];
      EXPECT_EQ(
          Hex(EncodeEventBatch(timestamp, events, rank,
                               {.form = form,
                                .hashes = bytes ? KvEventHashes::kBytes
                                                : KvEventHashes::kInt64})),
          golden);
      const auto batch = DecodeEventBatch(FromHex(golden));
      ASSERT_TRUE(batch.ok()) << batch.status();
      EXPECT_EQ(batch->timestamp_seconds, timestamp);
      EXPECT_EQ(batch->data_parallel_rank, rank);
      EXPECT_EQ(batch->events, events);
    }
  }
  EXPECT_GE(num_cases, 8);
}

// Whole runs of vLLM: what is decoded has the same bytes again, and a router
// that follows it never sees a block removed that it does not know.
class KvEventRecordingTest : public testing::TestWithParam<const char*> {};

TEST_P(KvEventRecordingTest, ARouterFollowsTheRun) {
  std::ifstream file(GoldenFile(GetParam()));
  if (!file.is_open()) GTEST_SKIP() << Missing(GetParam());
  KvIndexView view;
  int num_batches = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.find("\"events_msgpack\"") == std::string::npos) continue;
    ++num_batches;
    const Json step = Json::parse(line);
    const Json& field = step.contains("events_msgpack")
                            ? step["events_msgpack"]
                            : step["r"]["events_msgpack"];
    const std::string golden = field;
    const auto batch = DecodeEventBatch(FromHex(golden));
    ASSERT_TRUE(batch.ok()) << batch.status();
    ASSERT_EQ(Hex(EncodeEventBatch(batch->timestamp_seconds, batch->events,
                                   batch->data_parallel_rank)),
              golden);
    const absl::Status status = view.Apply(
        {.first_sequence = view.next_sequence(), .events = batch->events});
    ASSERT_TRUE(status.ok()) << status << "\n" << line.substr(0, 60);
  }
  EXPECT_GE(num_batches, 10);
  view.CheckInvariants();
}

INSTANTIATE_TEST_SUITE_P(Golden, KvEventRecordingTest,
                         testing::Values("pool_h_events.jsonl",
                                         "pool_l_events_hybrid.jsonl"),
                         [](const auto& info) {
                           const std::string name = info.param;
                           return name.substr(0, name.find('.'));
                         });

}  // namespace
}  // namespace pagedkv
