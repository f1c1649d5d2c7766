// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_transfer_plan.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/host_block_storage.h"
#include "tests/allocator/kv_transfer_reference.h"
#include "tests/support/count_allocations.h"

namespace pagedkv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr std::int32_t kHeadSize = 8;
constexpr std::int64_t kVector = 16;  // bytes: fp16

KvLayer Layer(std::int32_t heads, KvFormat format = {}) {
  KvLayer layer;
  layer.key = {heads, kHeadSize, format};
  layer.value = {heads, kHeadSize, format};
  return layer;
}

std::vector<KvLayer> Model(std::size_t layers, std::int32_t heads) {
  return std::vector<KvLayer>(layers, Layer(heads));
}

// One side of a pair: all its ranks, one group.
struct Side {
  std::int32_t tensor_parallel = 1;
  std::int32_t block_size = 4;
  std::vector<std::int32_t> blocks{};  // the table, on every rank
  KvOrder order = KvOrder::kNhd;
  KvArrangement arrangement = KvArrangement::kSplit;
  std::int32_t alignment = 1;
};

std::vector<KvReferenceRank> RanksOf(const std::vector<KvLayer>& model,
                                     const Side& side, std::byte fill) {
  std::vector<std::int32_t> layers;
  for (std::size_t i = 0; i < model.size(); ++i) {
    layers.push_back(static_cast<std::int32_t>(i));
  }
  KvLayoutOptions options;
  options.num_blocks = BlockCount(32);
  options.order = side.order;
  options.arrangement = side.arrangement;
  options.alignment = side.alignment;
  std::vector<KvReferenceRank> ranks;
  for (std::int32_t r = 0; r < side.tensor_parallel; ++r) {
    KvReferenceRank& rank =
        ranks.emplace_back(model, KvShard{r, side.tensor_parallel},
                           std::vector<std::vector<std::int32_t>>{layers},
                           std::vector{side.block_size}, options);
    for (const std::int32_t id : side.blocks) {
      rank.tables[0].push_back(BlockId(id));
    }
    rank.Allocate(fill);
  }
  return ranks;
}

class KvTransferPlanTest : public ::testing::Test {
 protected:
  static KvReferencePeers Peers(const std::vector<KvLayer>& model,
                                const Side& source, const Side& destination) {
    return {RanksOf(model, source, std::byte{0x5a}),
            RanksOf(model, destination, std::byte{0xa5})};
  }

  // The copies for a range, after they were proven in two ways.
  static std::vector<KvCopy> Move(KvReferencePeers& peers, std::int64_t first,
                                  std::int64_t num_tokens) {
    std::vector<KvCopy> copies;
    const auto plan = KvTransferPlan::Create(peers.peers());
    EXPECT_TRUE(plan.ok()) << plan.status();
    if (!plan.ok()) return copies;
    const KvTransferRange range = peers.Range(first, num_tokens);
    const absl::Status status = plan->Copies(range, copies);
    EXPECT_TRUE(status.ok()) << status;
    const absl::Status check = CheckKvCopies(peers.peers(), range, copies);
    EXPECT_TRUE(check.ok()) << check;
    peers.FillSource(first + num_tokens);
    peers.ExpectMoved(copies, first, num_tokens);
    return copies;
  }

  static std::string CreateError(const KvTransferPeers& peers) {
    const auto plan = KvTransferPlan::Create(peers);
    if (plan.ok()) return "";
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(plan.status().message());
  }
};

TEST_F(KvTransferPlanTest, EqualLayoutsTakeOneCopyPerBlockAndArena) {
  KvReferencePeers peers =
      Peers(Model(3, 2), {.blocks = {5, 9, 2}}, {.blocks = {7, 3, 1}});
  const std::vector<KvCopy> copies = Move(peers, 0, 12);
  ASSERT_THAT(copies, SizeIs(3 * 2 * 3));
  for (const KvCopy& copy : copies) {
    EXPECT_EQ(copy.bytes, kVector * 4 * 2);
    EXPECT_EQ(copy.count, 1);
  }
}

