// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_cache_plan.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "allocator/checked.h"

namespace pagedkv {
namespace {

/// Layers of one kind, and what becomes of their pages.
struct Spec {
  KvLayer layer;
  std::vector<KvCacheGroupLayer> members;
  BlockSize block_size;
  Bytes page_padding{0};
};

AttentionKind AttentionOf(const KvLayer& layer) {
  switch (layer.kind) {
    case KvLayerKind::kSlidingWindow:
      return AttentionKind::kSlidingWindow;
    case KvLayerKind::kChunked:
      return AttentionKind::kChunkedLocal;
    case KvLayerKind::kCross:
      return AttentionKind::kCross;
    case KvLayerKind::kStateSpace:
      return AttentionKind::kStateSpace;
    case KvLayerKind::kFull:
    case KvLayerKind::kShared:
    case KvLayerKind::kStateless:
      break;
  }
  return layer.latent ? AttentionKind::kLatent : AttentionKind::kFull;
}

/// Whether one block table serves both layers.
bool KeepSameTokens(const KvLayer& a, const KvLayer& b) {
  if (a.kind != b.kind) return false;
  if (a.has_window()) return a.window == b.window;
  if (a.kind == KvLayerKind::kCross) {
    return a.encoder_tokens == b.encoder_tokens;
  }
  return true;
}

bool AreEqual(const KvLayer& a, const KvLayer& b) {
  if (!KeepSameTokens(a, b)) return false;
  if (a.kind == KvLayerKind::kStateSpace) return a.state == b.state;
  return a.latent == b.latent && a.key == b.key && a.value == b.value;
}

/// The layers that take memory, equal ones together, by their first one.
std::vector<Spec> CollectSpecs(const KvGeometry& geometry) {
  std::vector<Spec> specs;
  for (std::size_t i = 0; i < geometry.layers().size(); ++i) {
    const KvLayer& layer = geometry.layers()[i];
    if (!layer.takes_memory()) continue;
    const auto equal = std::find_if(
        specs.begin(), specs.end(),
        [&layer](const Spec& spec) { return AreEqual(spec.layer, layer); });
    const KvCacheGroupLayer member{static_cast<std::int32_t>(i),
                                   geometry.bytes_per_page(i)};
    if (equal != specs.end()) {
      equal->members.push_back(member);
    } else {
      specs.push_back({layer, {member}, geometry.block_size()});
    }
  }
  return specs;
}

KvCacheGroup GroupOf(const Spec& spec) {
  KvCacheGroup group;
  group.attention = AttentionOf(spec.layer);
  if (spec.layer.has_window()) group.window = spec.layer.window;
  if (spec.layer.kind == KvLayerKind::kCross) {
    group.encoder_tokens = spec.layer.encoder_tokens;
  }
  group.block_size = spec.block_size;
  group.page_padding = spec.page_padding;
  return group;
}

/// One group of all layers, which keep the same tokens.
absl::StatusOr<KvCachePlan> PlanOneGroup(const std::vector<Spec>& specs) {
  KvCacheGroup group = GroupOf(specs.front());
  Checked bytes = 0;
  for (const Spec& spec : specs) {
    if (AttentionOf(spec.layer) != group.attention) {
      group.attention = AttentionKind::kFull;  // Latents among others.
    }
    for (const KvCacheGroupLayer& member : spec.members) {
      group.layers.push_back(member);
      bytes = bytes + member.page.value();
    }
  }
  std::sort(group.layers.begin(), group.layers.end(),
            [](const KvCacheGroupLayer& a, const KvCacheGroupLayer& b) {
              return a.index < b.index;
            });
  const absl::StatusOr<Bytes> block = bytes.ToBytes("the bytes of a block");
  if (!block.ok()) return block.status();
  KvCachePlan plan;
  plan.layers_per_group = static_cast<std::int32_t>(group.layers.size());
  plan.bytes_per_block = *block;
  plan.groups.push_back(std::move(group));
  return plan;
}

/// The page that all groups share, and by how much attention blocks must grow
/// at least.
struct UnifiedPage {
  Bytes bytes{0};
  std::int64_t growth = 1;
};

absl::StatusOr<UnifiedPage> FindUnifiedPage(const std::vector<Spec>& specs) {
  Bytes attention{0};
  Bytes state{0};
  for (const Spec& spec : specs) {
    Bytes& largest =
        spec.layer.kind == KvLayerKind::kStateSpace ? state : attention;
    largest = std::max(largest, spec.members.front().page);
  }
  UnifiedPage page;
  // A state does not come in parts: tokens are added to the attention's pages
  // until they hold it, rather than pages that do not divide it refused.
  if (state > attention) {
    page.growth = CeilDivide(state.value(), attention.value());
  }
  const absl::StatusOr<Bytes> bytes =
      (Checked(attention.value()) * page.growth).ToBytes("the bytes of a page");
  if (!bytes.ok()) return bytes.status();
  page.bytes = *bytes;
  return page;
}

/// Makes the pages of `spec` as large as `unified`.
absl::Status UnifyPage(const UnifiedPage& unified, bool pad_pages, Spec& spec) {
  const Bytes page = spec.members.front().page;
  if (spec.layer.kind == KvLayerKind::kStateSpace) {
    spec.page_padding = unified.bytes - page;
    return absl::OkStatus();
  }
  const bool divides = unified.bytes.value() % page.value() == 0;
  if (!divides && !pad_pages) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "layer %d: its page of %d bytes does not divide the largest page, %d "
        "bytes: allow padded pages, or store K and V in other types",
        spec.members.front().index, page.value(), unified.bytes.value()));
  }
  const std::int64_t factor =
      divides ? unified.bytes.value() / page.value() : unified.growth;
  std::int64_t tokens = 0;
  if (__builtin_mul_overflow(factor, spec.block_size.value(), &tokens) ||
      tokens > std::numeric_limits<std::int32_t>::max()) {
    return absl::OutOfRangeError(absl::StrFormat(
        "layer %d: a page of %d bytes would hold more than 2^31 - 1 tokens",
        spec.members.front().index, unified.bytes.value()));
  }
  spec.block_size = BlockSize(static_cast<std::int32_t>(tokens));
  // Fits: the product is at most the unified page, as no page is larger than
  // the one that `growth` makes into it.
  for (KvCacheGroupLayer& member : spec.members) member.page = page * factor;
  spec.page_padding = unified.bytes - page * factor;
  return absl::OkStatus();
}

