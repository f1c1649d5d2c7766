// SPDX-License-Identifier: Apache-2.0
//
// Random pairs of peers: layouts, block sizes, groups, stages and ranks that
// have nothing to do with one another, but for the model. What arrives is
// compared with what a naive reference would have moved, byte by byte.

#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/kv_transfer_plan.h"
#include "tests/allocator/kv_transfer_reference.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kMaxTokens = 160;
constexpr std::int32_t kChannelRun = 4;

// Tokens that have to be moved together.
std::int32_t Granularity(const std::vector<KvLayer>& layers) {
  for (const KvLayer& layer : layers) {
    if (layer.key.format.scheme == ScaleScheme::kChannel ||
        layer.value.format.scheme == ScaleScheme::kChannel) {
      return kChannelRun;
    }
  }
  return 1;
}

class Generator {
 public:
  explicit Generator(std::uint64_t seed) : random_(seed) {}

  std::int32_t Below(std::int64_t n) {
    return static_cast<std::int32_t>(random_() % static_cast<std::uint64_t>(n));
  }
  bool OneIn(std::int64_t n) { return Below(n) == 0; }

  KvFormat Format() {
    switch (Below(6)) {
      case 0:
        return {.dtype = KvDtype::kFp8};
      case 1:
        return KvFormat::For(KvDtype::kInt8);
      case 2:
        return {.dtype = KvDtype::kInt4,
                .scheme = ScaleScheme::kGroup,
                .group = 3,
                .scale_bits = 16};
      case 3:
        return {.dtype = KvDtype::kInt2,
                .scheme = ScaleScheme::kChannel,
                .group = kChannelRun,
                .scale_bits = 32,
                .zero_point_bits = 32};
      default:
        return {};
    }
  }

  KvLayer Layer() {
    KvLayer layer;
    if (OneIn(5)) {
      layer.latent = true;
      layer.key = {1, 16, Format()};
      layer.value = {1, 4, {.dtype = KvDtype::kBf16}};
      return layer;
    }
    if (OneIn(3)) {
      layer.kind = KvLayerKind::kSlidingWindow;
      layer.window = TokenCount(1 + Below(40));
    }
    const std::int32_t heads = heads_;
    layer.key = {heads, 4 * (1 + Below(3)), Format()};
    if (!OneIn(8)) {
      layer.value = {OneIn(4) ? 1 : heads, 4 * (1 + Below(3)), Format()};
    }
    return layer;
  }

  std::vector<KvLayer> Model() {
    heads_ = 1 + Below(8);
    std::vector<KvLayer> model;
    const std::int32_t layers = 1 + Below(5);
    for (std::int32_t i = 0; i < layers; ++i) {
      if (i > 0 && OneIn(8)) {
        model.push_back({.kind = KvLayerKind::kStateless});
      } else if (i > 0 && OneIn(2)) {
        model.push_back(model[0]);
      } else {
        model.push_back(Layer());
      }
    }
    return model;
  }

  std::int32_t TensorParallel() {
    for (;;) {
      const std::int32_t ranks = 1 << Below(4);
      if (heads_ % ranks == 0 || ranks % heads_ == 0) return ranks;
    }
  }

  // Deals layers to groups; those with windows apart from the others, since the
  // former may have given blocks back.
  std::vector<std::vector<std::int32_t>> Groups(
      const std::vector<KvLayer>& model,
      const std::vector<std::int32_t>& layers) {
    std::vector<std::vector<std::int32_t>> groups(4);
    for (const std::int32_t layer : layers) {
      const bool window = model[static_cast<std::size_t>(layer)].has_window();
      auto& group = groups[(window ? 2u : 0u) + (OneIn(2) ? 1u : 0u)];
      group.push_back(layer);
    }
    std::erase_if(groups, [](const auto& group) { return group.empty(); });
    return groups;
  }