TEST_F(KvTransferPlanTest, ABlockThatIsOneRunOfBytesTakesOneCopy) {
  for (const KvOrder order : {KvOrder::kNhd, KvOrder::kHnd}) {
    const auto side = [&](const std::vector<std::int32_t>& blocks) {
      return Side{.blocks = blocks,
                  .order = order,
                  .arrangement = KvArrangement::kBlockFirst};
    };
    std::vector<KvLayer> model = Model(3, 2);
    model[1] = Layer(2, KvFormat::For(KvDtype::kInt8));  // and its scales
    KvReferencePeers peers = Peers(model, side({5, 9}), side({7, 3}));
    EXPECT_THAT(Move(peers, 0, 8), SizeIs(2));
  }
}

TEST_F(KvTransferPlanTest, BlocksThatFollowOneAnotherAreOneCopy) {
  // An arena each for K and V of one layer; 4 to 6 and 11 to 13.
  KvReferencePeers peers =
      Peers(Model(1, 2), {.blocks = {4, 5, 6}}, {.blocks = {11, 12, 13}});
  const std::vector<KvCopy> copies = Move(peers, 1, 10);
  ASSERT_THAT(copies, SizeIs(2));
  EXPECT_EQ(copies[0].source_offset, kVector * 2 * (4 * 4 + 1));
  EXPECT_EQ(copies[0].destination_offset, kVector * 2 * (11 * 4 + 1));
  EXPECT_EQ(copies[0].bytes, kVector * 10 * 2);

  // Also where four small blocks make a large one.
  KvReferencePeers larger = Peers(Model(1, 2), {.blocks = {4, 5, 6, 7}},
                                  {.block_size = 16, .blocks = {3}});
  EXPECT_THAT(Move(larger, 0, 16), SizeIs(2));
}

// The second block ends where, in the next arena, the first one begins.
TEST_F(KvTransferPlanTest, ArenasAreNotJoined) {
  KvReferencePeers peers =
      Peers(Model(1, 2), {.blocks = {6, 5}}, {.blocks = {8, 7}});
  EXPECT_THAT(Move(peers, 0, 8), SizeIs(2 * 2));
}

// V begins where a fifth vector of K would, but its vectors are one run, or
// have another distance at the source.
TEST_F(KvTransferPlanTest, OtherRunsDoNotJoinAStridedCopy) {
  struct Case {
    std::int32_t key_heads;
    std::int32_t value_heads;
    std::int32_t tensor_parallel;
  };
  for (const Case& c : {Case{2, 1, 2}, Case{4, 2, 4}}) {
    std::vector<KvLayer> model = Model(1, c.key_heads);
    model[0].value.heads = c.value_heads;
    const auto side = [](std::int32_t tensor_parallel, std::int32_t block) {
      return Side{.tensor_parallel = tensor_parallel,
                  .blocks = {block},
                  .arrangement = KvArrangement::kInterleaved};
    };
    KvReferencePeers peers =
        Peers(model, side(1, 5), side(c.tensor_parallel, 7));
    EXPECT_EQ(std::ssize(Move(peers, 0, 4)), 2 * c.tensor_parallel);
  }
}

TEST_F(KvTransferPlanTest, CopiesNoPadding) {
  // K of 3 tokens takes 48 of 64 bytes.
  const auto side = [](std::int32_t block) {
    return Side{.block_size = 3,
                .blocks = {block},
                .arrangement = KvArrangement::kBlockFirst,
                .alignment = 64};
  };
  KvReferencePeers peers = Peers(Model(1, 1), side(4), side(6));
  const std::vector<KvCopy> copies = Move(peers, 0, 3);
  ASSERT_THAT(copies, SizeIs(2));
  EXPECT_EQ(TotalBytes(copies), Bytes(96));
}

TEST_F(KvTransferPlanTest, ATransposedBlockTakesAStridedCopyPerHead) {
  KvReferencePeers peers =
      Peers(Model(1, 2), {.blocks = {5}, .order = KvOrder::kNhd},
            {.blocks = {7}, .order = KvOrder::kHnd});
  const std::vector<KvCopy> copies = Move(peers, 0, 4);
  ASSERT_THAT(copies, SizeIs(2 * 2));
  for (const KvCopy& copy : copies) {
    EXPECT_EQ(copy.bytes, kVector);
    EXPECT_EQ(copy.count, 4);
    EXPECT_EQ(copy.source_stride, 2 * kVector);
    EXPECT_EQ(copy.destination_stride, kVector);
  }
}