/// Layers of a group: the fewest that are equal, so that few pages stay empty
/// where one kind has a multiple of another's layers; the most, where the
/// numbers are close and the fewest would leave a second group nearly empty.
std::size_t LayersPerGroup(const std::vector<Spec>& specs) {
  std::size_t least = specs.front().members.size();
  std::size_t most = least;
  for (const Spec& spec : specs) {
    least = std::min(least, spec.members.size());
    most = std::max(most, spec.members.size());
  }
  return 2 * most < 3 * least ? most : least;
}

absl::StatusOr<KvCachePlan> PlanGroups(std::vector<Spec> specs,
                                       bool pad_pages) {
  const absl::StatusOr<UnifiedPage> unified = FindUnifiedPage(specs);
  if (!unified.ok()) return unified.status();
  for (Spec& spec : specs) {
    if (absl::Status status = UnifyPage(*unified, pad_pages, spec);
        !status.ok()) {
      return status;
    }
  }
  const std::size_t size = LayersPerGroup(specs);
  KvCachePlan plan;
  plan.layers_per_group = static_cast<std::int32_t>(size);
  for (const Spec& spec : specs) {
    const std::size_t num_groups = (spec.members.size() + size - 1) / size;
    for (std::size_t first = 0; first < num_groups; ++first) {
      KvCacheGroup group = GroupOf(spec);
      for (std::size_t i = first; i < spec.members.size(); i += num_groups) {
        group.layers.push_back(spec.members[i]);
      }
      group.missing_layers =
          static_cast<std::int32_t>(size - group.layers.size());
      plan.groups.push_back(std::move(group));
    }
  }
  const absl::StatusOr<Bytes> block =
      (Checked(unified->bytes.value()) * plan.layers_per_group)
          .ToBytes("the bytes of a block");
  if (!block.ok()) return block.status();
  plan.bytes_per_block = *block;
  return plan;
}

/// A layer that keeps what those of `group` keep.
KvLayer LayerOf(const KvCacheGroup& group) {
  KvLayer layer{.window = group.window, .encoder_tokens = group.encoder_tokens};
  switch (group.attention) {
    case AttentionKind::kFull:
    case AttentionKind::kLatent:
      layer.kind = KvLayerKind::kFull;
      break;
    case AttentionKind::kSlidingWindow:
      layer.kind = KvLayerKind::kSlidingWindow;
      break;
    case AttentionKind::kChunkedLocal:
      layer.kind = KvLayerKind::kChunked;
      break;
    case AttentionKind::kCross:
      layer.kind = KvLayerKind::kCross;
      break;
    case AttentionKind::kStateSpace:
      layer.kind = KvLayerKind::kStateSpace;
      break;
  }
  return layer;
}

}  // namespace

absl::StatusOr<KvCachePlan> PlanKvCache(const KvGeometry& geometry,
                                        const KvCachePlanOptions& options) {
  std::vector<Spec> specs = CollectSpecs(geometry);
  if (specs.empty()) return KvCachePlan{};
  const KvLayer& first = specs.front().layer;
  const bool one_group = std::all_of(
      specs.begin(), specs.end(),
      [&first](const Spec& spec) { return KeepSameTokens(spec.layer, first); });
  absl::StatusOr<KvCachePlan> plan =
      one_group ? PlanOneGroup(specs)
                : PlanGroups(std::move(specs), options.pad_pages);
  if (!plan.ok()) return plan;
  plan->num_blocks =
      BlockCount(std::max<std::int64_t>(options.available.value(), 0) /
                 plan->bytes_per_block.value());
  return plan;
}