  std::vector<KvReferenceRank> Side(const std::vector<KvLayer>& model,
                                    bool is_source) {
    const std::int32_t num_stages = OneIn(3) ? 2 : 1;
    const std::int32_t tensor_parallel = TensorParallel();
    std::vector<std::vector<std::int32_t>> stages(
        static_cast<std::size_t>(num_stages));
    for (std::size_t i = 0; i < model.size(); ++i) {
      if (!model[i].stores_kv()) continue;
      stages[static_cast<std::size_t>(Below(num_stages))].push_back(
          static_cast<std::int32_t>(i));
    }
    std::vector<KvReferenceRank> ranks;
    for (const std::vector<std::int32_t>& layers : stages) {
      if (layers.empty()) continue;
      const auto groups = Groups(model, layers);
      std::vector<std::int32_t> block_sizes;
      std::vector<std::vector<bool>> nulls;
      for (const auto& group : groups) {
        block_sizes.push_back(GroupBlockSize(model, group));
        const bool window =
            model[static_cast<std::size_t>(group[0])].has_window();
        nulls.push_back(Nulls(block_sizes.back(), is_source, window));
      }
      KvLayoutOptions options;
      options.order = OneIn(2) ? KvOrder::kNhd : KvOrder::kHnd;
      options.arrangement = static_cast<KvArrangement>(Below(3));
      options.alignment = OneIn(2) ? 1 : 1 << Below(6);
      for (std::int32_t r = 0; r < tensor_parallel; ++r) {
        // A rank of the destination may fetch what it needs by itself.
        if (!is_source && r > 0 && OneIn(3)) continue;
        std::vector<std::vector<BlockId>> tables;
        options.num_blocks = BlockCount(FillTables(nulls, tables));
        KvReferenceRank& rank = ranks.emplace_back(
            model, KvShard{r, tensor_parallel}, groups, block_sizes, options);
        rank.tables = std::move(tables);
        if (OneIn(3)) Widen(rank);
        rank.Allocate(is_source ? std::byte{0x5a} : std::byte{0xa5});
      }
    }
    return ranks;
  }

 private:
  std::int32_t GroupBlockSize(const std::vector<KvLayer>& model,
                              const std::vector<std::int32_t>& ids) {
    std::vector<KvLayer> layers;
    for (const std::int32_t id : ids) {
      layers.push_back(model[static_cast<std::size_t>(id)]);
    }
    const std::int32_t step = Granularity(layers);
    if (step > 1) return step * (1 + Below(8));
    return OneIn(2) ? 1 << Below(7) : 1 + Below(64);
  }

  // What a side does not hold: the source only what windows have passed.
  std::vector<bool> Nulls(std::int32_t block_size, bool is_source,
                          bool window) {
    std::vector<bool> nulls(
        static_cast<std::size_t>((kMaxTokens + block_size - 1) / block_size));
    if (is_source && !window) return nulls;
    for (std::size_t i = 0; i < nulls.size(); ++i) nulls[i] = OneIn(4);
    return nulls;
  }

  // Ids that follow one another in part, and are used once in all groups.
  // Returns a number of blocks that has them all.
  std::int32_t FillTables(const std::vector<std::vector<bool>>& nulls,
                          std::vector<std::vector<BlockId>>& tables) {
    std::int32_t next = 1 + Below(8);
    for (const std::vector<bool>& group : nulls) {
      std::vector<BlockId>& table = tables.emplace_back();
      for (const bool null : group) {
        if (OneIn(3)) next += Below(2);
        table.push_back(null ? kNullBlock : BlockId(next++));
      }
      // Not in order, now and then.
      for (std::size_t i = 1; i < table.size(); ++i) {
        if (table[i] != kNullBlock && table[i - 1] != kNullBlock && OneIn(4)) {
          std::swap(table[i], table[i - 1]);
        }
      }
    }
    return next + Below(2);
  }

  void Widen(KvReferenceRank& rank) {
    rank.Allocate(std::byte{0});  // for the strides
    for (const Bytes stride : rank.strides) {
      rank.rank.block_strides.push_back(stride + Bytes(Below(64)));
    }
  }

  std::mt19937_64 random_;
  std::int32_t heads_ = 1;
};

TEST(KvTransferPlanModelTest, MovesWhatANaiveReferenceMoves) {
  constexpr std::uint64_t kSeed = 20250613;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Generator generator(kSeed);
  std::vector<KvCopy> copies;
  std::int64_t moved = 0;
  for (int round = 0; round < 600; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    const std::vector<KvLayer> model = generator.Model();
    KvReferencePeers peers{generator.Side(model, true),
                           generator.Side(model, false)};
    peers.FillSource(kMaxTokens);
    const auto plan = KvTransferPlan::Create(peers.peers());
    ASSERT_TRUE(plan.ok()) << plan.status();
    for (int i = 0; i < 2; ++i) {
      const std::int64_t step = Granularity(model);
      const std::int64_t first = step * generator.Below(kMaxTokens / step);
      const std::int64_t num_tokens =
          step * generator.Below((kMaxTokens - first) / step + 1);
      const KvTransferRange range = peers.Range(first, num_tokens);
      const absl::Status status = plan->Copies(range, copies);
      ASSERT_TRUE(status.ok()) << status;
      const absl::Status check = CheckKvCopies(peers.peers(), range, copies);
      ASSERT_TRUE(check.ok()) << check;
      peers.ExpectMoved(copies, first, num_tokens);
      moved += TotalBytes(copies).value();
      ASSERT_FALSE(testing::Test::HasFailure());
    }
  }
  EXPECT_GT(moved, 1 << 20);
}

}  // namespace
}  // namespace pagedkv