TEST_F(KvTransferPlanTest, RanksOfOneSideGatherWhatOneHolds) {
  KvReferencePeers peers =
      Peers(Model(1, 4), {.blocks = {5, 9}},
            {.tensor_parallel = 4, .block_size = 8, .blocks = {6}});
  const std::vector<KvCopy> copies = Move(peers, 0, 8);
  // One head of 4 tokens, for each rank, of K and of V, from each block.
  ASSERT_THAT(copies, SizeIs(4 * 2 * 2));
  for (const KvCopy& copy : copies) {
    EXPECT_EQ(copy.bytes, kVector);
    EXPECT_EQ(copy.count, 4);
    EXPECT_EQ(copy.source_stride, 4 * kVector);
  }
}

TEST_F(KvTransferPlanTest, LayersOfABlockThatIsSplitAreOneStridedCopy) {
  const auto side = [](std::int32_t tensor_parallel, std::int32_t block) {
    return Side{.tensor_parallel = tensor_parallel,
                .blocks = {block},
                .order = KvOrder::kHnd,
                .arrangement = KvArrangement::kBlockFirst};
  };
  // Two heads of K, then of V, of 4 layers: half of what each tensor is.
  KvReferencePeers peers = Peers(Model(4, 4), side(1, 5), side(2, 7));
  const std::vector<KvCopy> copies = Move(peers, 0, 4);
  ASSERT_THAT(copies, SizeIs(2));
  EXPECT_EQ(copies[0].bytes, kVector * 2 * 4);
  EXPECT_EQ(copies[0].count, 2 * 4);
}

TEST_F(KvTransferPlanTest, ALayerOfAnotherSizeIsACopyOfItsOwn) {
  std::vector<KvLayer> model = Model(5, 2);
  for (KvLayer& layer : model) layer.value = {};
  model[4].key.head_size = kHeadSize / 2;
  const auto side = [](std::int32_t tensor_parallel, std::int32_t block) {
    return Side{.tensor_parallel = tensor_parallel,
                .blocks = {block},
                .order = KvOrder::kHnd,
                .arrangement = KvArrangement::kBlockFirst};
  };
  KvReferencePeers peers = Peers(model, side(1, 5), side(2, 7));
  const std::vector<KvCopy> copies = Move(peers, 0, 4);
  ASSERT_THAT(copies, SizeIs(2 * 2));
  EXPECT_EQ(copies[0].count, 4);
  EXPECT_EQ(copies[1].count, 1);
}

// Source ranks and the bytes that are taken from them.
std::map<std::int32_t, std::int64_t> Load(const std::vector<KvCopy>& copies) {
  std::map<std::int32_t, std::int64_t> load;
  for (const KvCopy& copy : copies) {
    load[copy.source_rank] += copy.bytes * copy.count;
  }
  return load;
}

std::vector<KvLayer> LatentModel(std::size_t layers) {
  KvLayer layer;
  layer.latent = true;
  layer.key = {1, 32, {}};
  layer.value = {1, 8, {}};
  return std::vector<KvLayer>(layers, layer);
}

TEST_F(KvTransferPlanTest, ReplicasShareTheLoad) {
  // One rank fetches from 8 that hold the same: one layer from each.
  KvReferencePeers one = Peers(
      LatentModel(8), {.tensor_parallel = 8, .blocks = {5}}, {.blocks = {7}});
  auto load = Load(Move(one, 0, 4));
  EXPECT_THAT(load, SizeIs(8));
  for (const auto& [rank, bytes] : load) EXPECT_EQ(bytes, 320) << rank;

  // 8 ranks fetch from 2 with one of 2 heads each: 4 from either.
  KvReferencePeers two =
      Peers(Model(3, 2), {.tensor_parallel = 2, .blocks = {5}},
            {.tensor_parallel = 8, .blocks = {7}});
  load = Load(Move(two, 0, 4));
  EXPECT_THAT(load, SizeIs(2));
  EXPECT_EQ(load[0], load[1]);

  // 2 from 8: each takes from the 4 that have its head.
  KvReferencePeers eight =
      Peers(Model(4, 2), {.tensor_parallel = 8, .blocks = {5}},
            {.tensor_parallel = 2, .blocks = {7}});
  load = Load(Move(eight, 0, 4));
  EXPECT_THAT(load, SizeIs(8));
  for (const auto& [rank, bytes] : load) {
    EXPECT_EQ(bytes, kVector * 2 * 4) << rank;
  }
}

