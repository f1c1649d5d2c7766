// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_layout.h"

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/host_block_storage.h"

namespace pagedkv {
namespace {

using ::testing::HasSubstr;

constexpr KvFormat kInt4PerGroup = {.dtype = KvDtype::kInt4,
                                    .scheme = ScaleScheme::kGroup,
                                    .group = 8,
                                    .scale_bits = 16,
                                    .zero_point_bits = 16};
constexpr KvFormat kInt2PerChannel = {.dtype = KvDtype::kInt2,
                                      .scheme = ScaleScheme::kChannel,
                                      .group = 4,
                                      .scale_bits = 32,
                                      .zero_point_bits = 32};

KvLayer Layer(std::int32_t heads, std::int32_t head_size,
              KvFormat key = KvFormat::For(KvDtype::kFp16),
              KvFormat value = KvFormat::For(KvDtype::kFp16)) {
  KvLayer layer;
  layer.key = {heads, head_size, key};
  layer.value = {heads, head_size, value};
  return layer;
}

KvLayer Latent() {
  KvLayer layer;
  layer.latent = true;
  layer.key = {1, 512, KvFormat::For(KvDtype::kFp8)};
  layer.value = {1, 64, KvFormat::For(KvDtype::kBf16)};
  return layer;
}

// The bytes of block `block` that `view` says are vectors or scales, as offsets
// from address 0; each must be seen once.
void AddBytes(const KvTensorView& view, std::int64_t block,
              std::set<std::intptr_t>& bytes) {
  const auto add = [&](std::intptr_t begin, std::int64_t size) {
    for (std::intptr_t at = begin; at < begin + size; ++at) {
      EXPECT_TRUE(bytes.insert(at).second) << "byte " << at << " is used twice";
    }
  };
  const std::intptr_t base =
      reinterpret_cast<std::intptr_t>(view.base) + block * view.block_stride;
  const KvTensor& tensor = view.tensor;
  for (std::int64_t head = 0; head < tensor.heads; ++head) {
    for (std::int64_t token = 0; token < view.block_size; ++token) {
      add(base + token * view.token_stride + head * view.head_stride,
          tensor.head_size * KvDtypeBits(tensor.format.dtype) / 8);
    }
    std::int64_t rows = 0;
    std::int64_t entries = 0;
    switch (tensor.format.scheme) {
      case ScaleScheme::kTensor:
        break;
      case ScaleScheme::kToken:
        rows = view.block_size;
        entries = 1;
        break;
      case ScaleScheme::kGroup:
        rows = view.block_size;
        entries =
            (tensor.head_size + tensor.format.group - 1) / tensor.format.group;
        break;
      case ScaleScheme::kChannel:
        rows = view.block_size / view.channel_run;
        entries = tensor.head_size;
        break;
    }
    for (std::int64_t row = 0; row < rows; ++row) {
      add(base + view.scale_offset + row * view.scale_token_stride +
              head * view.scale_head_stride,
          entries * view.scale_bytes());
    }
  }
}

struct Case {
  KvOrder order;
  KvArrangement arrangement;
};

constexpr Case kCases[] = {
    {KvOrder::kNhd, KvArrangement::kSplit},
    {KvOrder::kNhd, KvArrangement::kInterleaved},
    {KvOrder::kNhd, KvArrangement::kBlockFirst},
    {KvOrder::kHnd, KvArrangement::kSplit},
    {KvOrder::kHnd, KvArrangement::kInterleaved},
    {KvOrder::kHnd, KvArrangement::kBlockFirst},
};

TEST(KvLayoutTest, EveryByteOfABlockBelongsToOneVectorOrScale) {
  for (const KvLayer& layer :
       {Layer(3, 16), Layer(2, 24, kInt2PerChannel, kInt4PerGroup), Latent(),
        Layer(2, 8, KvFormat::For(KvDtype::kInt8))}) {
    for (const Case& c : kCases) {
      const KvLayoutGroup group{BlockSize(8), {layer, layer}};
      const auto layout = KvLayout::Create({.num_blocks = BlockCount(4),
                                            .groups = {group},
                                            .order = c.order,
                                            .arrangement = c.arrangement});
      ASSERT_TRUE(layout.ok()) << layout.status();
      const auto geometry = KvGeometry::Create(group.layers, BlockSize(8));
      ASSERT_TRUE(geometry.ok());

      std::int64_t counted = 0;
      const GroupLayout& storage = layout->storage_layout().groups[0];
      for (std::size_t k = 0; k < storage.layers.size(); ++k) {
        std::set<std::intptr_t> bytes;
        for (int i = 0; i < 2; ++i) {
          for (const KvRole role : {KvRole::kKey, KvRole::kValue}) {
            if (layout->storage_layer(0, i, role) == static_cast<int>(k)) {
              AddBytes(layout->View(nullptr, 0, i, role), 1, bytes);
            }
          }
        }
        const std::int64_t per_block =
            storage.layers[k].bytes_per_block.value();
        EXPECT_EQ(static_cast<std::int64_t>(bytes.size()), per_block);
        EXPECT_EQ(*bytes.begin(), per_block);
        EXPECT_EQ(*bytes.rbegin(), 2 * per_block - 1);
        counted += per_block;
      }
      EXPECT_EQ(Bytes(counted), geometry->bytes_per_block());
    }
  }
}

TEST(KvLayoutTest, SplitsIntoAnArenaForEachTensorLayerOrPool) {
  const std::pair<KvArrangement, std::size_t> expected[] = {
      {KvArrangement::kSplit, 6},
      {KvArrangement::kInterleaved, 3},
      {KvArrangement::kBlockFirst, 1}};
  for (const auto& [arrangement, arenas] : expected) {
    const auto layout = KvLayout::Create(
        {.num_blocks = BlockCount(4),
         .groups = {{BlockSize(8), {Layer(2, 8), Layer(2, 8), Layer(2, 8)}}},
         .arrangement = arrangement});
    ASSERT_TRUE(layout.ok()) << layout.status();
    EXPECT_EQ(layout->storage_layout().groups[0].layers.size(), arenas);
  }
}

// A partial copy-on-write of a block takes only the tokens' bytes where these
// are the first ones.
TEST(KvLayoutTest, IsTokenMajorWhereTheFirstTokensAreTheFirstBytes) {
  const auto token_major = [](KvOrder order, KvArrangement arrangement,
                              const KvLayer& layer) {
    const auto layout = KvLayout::Create({.num_blocks = BlockCount(4),
                                          .groups = {{BlockSize(8), {layer}}},
                                          .order = order,
                                          .arrangement = arrangement});
    return layout->storage_layout().groups[0].layers[0].token_major;
  };
  EXPECT_TRUE(token_major(KvOrder::kNhd, KvArrangement::kSplit, Layer(2, 8)));
  EXPECT_FALSE(token_major(KvOrder::kHnd, KvArrangement::kSplit, Layer(2, 8)));
  EXPECT_TRUE(token_major(KvOrder::kHnd, KvArrangement::kSplit, Layer(1, 8)));
  EXPECT_FALSE(
      token_major(KvOrder::kNhd, KvArrangement::kInterleaved, Layer(2, 8)));
  EXPECT_FALSE(token_major(KvOrder::kNhd, KvArrangement::kSplit,
                           Layer(2, 8, KvFormat::For(KvDtype::kInt8))));
}

TEST(KvLayoutTest, AlignsEachRunOfVectorsAndScales) {
  const auto layout = KvLayout::Create(
      {.num_blocks = BlockCount(4),
       .groups = {{BlockSize(3), {Layer(1, 10, kInt4PerGroup, kInt4PerGroup)}}},
       .arrangement = KvArrangement::kInterleaved,
       .alignment = 64});
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto storage =
      HostBlockStorage::Create({.layout = layout->storage_layout()});
  ASSERT_TRUE(storage.ok()) << storage.status();
  for (const KvRole role : {KvRole::kKey, KvRole::kValue}) {
    const KvTensorView view = layout->View(**storage, 0, 0, role);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(view.base) % 64, 0u);
    EXPECT_EQ(view.block_stride % 64, 0);
    EXPECT_EQ(view.scale_offset, 64);
    EXPECT_EQ(view.token_stride, 5);
  }
  EXPECT_EQ(layout->storage_layout().groups[0].layers[0].bytes_per_block,
            Bytes(256));
}

// Groups share the memory of a block: each arena's stride is that of the
// largest, and views have it.
TEST(KvLayoutTest, ViewsHaveTheStrideOfTheStorage) {
  const auto layout = KvLayout::Create(
      {.num_blocks = BlockCount(4),
       .groups = {{BlockSize(8), {Layer(2, 8)}}, {BlockSize(4), {Layer(8, 8)}}},
       .arrangement = KvArrangement::kInterleaved});
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto storage =
      HostBlockStorage::Create({.layout = layout->storage_layout()});
  ASSERT_TRUE(storage.ok()) << storage.status();
  EXPECT_EQ(layout->View(**storage, 0, 0, KvRole::kKey).block_stride,
            layout->View(**storage, 1, 0, KvRole::kKey).block_stride);
  EXPECT_EQ(layout->View(nullptr, 0, 0, KvRole::kKey).block_stride, 512);
}

TEST(KvLayoutTest, RefusesWhatIsNoLayoutAndSaysWhere) {
  const auto error = [](const KvLayer& layer, std::int32_t alignment = 1) {
    return std::string(
        KvLayout::Create({.num_blocks = BlockCount(4),
                          .groups = {{BlockSize(8), {Layer(1, 8), layer}}},
                          .alignment = alignment})
            .status()
            .message());
  };
  EXPECT_EQ(error(Layer(1, 8)), "");
  EXPECT_THAT(error(Layer(1, 8), 3), HasSubstr("alignment is 3"));
  KvFormat format = KvFormat::For(KvDtype::kInt4);
  EXPECT_THAT(error(Layer(1, 7, format)),
              HasSubstr("group 0: layer 1: the elements of a head do not"));
  format.scale_bits = 8;
  EXPECT_THAT(error(Layer(1, 8, format)), HasSubstr("0, 16 or 32 bits"));
  format.scale_bits = 32;
  EXPECT_THAT(error(Layer(1, 8, format)), HasSubstr("as many bits"));
  format.scale_bits = format.zero_point_bits = 0;
  EXPECT_THAT(error(Layer(1, 8, format)), HasSubstr("needs bits"));
  EXPECT_THAT(error(KvLayer{.kind = KvLayerKind::kStateless}),
              HasSubstr("stores no keys and values"));
  EXPECT_THAT(error(Layer(0, 8)), HasSubstr("heads"));
  EXPECT_THAT(KvLayout::Create({}).status().message(), HasSubstr("no groups"));
}

}  // namespace
}  // namespace pagedkv