std::vector<KvCacheGroupOptions> GroupOptionsOf(const KvCachePlan& plan) {
  std::vector<KvCacheGroupOptions> options;
  for (const KvCacheGroup& group : plan.groups) {
    options.push_back({.block_size = group.block_size,
                       .kind = group.attention,
                       .window = group.window,
                       .num_sink_tokens = TokenCount(0)});
  }
  return options;
}

absl::StatusOr<BlockCount> GroupBlocksAtLength(const KvCacheGroup& group,
                                               TokenCount length) {
  if (length < TokenCount(0)) {
    return absl::InvalidArgumentError("a length must not be negative");
  }
  return PeakBlocks(LayerOf(group), length, group.block_size);
}

absl::StatusOr<Bytes> HeldBytesAtLength(const KvCachePlan& plan,
                                        const KvCacheGroup& group,
                                        TokenCount length) {
  const absl::StatusOr<BlockCount> blocks = GroupBlocksAtLength(group, length);
  if (!blocks.ok()) return blocks.status();
  return (Checked(plan.bytes_per_block.value()) * blocks->value())
      .ToBytes("the bytes of a sequence");
}

absl::StatusOr<Bytes> NeededBytesAtLength(const KvGeometry& geometry,
                                          const KvCacheGroup& group,
                                          TokenCount length) {
  Checked needed = 0;
  for (const KvCacheGroupLayer& layer : group.layers) {
    const absl::StatusOr<Bytes> bytes = geometry.LayerBlockBytesAtLength(
        static_cast<std::size_t>(layer.index), length);
    if (!bytes.ok()) return bytes;
    needed = needed + bytes->value();
  }
  return needed.ToBytes("the bytes of a sequence");
}

double KvCacheUse::wasted_percent() const {
  if (held == Bytes(0)) return 0;
  return static_cast<double>(wasted().value()) /
         static_cast<double>(held.value()) * 100;
}

absl::StatusOr<KvCacheUse> GroupUseAtLength(const KvGeometry& geometry,
                                            const KvCachePlan& plan,
                                            const KvCacheGroup& group,
                                            TokenCount length) {
  const absl::StatusOr<Bytes> held = HeldBytesAtLength(plan, group, length);
  if (!held.ok()) return held.status();
  const absl::StatusOr<Bytes> needed =
      NeededBytesAtLength(geometry, group, length);
  if (!needed.ok()) return needed.status();
  return KvCacheUse{.held = *held, .needed = *needed};
}

absl::StatusOr<KvCacheUse> PlanUseAtLength(const KvGeometry& geometry,
                                           const KvCachePlan& plan,
                                           TokenCount length) {
  Checked held = 0;
  Checked needed = 0;
  for (const KvCacheGroup& group : plan.groups) {
    const absl::StatusOr<KvCacheUse> use =
        GroupUseAtLength(geometry, plan, group, length);
    if (!use.ok()) return use;
    held = held + use->held.value();
    needed = needed + use->needed.value();
  }
  const absl::StatusOr<Bytes> held_bytes =
      held.ToBytes("the bytes of a sequence");
  if (!held_bytes.ok()) return held_bytes.status();
  // Not above what is held, and so not beyond 63 bits either.
  return KvCacheUse{.held = *held_bytes,
                    .needed = *needed.ToBytes("the bytes of a sequence")};
}

absl::StatusOr<KvCacheUse> UniformUseAtLength(const KvGeometry& geometry,
                                              TokenCount length) {
  const absl::StatusOr<Bytes> needed = geometry.BlockBytesAtLength(length);
  if (!needed.ok()) return needed.status();
  if (length == TokenCount(0)) return KvCacheUse{};
  TokenCount encoder{0};
  Checked states = 0;
  for (const KvLayer& layer : geometry.layers()) {
    if (layer.kind == KvLayerKind::kCross) {
      encoder = std::max(encoder, layer.encoder_tokens);
    }
    if (layer.kind == KvLayerKind::kStateSpace) {
      states = states + layer.state.value();
    }
  }
  const Checked tokens = Checked(length.value()) + encoder.value();
  const Checked blocks = tokens.DividedUp(geometry.block_size().value());
  const absl::StatusOr<Bytes> held =
      (blocks * geometry.bytes_per_block().value() + states)
          .ToBytes("the bytes of a sequence");
  if (!held.ok()) return held.status();
  return KvCacheUse{.held = *held, .needed = *needed};
}

}  // namespace pagedkv