TEST_F(KvTransferPlanTest, EqualRanksHaveOnePartnerEach) {
  KvReferencePeers peers =
      Peers(LatentModel(3), {.tensor_parallel = 4, .blocks = {5}},
            {.tensor_parallel = 4, .blocks = {7}});
  for (const KvCopy& copy : Move(peers, 0, 4)) {
    EXPECT_EQ(copy.source_rank, copy.destination_rank);
  }
}

// Ranks that plan for themselves together load the source as one plan does.
TEST_F(KvTransferPlanTest, ARankThatPlansAloneChoosesTheSameSources) {
  KvReferencePeers all =
      Peers(Model(4, 2), {.tensor_parallel = 4, .blocks = {5}},
            {.tensor_parallel = 8, .blocks = {7}});
  std::map<std::int32_t, std::int64_t> sum;
  for (const KvReferenceRank& rank : all.destination) {
    KvReferencePeers alone(all.source, {rank});
    alone.source = RanksOf(alone.source[0].model,
                           {.tensor_parallel = 4, .blocks = {5}}, std::byte{1});
    alone.destination[0].Allocate(std::byte{2});
    for (const auto& [source, bytes] : Load(Move(alone, 0, 4))) {
      sum[source] += bytes;
    }
  }
  EXPECT_EQ(sum, Load(Move(all, 0, 4)));
}

TEST_F(KvTransferPlanTest, LeavesOutWhatWindowsHavePassed) {
  std::vector<KvLayer> model = Model(1, 2);
  model[0].kind = KvLayerKind::kSlidingWindow;
  model[0].window = TokenCount(5);
  // Tokens 0 to 7 are gone at the source, 0 to 2 are not wanted.
  KvReferencePeers peers = Peers(model, {.blocks = {0, 0, 5}},
                                 {.block_size = 3, .blocks = {0, 1, 2, 3}});
  const std::vector<KvCopy> copies = Move(peers, 0, 12);
  EXPECT_EQ(TotalBytes(copies), Bytes(kVector * 4 * 2 * 2));
}

TEST_F(KvTransferPlanTest, AMissingBlockWithoutAWindowIsAnError) {
  KvReferencePeers peers =
      Peers(Model(1, 2), {.blocks = {5, 0}}, {.blocks = {7, 3}});
  const auto plan = KvTransferPlan::Create(peers.peers());
  ASSERT_TRUE(plan.ok()) << plan.status();
  std::vector<KvCopy> copies(1);
  const absl::Status status = plan->Copies(peers.Range(0, 8), copies);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("source rank 0, group 0: token 4"));
  EXPECT_THAT(copies, SizeIs(1));  // as it was
  EXPECT_TRUE(plan->Copies(peers.Range(0, 4), copies).ok());
}

TEST_F(KvTransferPlanTest, RunsWithCommonScalesMoveAsAWhole) {
  const KvFormat format{.dtype = KvDtype::kInt4,
                        .scheme = ScaleScheme::kChannel,
                        .group = 4,
                        .scale_bits = 16};
  const std::vector<KvLayer> model = {Layer(2, format)};
  KvReferencePeers peers = Peers(model, {.block_size = 4, .blocks = {5, 9}},
                                 {.block_size = 8, .blocks = {7}});
  Move(peers, 4, 4);
  const auto plan = KvTransferPlan::Create(peers.peers());
  ASSERT_TRUE(plan.ok()) << plan.status();
  std::vector<KvCopy> copies;
  for (const KvTransferRange& range : {peers.Range(0, 6), peers.Range(2, 2)}) {
    const absl::Status status = plan->Copies(range, copies);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("4 tokens share their scales"));
    EXPECT_FALSE(CheckKvCopies(peers.peers(), range, copies).ok());
  }

  // A scale for each whole block is another thing in blocks of another size.
  KvFormat whole = format;
  whole.group = 0;
  EXPECT_THAT(
      CreateError(Peers({Layer(2, whole)}, {.block_size = 4}, {.block_size = 8})
                      .peers()),
      HasSubstr("8 tokens share the scale of a channel, at the source "
                "4: convert with GatherKv and ScatterKv"));
}

