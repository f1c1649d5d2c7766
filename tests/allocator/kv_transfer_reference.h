// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_ALLOCATOR_KV_TRANSFER_REFERENCE_H_
#define TESTS_ALLOCATOR_KV_TRANSFER_REFERENCE_H_

/// Ranks with memory, for tests of transfers: each vector and each row of
/// scales is found one by one, by the formulas in kv_tensor.h.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/kv_transfer_plan.h"

namespace pagedkv {

/// What an element is, wherever it lies.
struct KvElement {
  std::int32_t layer = 0;  // of the model
  KvRole role = KvRole::kKey;
  std::int64_t token = 0;
  std::int32_t head = 0;  // of the model
  bool is_scale = false;
  friend auto operator<=>(const KvElement&, const KvElement&) = default;

  /// The i-th byte of its vector, or of its row of scales: as good as random.
  [[nodiscard]] std::byte ByteAt(std::int64_t i) const {
    std::uint64_t z = static_cast<std::uint64_t>(i);
    for (const std::int64_t part :
         {std::int64_t{layer}, std::int64_t{role == KvRole::kKey}, token,
          std::int64_t{head}, std::int64_t{is_scale}}) {
      z = (z ^ static_cast<std::uint64_t>(part)) * 0x9e3779b97f4a7c15u + 1;
      z ^= z >> 29;
    }
    return static_cast<std::byte>(z >> 40);
  }
};

/// A layout for the shard of a rank. [group][layer]: layers of the model.
struct KvReferenceRank {
  KvReferenceRank(const std::vector<KvLayer>& model, KvShard shard,
                  const std::vector<std::vector<std::int32_t>>& group_layers,
                  const std::vector<std::int32_t>& block_sizes,
                  KvLayoutOptions options)
      : model(model),
        rank(Create(model, shard, group_layers, block_sizes,
                    std::move(options))) {
    tables.resize(group_layers.size());
  }

  /// To be called when `rank.block_strides` and `tables` are as wanted.
  void Allocate(std::byte value) {
    strides.clear();
    const BlockStorageLayout& storage = rank.layout.storage_layout();
    for (const GroupLayout& group : storage.groups) {
      strides.resize(std::max(strides.size(), group.layers.size()), Bytes(0));
      for (std::size_t k = 0; k < group.layers.size(); ++k) {
        strides[k] = std::max(strides[k], group.layers[k].bytes_per_block);
      }
    }
    if (!rank.block_strides.empty()) strides = rank.block_strides;
    arenas.clear();
    addresses.clear();
    for (const Bytes stride : strides) {
      arenas.emplace_back(
          static_cast<std::size_t>(stride.value() * storage.num_blocks.value()),
          value);
    }
    for (auto& arena : arenas) addresses.push_back(arena.data());
    table_spans.assign(tables.begin(), tables.end());
  }

  /// Calls visit(element, address, bytes) for all that the rank holds of the
  /// tokens [first, first + num_tokens).
  template <typename Visit>
  void ForEachElement(std::int64_t first, std::int64_t num_tokens,
                      const Visit& visit) {
    for (std::size_t g = 0; g < rank.layers.size(); ++g) {
      for (std::size_t l = 0; l < rank.layers[g].size(); ++l) {
        for (const KvRole role : {KvRole::kKey, KvRole::kValue}) {
          VisitTensor(g, l, role, first, first + num_tokens, visit);
        }
      }
    }
  }

  std::vector<KvLayer> model;
  KvTransferRank rank;
  std::vector<std::vector<BlockId>> tables;           // [group]
  std::vector<std::span<const BlockId>> table_spans;  // [group]
  std::vector<Bytes> strides;                         // [arena]
  std::vector<std::vector<std::byte>> arenas;
  std::vector<std::byte*> addresses;  // [arena]

 private:
  static KvTransferRank Create(
      const std::vector<KvLayer>& model, KvShard shard,
      const std::vector<std::vector<std::int32_t>>& group_layers,
      const std::vector<std::int32_t>& block_sizes, KvLayoutOptions options) {
    for (std::size_t g = 0; g < group_layers.size(); ++g) {
      KvLayoutGroup group{.block_size = BlockSize(block_sizes[g]),
                          .layers = {}};
      for (const std::int32_t id : group_layers[g]) {
        KvLayer layer = model[static_cast<std::size_t>(id)];
        for (KvTensor* tensor : {&layer.key, &layer.value}) {
          if (tensor->heads == 0) continue;
          tensor->heads = std::max(tensor->heads / shard.tensor_parallel, 1);
        }
        group.layers.push_back(layer);
      }
      options.groups.push_back(group);
    }
    absl::StatusOr<KvLayout> layout = KvLayout::Create(options);
    if (!layout.ok()) {
      ADD_FAILURE() << layout.status();
      std::abort();
    }
    return {
        .shard = shard, .layout = *std::move(layout), .layers = group_layers};
  }

