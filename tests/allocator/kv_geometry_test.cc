// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_geometry.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv {
namespace {

using ::testing::HasSubstr;

constexpr std::int32_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxInt64 = std::numeric_limits<std::int64_t>::max();

KvLayer Layer(std::int32_t heads, std::int32_t head_size,
              KvFormat format = KvFormat::For(KvDtype::kFp16)) {
  KvLayer layer;
  layer.key = layer.value = {heads, head_size, format};
  return layer;
}

KvLayer Latent(std::int32_t latent, std::int32_t rotary) {
  KvLayer layer;
  layer.latent = true;
  layer.key = {1, latent, {}};
  layer.value = {1, rotary, {}};
  return layer;
}

KvLayer Windowed(KvLayerKind kind, std::int64_t window) {
  KvLayer layer = Layer(1, 1);  // 4 bytes per token
  layer.kind = kind;
  layer.window = TokenCount(window);
  return layer;
}

KvLayer Shared(std::int32_t with) {
  KvLayer layer;
  layer.kind = KvLayerKind::kShared;
  layer.shared_with = with;
  return layer;
}

KvLayer Stateless() {
  KvLayer layer;
  layer.kind = KvLayerKind::kStateless;
  return layer;
}

KvLayer Cross(std::int64_t encoder_tokens) {
  KvLayer layer = Layer(1, 1);  // 4 bytes per token
  layer.kind = KvLayerKind::kCross;
  layer.encoder_tokens = TokenCount(encoder_tokens);
  return layer;
}

KvLayer State(std::int64_t bytes) {
  KvLayer layer;
  layer.kind = KvLayerKind::kStateSpace;
  layer.state = Bytes(bytes);
  return layer;
}

KvGeometry Make(std::vector<KvLayer> layers, std::int32_t block_size = 16) {
  absl::StatusOr<KvGeometry> geometry =
      KvGeometry::Create(std::move(layers), BlockSize(block_size));
  EXPECT_TRUE(geometry.ok()) << geometry.status();
  return *std::move(geometry);
}

KvGeometry Make(const KvLayer& layer, std::int32_t block_size = 16) {
  return Make(std::vector<KvLayer>{layer}, block_size);
}

std::string ErrorOf(const std::vector<KvLayer>& layers,
                    std::int32_t block_size = 16) {
  return std::string(
      KvGeometry::Create(layers, BlockSize(block_size)).status().message());
}

TEST(KvGeometryTest, TokenAndBlockAreTheProductOfTheirFactors) {
  struct Case {
    const char* name;
    int layers;
    KvLayer layer;
    std::int64_t bytes_per_token;
  };
  const Case cases[] = {
      {"MHA, 32 layers x 32 heads x 128", 32, Layer(32, 128), 524'288},
      {"GQA, 80 layers x 8 heads x 128", 80, Layer(8, 128), 327'680},
      {"MQA, 32 layers x 1 head x 64", 32, Layer(1, 64), 8'192},
      {"MLA, (512 + 64) x 60, no factor 2", 60, Latent(512, 64), 69'120},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const KvGeometry geometry = Make(
        std::vector<KvLayer>(static_cast<std::size_t>(c.layers), c.layer), 16);
    EXPECT_EQ(geometry.bytes_per_token(), Bytes(c.bytes_per_token));
    EXPECT_EQ(geometry.bytes_per_block(), Bytes(16 * c.bytes_per_token));
    EXPECT_EQ(*geometry.PoolBytes(BlockCount(10)),
              Bytes(160 * c.bytes_per_token));
    EXPECT_EQ(*geometry.BytesAtLength(TokenCount(100)),
              Bytes(100 * c.bytes_per_token));
    EXPECT_EQ(*geometry.BlockBytesAtLength(TokenCount(100)),
              Bytes(112 * c.bytes_per_token));
  }
}

TEST(KvGeometryTest, KAndVMayDifferInSizeAndDtype) {
  KvLayer layer;
  layer.key = {2, 192, KvFormat::For(KvDtype::kFp8)};
  layer.value = {2, 128, KvFormat::For(KvDtype::kFp32)};
  EXPECT_EQ(Make(layer).bytes_per_token(), Bytes(2 * 192 + 2 * 128 * 4));
}

TEST(KvGeometryTest, ALayerMayStoreKeysOnly) {
  KvLayer layer;
  layer.key = {1, 576, {}};
  EXPECT_EQ(Make(layer).bytes_per_token(), Bytes(1152));
}

TEST(KvGeometryTest, EachDtypeHasItsWidth) {
  const std::int64_t expected[] = {2048, 1024, 1024, 512, 512, 512, 256, 128};
  for (std::size_t i = 0; i < kKvDtypes.size(); ++i) {
    const KvFormat plain{.dtype = kKvDtypes[i]};
    EXPECT_EQ(Make(Layer(2, 128, plain)).bytes_per_token(), Bytes(expected[i]))
        << KvDtypeName(kKvDtypes[i]);
  }
}

TEST(KvGeometryTest, ScalesPerTokenAreCountedForEachHeadOfKAndV) {
  // 8 heads x (128 elements x 4 bit + 32 bit), for K and V.
  const KvGeometry geometry =
      Make(Layer(8, 128, KvFormat::For(KvDtype::kInt4)));
  EXPECT_EQ(geometry.bytes_per_token(), Bytes(2LL * 8 * (64 + 4)));
}

TEST(KvGeometryTest, ScalesPerGroupCountAShorterLastGroup) {
  const KvFormat format{.dtype = KvDtype::kInt4,
                        .scheme = ScaleScheme::kGroup,
                        .group = 64,
                        .scale_bits = 16,
                        .zero_point_bits = 16};
  EXPECT_EQ(Make(Layer(1, 128, format)).bytes_per_token(),
            Bytes(2LL * (64 + 2 * 4)));
  EXPECT_EQ(Make(Layer(1, 80, format)).bytes_per_token(),
            Bytes(2LL * (40 + 2 * 4)));
}

TEST(KvGeometryTest, ScalesPerChannelAreSharedByTheTokensOfARun) {
  KvFormat format{.dtype = KvDtype::kInt2,
                  .scheme = ScaleScheme::kChannel,
                  .group = 8,
                  .scale_bits = 16,
                  .zero_point_bits = 16};
  // 16 tokens x 128 x 2 bit, and 2 runs x 128 channels x 32 bit.
  const std::int64_t half_block = 16 * 128 / 4 + 2 * 128 * 4;
  EXPECT_EQ(Make(Layer(1, 128, format)).bytes_per_block(),
            Bytes(2 * half_block));
  EXPECT_EQ(Make(Layer(1, 128, format)).bytes_per_token(),
            Bytes(2 * half_block / 16));
  format.group = 0;  // a whole block
  EXPECT_EQ(Make(Layer(1, 128, format)).bytes_per_block(),
            Bytes(2LL * (16 * 128 / 4 + 128 * 4)));
  // 20 tokens begin a second block's worth of scales.
  EXPECT_EQ(*Make(Layer(1, 128, format)).BytesAtLength(TokenCount(20)),
            Bytes(2LL * (20 * 128 / 4 + 2 * 128 * 4)));
}

TEST(KvGeometryTest, BitsAreRoundedUpOncePerBlockForKAndForV) {
  // 3 tokens x 1 element x 2 bit = 6 bit: one byte each for K and V, though a
  // token by itself has 4 bit in all.
  const KvFormat format{.dtype = KvDtype::kInt2};
  const KvGeometry geometry = Make(Layer(1, 1, format), 3);
  EXPECT_EQ(geometry.bytes_per_block(), Bytes(2));
  EXPECT_EQ(geometry.bytes_per_token(), Bytes(1));
  EXPECT_EQ(*geometry.BlockBytesAtLength(TokenCount(7)), Bytes(6));
  EXPECT_EQ(*geometry.BytesAtLength(TokenCount(7)), Bytes(4));
}

TEST(KvGeometryTest, DefaultFormatsOfIntegersHaveScalesAndOthersNone) {
  for (const KvDtype dtype : kKvDtypes) {
    const bool is_integer = IsInteger(dtype);
    const KvFormat format = KvFormat::For(dtype);
    EXPECT_EQ(format.scheme,
              is_integer ? ScaleScheme::kToken : ScaleScheme::kTensor);
    EXPECT_EQ(format.scale_bits + format.zero_point_bits, is_integer ? 32 : 0);
  }
}

TEST(KvGeometryTest, AWindowBoundsWhatItsLayerKeeps) {
  const KvGeometry geometry =
      Make({Layer(1, 1), Windowed(KvLayerKind::kSlidingWindow, 10),
            Windowed(KvLayerKind::kChunked, 12)},
           4);
  EXPECT_EQ(geometry.bytes_per_token(), Bytes(12));
  EXPECT_EQ(*geometry.BytesAtLength(TokenCount(8)), Bytes(3LL * 8 * 4));
  EXPECT_EQ(*geometry.BytesAtLength(TokenCount(100)),
            Bytes((100LL + 10 + 12) * 4));
}

/// The most blocks in use on the way to `length`, token by token.
std::int64_t NaivePeakBlocks(const KvLayer& layer, std::int64_t length,
                             std::int64_t block_size) {
  std::int64_t peak = 0;
  const std::int64_t window = layer.window.value();
  for (std::int64_t n = 1; n <= length; ++n) {
    const std::int64_t last = n - 1;
    const std::int64_t first = layer.kind == KvLayerKind::kSlidingWindow
                                   ? std::max<std::int64_t>(0, n - window)
                                   : last / window * window;
    peak = std::max(peak, last / block_size - first / block_size + 1);
  }
  return peak;
}

TEST(KvGeometryTest, AWindowInBlocksEqualsCountingThemTokenByToken) {
  for (const KvLayerKind kind :
       {KvLayerKind::kSlidingWindow, KvLayerKind::kChunked}) {
    for (std::int32_t block_size = 1; block_size <= 6; ++block_size) {
      for (std::int64_t window = 1; window <= 20; ++window) {
        const KvLayer layer = Windowed(kind, window);
        const KvGeometry geometry = Make(layer, block_size);
        for (const std::int64_t length : {0, 1, 5, 19, 20, 21, 200}) {
          const std::int64_t naive = NaivePeakBlocks(layer, length, block_size);
          const Bytes bytes = *geometry.BlockBytesAtLength(TokenCount(length));
          if (kind == KvLayerKind::kChunked && length < 200) {
            // The worst chunk may lie beyond: a bound.
            EXPECT_GE(bytes, geometry.bytes_per_block() * naive);
          } else {
            EXPECT_EQ(bytes, geometry.bytes_per_block() * naive)
                << length << " tokens, window " << window << ", blocks of "
                << block_size;
          }
        }
      }
    }
  }
}

TEST(KvGeometryTest, SharedAndStatelessLayersStoreNothing) {
  const KvGeometry geometry =
      Make({Layer(1, 1), Stateless(), Shared(0), Layer(1, 2)});
  EXPECT_EQ(geometry.bytes_per_token(), Bytes(4 + 8));
}

TEST(KvGeometryTest, EncoderTokensAndStatesAreKeptFromTheFirstTokenOn) {
  const KvGeometry geometry = Make({Layer(1, 1), Cross(100), State(7)});
  EXPECT_EQ(geometry.bytes_per_block(), Bytes(2LL * 64))
      << "no part of a state";
  EXPECT_EQ(geometry.bytes_per_page(1), Bytes(64));
  EXPECT_EQ(geometry.bytes_per_page(2), Bytes(7));
  EXPECT_EQ(*geometry.BytesAtLength(TokenCount(0)), Bytes(0));
  EXPECT_EQ(*geometry.BlockBytesAtLength(TokenCount(0)), Bytes(0));
  for (const std::int64_t length : {1, 20, 5000}) {
    EXPECT_EQ(*geometry.BytesAtLength(TokenCount(length)),
              Bytes(4 * length + 400 + 7));
    EXPECT_EQ(*geometry.BlockBytesAtLength(TokenCount(length)),
              Bytes((length + 15) / 16 * 64 + 7LL * 64 + 7));
    EXPECT_EQ(*geometry.LayerBlockBytesAtLength(1, TokenCount(length)),
              Bytes(7LL * 64));
    EXPECT_EQ(*geometry.LayerBlockBytesAtLength(2, TokenCount(length)),
              Bytes(7));
  }
  EXPECT_EQ(geometry.LayerBlockBytesAtLength(0, TokenCount(-1)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Make({State(kMaxInt64), State(1)})
                .BytesAtLength(TokenCount(1))
                .status()
                .code(),
            absl::StatusCode::kOutOfRange);
}

TEST(KvGeometryTest, RanksSplitStatesAndTheHeadsOfCrossAttention) {
  KvLayer cross = Cross(100);
  cross.key.heads = cross.value.heads = 8;
  const auto stages = Make({cross, State(1001)}).Shard(2, 1);
  ASSERT_TRUE(stages.ok()) << stages.status();
  EXPECT_EQ((*stages)[0].bytes_per_token(), Bytes(4LL * 4));
  EXPECT_EQ((*stages)[0].bytes_per_page(1), Bytes(501));
}

TEST(KvGeometryTest, ABudgetHoldsWholeBlocksAndWholeSlots) {
  // OPT-13B in 12 GiB (PagedAttention paper, table 1: 15.7K slots).
  const KvGeometry geometry = Make(std::vector<KvLayer>(40, Layer(40, 128)));
  const Bytes budget(12LL << 30);
  EXPECT_EQ(geometry.bytes_per_token(), Bytes(819'200));
  EXPECT_EQ(geometry.NumSlots(budget), TokenCount(15'728));
  EXPECT_EQ(geometry.NumBlocks(budget), BlockCount(983));
  EXPECT_EQ(geometry.NumBlocks(geometry.bytes_per_block()), BlockCount(1));
  EXPECT_EQ(geometry.NumBlocks(geometry.bytes_per_block() - Bytes(1)),
            BlockCount(0));
  EXPECT_EQ(geometry.NumBlocks(Bytes(-1)), BlockCount(0));
  EXPECT_EQ(geometry.NumSlots(Bytes(-1)), TokenCount(0));
}

TEST(KvGeometryTest, NothingStoredNeedsNoMemory) {
  const KvGeometry geometry = Make(Stateless());
  EXPECT_EQ(geometry.bytes_per_token(), Bytes(0));
  EXPECT_EQ(geometry.NumBlocks(Bytes(1)), BlockCount(kMaxInt64));
  EXPECT_EQ(geometry.NumSlots(Bytes(1)), TokenCount(kMaxInt64));
}

TEST(KvGeometryTest, TensorParallelRanksSplitHeadsOrReplicateThem) {
  const KvGeometry model = Make(std::vector<KvLayer>(80, Layer(8, 128)));
  const std::int64_t whole = 327'680;
  const struct {
    std::int32_t ranks;
    std::int64_t bytes;
  } cases[] = {{1, whole},
               {2, whole / 2},
               {8, whole / 8},
               {16, whole / 8},
               {64, whole / 8}};
  for (const auto& [ranks, bytes] : cases) {
    const auto stages = model.Shard(ranks, 1);
    ASSERT_TRUE(stages.ok()) << stages.status();
    ASSERT_EQ(stages->size(), 1u);
    EXPECT_EQ(stages->front().bytes_per_token(), Bytes(bytes)) << ranks;
  }
  EXPECT_THAT(std::string(model.Shard(3, 1).status().message()),
              HasSubstr("8 KV heads cannot be split over 3 ranks"));
  EXPECT_THAT(std::string(model.Shard(12, 1).status().message()),
              HasSubstr("8 KV heads cannot be split over 12 ranks"));
}

TEST(KvGeometryTest, EveryTensorParallelRankHoldsTheWholeLatent) {
  const KvGeometry model = Make(std::vector<KvLayer>(60, Latent(512, 64)));
  EXPECT_EQ(model.Shard(8, 1)->front().bytes_per_token(), Bytes(69'120));
}

TEST(KvGeometryTest, TheFirstStagesOfAPipelineGetTheLayersLeftOver) {
  const auto stages =
      Make(std::vector<KvLayer>(61, Latent(512, 64))).Shard(1, 4);
  ASSERT_TRUE(stages.ok());
  std::vector<std::size_t> layers;
  for (const KvGeometry& stage : *stages) {
    layers.push_back(stage.layers().size());
    EXPECT_EQ(stage.bytes_per_token(),
              Bytes(static_cast<std::int64_t>(layers.back()) * 576 * 2));
  }
  EXPECT_THAT(layers, ::testing::ElementsAre(16, 15, 15, 15));
}

TEST(KvGeometryTest, AStageKeepsItsOwnCopyOfALayerSharedFromAnother) {
  // Layers 2 and 3 read layer 0, which lies in the other stage.
  const KvGeometry model =
      Make({Layer(2, 1), Layer(4, 1), Shared(0), Shared(0)});
  const auto stages = model.Shard(2, 2);
  ASSERT_TRUE(stages.ok()) << stages.status();
  EXPECT_EQ((*stages)[0].bytes_per_token(), Bytes((1LL + 2) * 4));
  EXPECT_EQ((*stages)[1].bytes_per_token(), Bytes(1LL * 4));
  EXPECT_EQ((*stages)[1].layers()[1].shared_with, 0);
}

TEST(KvGeometryTest, ShardRefusesImpossibleNumbersOfRanks) {
  const KvGeometry model = Make({Layer(1, 1), Layer(1, 1)});
  EXPECT_FALSE(model.Shard(0, 1).ok());
  EXPECT_FALSE(model.Shard(1, -1).ok());
  EXPECT_THAT(std::string(model.Shard(1, 3).status().message()),
              HasSubstr("2 layers do not fill 3 stages"));
}

TEST(KvGeometryTest, CreateNamesTheLayerAndTheMistake) {
  KvLayer bad_format = Layer(1, 64);
  bad_format.value.format = {.dtype = KvDtype::kInt8,
                             .scheme = ScaleScheme::kGroup};
  KvLayer fp16_scales = Layer(1, 64);
  fp16_scales.key.format.scheme = ScaleScheme::kToken;
  KvLayer bad_run = Layer(
      1, 64,
      {.dtype = KvDtype::kInt4, .scheme = ScaleScheme::kChannel, .group = 5});
  KvLayer stray_group = Layer(
      1, 64,
      {.dtype = KvDtype::kInt4, .scheme = ScaleScheme::kToken, .group = 5});
  KvLayer negative_scale = Layer(1, 64,
                                 {.dtype = KvDtype::kInt4,
                                  .scheme = ScaleScheme::kToken,
                                  .scale_bits = -16});
  KvLayer two_latents = Latent(512, 64);
  two_latents.key.heads = 2;
  const struct {
    std::vector<KvLayer> layers;
    const char* message;
  } cases[] = {
      {{}, "at least one layer"},
      {{Layer(1, 1), Layer(0, 1)},
       "layer 1, key: the number of heads must be positive"},
      {{Layer(1, -1)}, "layer 0, key: the head size must be positive"},
      {{Windowed(KvLayerKind::kSlidingWindow, 0)},
       "layer 0: the window must be positive"},
      {{Windowed(KvLayerKind::kChunked, -1)},
       "layer 0: the window must be positive"},
      {{Cross(0)}, "layer 0: the number of encoder tokens must be positive"},
      {{State(0)}, "layer 0: the state must have bytes"},
      {{State(8), Shared(0)}, "layer 1: shares the KV of a layer that stores "},
      {{Shared(0)}, "layer 0: shares the KV of a layer that is not before it"},
      {{Layer(1, 1), Shared(-1)}, "layer 1: shares the KV of a layer that"},
      {{Layer(1, 1), Shared(0), Shared(1)}, "layer 2: shares the KV"},
      {{Stateless(), Shared(0)}, "layer 1: shares the KV of a layer that "},
      {{bad_format}, "layer 0, value: the group size must be positive"},
      {{fp16_scales}, "only fp8, int8, int4 and int2 have scales"},
      {{bad_run}, "must divide the block size"},
      {{stray_group}, "a group needs the scheme"},
      {{negative_scale}, "must not be negative"},
      {{two_latents}, "a latent is one vector for all heads"},
  };
  for (const auto& [layers, message] : cases) {
    EXPECT_THAT(ErrorOf(layers), HasSubstr(message));
  }
  EXPECT_THAT(ErrorOf({Layer(1, 1)}, 0), HasSubstr("block size"));
  EXPECT_THAT(ErrorOf({Layer(1, 1)}, -16), HasSubstr("block size"));
}

TEST(KvGeometryTest, WhatDoesNotFit63BitsIsAnErrorNotANumber) {
  EXPECT_EQ(KvGeometry::Create({Layer(kMaxInt32, kMaxInt32)}, BlockSize(16))
                .status()
                .code(),
            absl::StatusCode::kOutOfRange);
  const KvGeometry geometry = Make(Layer(8, 128));
  EXPECT_EQ(geometry.BytesAtLength(TokenCount(kMaxInt64)).status().code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(geometry.BlockBytesAtLength(TokenCount(kMaxInt64)).status().code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(geometry.PoolBytes(BlockCount(kMaxInt64)).status().code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(geometry.BytesAtLength(TokenCount(-1)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(geometry.BlockBytesAtLength(TokenCount(-1)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(geometry.PoolBytes(BlockCount(-1)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(KvDtypeTest, NamesParseBackAndOthersAreRefused) {
  for (const KvDtype dtype : kKvDtypes) {
    EXPECT_EQ(*ParseKvDtype(KvDtypeName(dtype)), dtype);
  }
  EXPECT_EQ(std::string(ParseKvDtype("fp17").status().message()),
            "unknown dtype 'fp17': use one of fp32, fp16, bf16, fp8, "
            "fp8_e5m2, int8, int4, int2");
  EXPECT_FALSE(ParseKvDtype("").ok());
}

TEST(KvMemoryTest, IsTheShareOfTheGpuLessWeightsAndActivations) {
  EXPECT_EQ(*KvMemory({.total = Bytes(80'000'000'000),
                       .utilization = 0.9,
                       .weights = Bytes(16'000'000'000),
                       .activations = Bytes(2'000'000'000)}),
            Bytes(54'000'000'000));
  EXPECT_EQ(*KvMemory({.total = Bytes(101), .utilization = 0.5}), Bytes(50));
  EXPECT_EQ(
      *KvMemory({.total = Bytes(10), .utilization = 1.0, .weights = Bytes(25)}),
      Bytes(-15));
}

TEST(KvMemoryTest, RefusesSharesAndSizesOutOfRange) {
  for (const double share :
       {0.0, -0.1, 1.01, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_FALSE(KvMemory({.total = Bytes(1), .utilization = share}).ok())
        << share;
  }
  EXPECT_FALSE(KvMemory({.total = Bytes(-1)}).ok());
  EXPECT_FALSE(KvMemory({.total = Bytes(1), .weights = Bytes(-1)}).ok());
  EXPECT_FALSE(KvMemory({.total = Bytes(1), .activations = Bytes(-1)}).ok());
  EXPECT_FALSE(KvMemory({.total = Bytes(kMaxInt64)}).ok());
  EXPECT_FALSE(KvMemory({.total = Bytes(1),
                         .weights = Bytes(kMaxInt64),
                         .activations = Bytes(kMaxInt64)})
                   .ok());
}

}  // namespace
}  // namespace pagedkv