TEST_F(KvTransferPlanTest, AWarmListTakesNoMemory) {
  KvReferencePeers peers = Peers(
      Model(8, 4), {.blocks = {5, 9, 2, 14, 6}},
      {.tensor_parallel = 2, .block_size = 3, .blocks = {7, 3, 1, 8, 9, 12}});
  const auto plan = KvTransferPlan::Create(peers.peers());
  ASSERT_TRUE(plan.ok()) << plan.status();
  std::vector<KvCopy> copies;
  ASSERT_TRUE(plan->Copies(peers.Range(0, 18), copies).ok());
  const std::vector<KvCopy> expected = copies;
  const KvTransferRange range = peers.Range(0, 18);
  const Allocations before = CountedAllocations();
  const bool ok = plan->Copies(range, copies).ok();
  EXPECT_EQ(CountedAllocations().calls, before.calls);
  EXPECT_TRUE(ok);
  EXPECT_EQ(copies, expected);
}

TEST_F(KvTransferPlanTest, MovesBetweenBlockStorages) {
  // Two groups share the arenas, so that the smaller one's blocks lie apart.
  const std::vector<KvLayer> model = {Layer(2), Layer(4)};
  const auto storage_of = [&](const KvLayout& layout) {
    auto storage =
        HostBlockStorage::Create({.layout = layout.storage_layout()});
    EXPECT_TRUE(storage.ok()) << storage.status();
    return *std::move(storage);
  };
  const auto layout_of = [&](std::int32_t block_size, KvOrder order) {
    KvLayoutOptions options;
    options.num_blocks = BlockCount(8);
    options.groups = {{BlockSize(block_size), {model[0]}},
                      {BlockSize(block_size), {model[1]}}};
    options.order = order;
    return *KvLayout::Create(options);
  };
  const KvLayout from = layout_of(4, KvOrder::kNhd);
  const KvLayout to = layout_of(2, KvOrder::kHnd);
  const auto source = storage_of(from);
  const auto destination = storage_of(to);
  const auto plan =
      KvTransferPlan::Create({.model = model,
                              .source = {{.shard = {}, .layout = from}},
                              .destination = {{.shard = {}, .layout = to}}});
  ASSERT_TRUE(plan.ok()) << plan.status();

  // Token 3 of group 1: slot 3 of block 6, slot 1 of block 5.
  const KvTensorView a = from.View(*source, 1, 0, KvRole::kValue);
  const KvTensorView b = to.View(*destination, 1, 0, KvRole::kValue);
  const char content[kVector + 1] = "sixteen bytes..!";
  std::memcpy(a.base + 6 * a.block_stride + 3 * a.token_stride + a.head_stride,
              content, kVector);
  const std::vector<BlockId> s0 = {BlockId(1)};
  const std::vector<BlockId> s1 = {BlockId(6)};
  const std::vector<BlockId> d0 = {BlockId(2), BlockId(3)};
  const std::vector<BlockId> d1 = {BlockId(4), BlockId(5)};
  const std::vector<std::span<const BlockId>> source_groups = {s0, s1};
  const std::vector<std::span<const BlockId>> destination_groups = {d0, d1};
  const KvTables source_tables = source_groups;
  const KvTables destination_tables = destination_groups;
  std::vector<KvCopy> copies;
  ASSERT_TRUE(plan->Copies({.source = {&source_tables, 1},
                            .destination = {&destination_tables, 1},
                            .first = TokenCount(0),
                            .num_tokens = TokenCount(4)},
                           copies)
                  .ok());
  const std::vector<std::byte*> source_arenas = ArenasOf(*source);
  const std::vector<std::byte*> destination_arenas = ArenasOf(*destination);
  const KvArenas sources = source_arenas;
  const KvArenas destinations = destination_arenas;
  ExecuteKvCopies(copies, {&sources, 1}, {&destinations, 1});
  EXPECT_EQ(
      std::memcmp(b.base + 5 * b.block_stride + b.token_stride + b.head_stride,
                  content, kVector),
      0);
}