  template <typename Visit>
  void VisitTensor(std::size_t g, std::size_t l, KvRole role,
                   std::int64_t first, std::int64_t end, const Visit& visit) {
    const int group = static_cast<int>(g);
    const int layer = static_cast<int>(l);
    const KvTensorView view = rank.layout.View(nullptr, group, layer, role);
    if (view.tensor.heads == 0) return;
    const auto arena =
        static_cast<std::size_t>(rank.layout.storage_layer(group, layer, role));
    const std::int32_t id = rank.layers[g][l];
    const KvLayer& whole = model[static_cast<std::size_t>(id)];
    const std::int32_t heads =
        role == KvRole::kKey ? whole.key.heads : whole.value.heads;
    // Ranks with the same head are neighbours.
    const std::int32_t first_head =
        rank.shard.rank * heads / rank.shard.tensor_parallel;
    const KvFormat& format = view.tensor.format;
    for (std::int64_t token = first; token < end; ++token) {
      const BlockId block =
          tables[g][static_cast<std::size_t>(token / view.block_size)];
      if (block == kNullBlock) continue;
      const std::int64_t slot = token % view.block_size;
      std::byte* const base = addresses[arena] +
                              reinterpret_cast<std::intptr_t>(view.base) +
                              block.value() * strides[arena].value();
      for (std::int32_t h = 0; h < view.tensor.heads; ++h) {
        KvElement element{id, role, token, first_head + h};
        visit(element, base + slot * view.token_stride + h * view.head_stride,
              view.tensor.head_size * KvDtypeBits(format.dtype) / 8);
        if (format.scheme == ScaleScheme::kTensor) continue;
        std::int64_t row = slot;
        std::int64_t scales = 1;
        if (format.scheme == ScaleScheme::kChannel) {
          if (slot % view.channel_run != 0) continue;
          row = slot / view.channel_run;
          scales = view.tensor.head_size;
        } else if (format.scheme == ScaleScheme::kGroup) {
          scales = (view.tensor.head_size + format.group - 1) / format.group;
        }
        element.is_scale = true;
        visit(element,
              base + view.scale_offset + row * view.scale_token_stride +
                  h * view.scale_head_stride,
              scales * view.scale_bytes());
      }
    }
  }
};

/// Peers of such ranks.
struct KvReferencePeers {
  KvReferencePeers(std::vector<KvReferenceRank> from,
                   std::vector<KvReferenceRank> to)
      : source(std::move(from)), destination(std::move(to)) {}

  std::vector<KvReferenceRank> source;
  std::vector<KvReferenceRank> destination;

  [[nodiscard]] KvTransferPeers peers() const {
    KvTransferPeers peers{
        .model = source[0].model, .source = {}, .destination = {}};
    for (const KvReferenceRank& r : source) peers.source.push_back(r.rank);
    for (const KvReferenceRank& r : destination) {
      peers.destination.push_back(r.rank);
    }
    return peers;
  }
  /// Valid until ranks change.
  KvTransferRange Range(std::int64_t first, std::int64_t num_tokens) {
    source_tables_.clear();
    for (const KvReferenceRank& r : source) {
      source_tables_.emplace_back(r.table_spans);
    }
    destination_tables_.clear();
    for (const KvReferenceRank& r : destination) {
      destination_tables_.emplace_back(r.table_spans);
    }
    return {.source = source_tables_,
            .destination = destination_tables_,
            .first = TokenCount(first),
            .num_tokens = TokenCount(num_tokens)};
  }

  /// Writes what the source holds of all `num_tokens`.
  void FillSource(std::int64_t num_tokens) {
    for (KvReferenceRank& r : source) {
      r.ForEachElement(0, num_tokens,
                       [&](const KvElement& e, std::byte* to, std::int64_t n) {
                         for (std::int64_t i = 0; i < n; ++i)
                           to[i] = e.ByteAt(i);
                       });
    }
  }

  void Execute(std::span<const KvCopy> copies) {
    std::vector<KvArenas> from;
    std::vector<KvArenas> to;
    for (KvReferenceRank& r : source) from.emplace_back(r.addresses);
    for (KvReferenceRank& r : destination) to.emplace_back(r.addresses);
    ExecuteKvCopies(copies, from, to);
  }

  /// Does `copies` and expects that of the tokens of the range the destination
  /// has just what it should, and else what it had.
  void ExpectMoved(std::span<const KvCopy> copies, std::int64_t first,
                   std::int64_t num_tokens) {
    std::map<KvElement, bool> held;
    for (KvReferenceRank& r : source) {
      r.ForEachElement(first, num_tokens,
                       [&](const KvElement& e, std::byte*, std::int64_t) {
                         held[e] = true;
                       });
    }
    std::vector<std::vector<std::vector<std::byte>>> expected;
    std::int64_t bytes = 0;
    for (KvReferenceRank& r : destination) {
      const auto before = r.arenas;
      r.ForEachElement(first, num_tokens,
                       [&](const KvElement& e, std::byte* to, std::int64_t n) {
                         if (!held.contains(e)) return;
                         for (std::int64_t i = 0; i < n; ++i)
                           to[i] = e.ByteAt(i);
                         bytes += n;
                       });
      expected.push_back(r.arenas);
      for (std::size_t k = 0; k < before.size(); ++k) {
        std::copy(before[k].begin(), before[k].end(), r.arenas[k].begin());
      }
    }
    Execute(copies);
    for (std::size_t i = 0; i < destination.size(); ++i) {
      EXPECT_TRUE(destination[i].arenas == expected[i]) << "rank " << i;
    }
    EXPECT_EQ(TotalBytes(copies), Bytes(bytes));
  }

 private:
  std::vector<KvTables> source_tables_;
  std::vector<KvTables> destination_tables_;
};

}  // namespace pagedkv

#endif  // TESTS_ALLOCATOR_KV_TRANSFER_REFERENCE_H_