TEST_F(KvTransferPlanTest, RefusesPeersThatDoNotFitAndSaysWhere) {
  const std::vector<KvLayer> model = Model(2, 4);
  const KvTransferPeers good =
      Peers(model, {.tensor_parallel = 2}, {.tensor_parallel = 4}).peers();
  EXPECT_EQ(CreateError(good), "");
  const auto error = [&](const auto& change) {
    KvTransferPeers peers = good;
    change(peers);
    return CreateError(peers);
  };
  using P = KvTransferPeers;
  EXPECT_THAT(error([](P& p) { p.source.clear(); }),
              HasSubstr("source: no ranks"));
  EXPECT_THAT(error([](P& p) { p.destination[3].shard.rank = 4; }),
              HasSubstr("destination rank 3: there is no shard 4 of 4"));
  EXPECT_THAT(error([](P& p) { p.source[0].shard.tensor_parallel = 4; }),
              HasSubstr("source rank 0: layer 0, key: 2 heads, but 4 over 4 "
                        "ranks are 1: create the layout from"));
  EXPECT_THAT(error([](P& p) { p.source[1].shard = {1, 3}; }),
              HasSubstr("4 KV heads cannot be split over 3 ranks"));
  EXPECT_THAT(error([](P& p) { p.source.pop_back(); }),
              HasSubstr("destination rank 2, layer 0, key: no source rank has "
                        "head 2"));
  EXPECT_THAT(error([](P& p) { p.source[0].layers[0] = {0, 2}; }),
              HasSubstr("source rank 0: layer 2 is not one of the model's 2"));
  EXPECT_THAT(error([](P& p) { p.source[0].layers[0] = {0, 0}; }),
              HasSubstr("layer 0 is named twice"));
  EXPECT_THAT(error([](P& p) { p.source[0].layers[0] = {0}; }),
              HasSubstr("`layers` has not the groups"));
  EXPECT_THAT(error([](P& p) {
                p.model.push_back(p.model[0]);
                p.source[0].layers.clear();
              }),
              HasSubstr("the layout has 2 layers, the model keeps keys and "
                        "values in 3"));
  EXPECT_THAT(
      error([](P& p) { p.model[1] = {.kind = KvLayerKind::kStateless}; }),
      HasSubstr("layer 1 of the model stores no keys"));
  EXPECT_THAT(error([](P& p) { p.model[1].value.head_size = 4; }),
              HasSubstr("layer 1, value: head size 8, the model has 4"));
  EXPECT_THAT(error([](P& p) { p.model[1].value.heads = 0; }),
              HasSubstr("layer 1, value: 2 heads, the model has 0"));
  EXPECT_THAT(error([](P& p) { p.source[0].block_strides = {Bytes(1)}; }),
              HasSubstr("1 block strides for 4 arenas"));
  EXPECT_THAT(error([](P& p) {
                p.source[0].block_strides = {Bytes(128), Bytes(128), Bytes(127),
                                             Bytes(128)};
              }),
              HasSubstr("the block stride of arena 2 is 127, a block has 128"));
  EXPECT_THAT(error([](P& p) {
                p.source[0].block_strides.assign(4,
                                                 Bytes(std::int64_t{1} << 61));
              }),
              HasSubstr("arena 0 exceeds 2^62 bytes"));

  const auto other_format = [&](KvFormat format) {
    KvTransferPeers peers = good;
    peers.destination =
        Peers({model[0], Layer(4, format)}, {}, {.tensor_parallel = 4})
            .peers()
            .destination;
    return CreateError(peers);
  };
  EXPECT_EQ(other_format({.dtype = KvDtype::kFp8}),
            "destination rank 0, layer 1, key: fp8, the source has fp16: "
            "convert with GatherKv and ScatterKv");
  EXPECT_THAT(other_format(KvFormat::For(KvDtype::kBf16)),
              HasSubstr("bf16, the source has fp16"));

  KvFormat wide = KvFormat::For(KvDtype::kInt8);
  wide.scale_bits = wide.zero_point_bits = 32;
  KvTransferPeers scales =
      Peers({Layer(4, KvFormat::For(KvDtype::kInt8))}, {}, {}).peers();
  scales.destination = Peers({Layer(4, wide)}, {}, {}).peers().destination;
  EXPECT_THAT(CreateError(scales),
              HasSubstr("its scales are not those of the source: convert"));
}

TEST_F(KvTransferPlanTest, LayersAreFoundByTheirNumberInTheModel) {
  // The source numbers them from the end, and the last one is somewhere else.
  KvReferencePeers peers = Peers(Model(3, 2), {.blocks = {5}}, {.blocks = {7}});
  peers.source[0].rank.layers = {{2, 1, 0}};
  Move(peers, 0, 4);

  // Layers that store nothing are left out of the default.
  KvReferencePeers gap = Peers(Model(2, 2), {.blocks = {5}}, {.blocks = {7}});
  for (auto* side : {&gap.source, &gap.destination}) {
    KvReferenceRank& rank = (*side)[0];
    rank.model.insert(rank.model.begin(), {.kind = KvLayerKind::kStateless});
    rank.rank.layers.clear();
  }
  const auto plan = KvTransferPlan::Create(gap.peers());
  ASSERT_TRUE(plan.ok()) << plan.status();
  std::vector<KvCopy> copies;
  ASSERT_TRUE(plan->Copies(gap.Range(0, 4), copies).ok());
  EXPECT_THAT(copies, SizeIs(4));
}

TEST_F(KvTransferPlanTest, RefusesTablesThatDoNotHoldTheRange) {
  KvReferencePeers peers =
      Peers(Model(1, 2), {.blocks = {5, 9}}, {.blocks = {7, 3}});
  const auto plan = KvTransferPlan::Create(peers.peers());
  ASSERT_TRUE(plan.ok()) << plan.status();
  std::vector<KvCopy> copies;
  const auto error = [&](const KvTransferRange& range) {
    const absl::Status status = plan->Copies(range, copies);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(error(peers.Range(0, 9)),
              HasSubstr("source rank 0, group 0: the table has 2 blocks, 9 "
                        "tokens in blocks of 4 need 3"));
  EXPECT_THAT(error(peers.Range(-1, 2)), HasSubstr("are no range"));
  EXPECT_THAT(error(peers.Range(0, -1)), HasSubstr("are no range"));
  KvTransferRange range = peers.Range(0, 4);
  range.destination = {};
  EXPECT_THAT(error(range), HasSubstr("destination: tables of 0 ranks"));
  const KvTables none;
  range.destination = {&none, 1};
  EXPECT_THAT(error(range),
              HasSubstr("destination rank 0: tables of 0 groups"));
  peers.destination[0].tables[0][1] = BlockId(32);
  EXPECT_THAT(error(peers.Range(0, 8)),
              HasSubstr("destination rank 0, group 0: entry 1 of the table is "
                        "block 32, the pool has 32"));
  EXPECT_TRUE(plan->Copies(peers.Range(0, 4), copies).ok());
  EXPECT_TRUE(plan->Copies(peers.Range(0, 0), copies).ok());
  EXPECT_THAT(copies, SizeIs(0));
}

class CheckKvCopiesTest : public KvTransferPlanTest {
 protected:
  CheckKvCopiesTest()
      : peers_(Peers(
            {Layer(4, KvFormat::For(KvDtype::kInt8)), Layer(4)},
            {.tensor_parallel = 2, .blocks = {5, 9}},
            {.block_size = 3, .blocks = {7, 3, 4}, .order = KvOrder::kHnd})) {
    const auto plan = KvTransferPlan::Create(peers_.peers());
    EXPECT_TRUE(plan.ok()) << plan.status();
    EXPECT_TRUE(plan->Copies(peers_.Range(1, 7), copies_).ok());
  }

  std::string Fault(const std::vector<KvCopy>& copies) {
    const absl::Status status =
        CheckKvCopies(peers_.peers(), peers_.Range(1, 7), copies);
    if (status.ok()) return "";
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    return std::string(status.message());
  }

  KvReferencePeers peers_;
  std::vector<KvCopy> copies_;
};

TEST_F(CheckKvCopiesTest, AcceptsAnyOrderAndAnySplit) {
  EXPECT_EQ(Fault(copies_), "");
  std::vector<KvCopy> bytes;
  for (const KvCopy& copy : copies_) {
    for (std::int64_t run = 0; run < copy.count; ++run) {
      for (std::int64_t i = 0; i < copy.bytes; ++i) {
        KvCopy byte = copy;
        byte.source_offset += run * copy.source_stride + i;
        byte.destination_offset += run * copy.destination_stride + i;
        byte.bytes = byte.count = 1;
        bytes.push_back(byte);
      }
    }
  }
  std::reverse(bytes.begin(), bytes.end());
  EXPECT_EQ(Fault(bytes), "");
}

TEST_F(CheckKvCopiesTest, FindsEveryChangeOfEveryCopy) {
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "copy " << i);
    const auto changed = [&](const auto& change) {
      std::vector<KvCopy> copies = copies_;
      change(copies[i]);
      return Fault(copies);
    };
    EXPECT_NE(changed([](KvCopy& c) { c.source_offset += 1; }), "");
    EXPECT_NE(changed([](KvCopy& c) { c.source_offset -= 16; }), "");
    EXPECT_NE(changed([](KvCopy& c) { c.destination_offset += 1; }), "");
    EXPECT_NE(changed([](KvCopy& c) { c.destination_offset -= 16; }), "");
    EXPECT_NE(changed([](KvCopy& c) { c.bytes += 1; }), "");
    EXPECT_NE(changed([](KvCopy& c) { c.bytes -= 1; }), "");
    EXPECT_NE(changed([](KvCopy& c) { c.count += 1; }), "");
    EXPECT_NE(changed([](KvCopy& c) { c.source_rank ^= 1; }), "");
    EXPECT_NE(changed([](KvCopy& c) { c.source_arena ^= 1; }), "");
    EXPECT_NE(changed([](KvCopy& c) { c.destination_arena ^= 1; }), "");
    EXPECT_NE(changed([](KvCopy& c) { c.destination_rank = 1; }), "");
    EXPECT_NE(changed([](KvCopy& c) { c.source_rank = -1; }), "");
    EXPECT_NE(changed([](KvCopy& c) { c.destination_arena = 9; }), "");
    if (copies_[i].count > 1) {
      EXPECT_NE(changed([](KvCopy& c) { c.source_stride += 1; }), "");
      EXPECT_NE(changed([](KvCopy& c) { c.destination_stride += 1; }), "");
    }
    std::vector<KvCopy> copies = copies_;
    copies.push_back(copies[i]);
    EXPECT_THAT(Fault(copies), HasSubstr("is written twice"));
    copies.pop_back();
    copies.erase(copies.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_THAT(Fault(copies), HasSubstr("is not written"));
  }
}

TEST_F(CheckKvCopiesTest, NamesTheElement) {
  std::vector<KvCopy> copies = copies_;
  copies[0].source_offset += 1;
  EXPECT_THAT(Fault(copies),
              HasSubstr("destination rank 0, layer 0, key, token 1, head 0: "
                        "vector comes from another place"));
  // A byte behind all blocks.
  copies = copies_;
  copies.push_back({.destination_offset = 1 << 20, .bytes = 1});
  EXPECT_THAT(Fault(copies), HasSubstr("only 0 belong to elements"));
}

TEST_F(CheckKvCopiesTest, FindsABlockThatIsNamedTwice) {
  peers_.destination[0].tables[0] = {BlockId(7), BlockId(3), BlockId(7)};
  const auto plan = KvTransferPlan::Create(peers_.peers());
  ASSERT_TRUE(plan->Copies(peers_.Range(1, 7), copies_).ok());
  EXPECT_THAT(Fault(copies_), HasSubstr("is written twice"));
}

}  // namespace
}  // namespace pagedkv
