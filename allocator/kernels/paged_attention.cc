// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "allocator/kernels/attention_math.h"
#include "allocator/kernels/kv_tile.h"
#include "pagedkv/kv_kernels.h"

namespace pagedkv {
namespace {

// Queries that share the tiles of a KV head once these are dequantised.
constexpr std::int32_t kMaxQueries = 16;
// Of the key and, with `latent`, the rotary part; each of them padded.
constexpr std::int32_t kMaxKeySize = 576;
constexpr std::int32_t kMaxValueSize = 512;
constexpr float kMasked = -std::numeric_limits<float>::infinity();

// The tokens that one query attends to: [0, sinks) and [begin, end).
struct Visible {
  std::int64_t sinks = 0;  // at most `begin`
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// Of a query at `position`.
Visible VisibleAt(std::int64_t position, std::int32_t window,
                  std::int32_t num_sink_tokens) {
  Visible visible{.end = position + 1};
  if (window > 0) {
    visible.begin = std::max<std::int64_t>(0, visible.end - window);
    visible.sinks = std::min<std::int64_t>(num_sink_tokens, visible.begin);
  }
  return visible;
}

// Those that any of several queries at consecutive positions attends to.
Visible Union(const Visible& first, const Visible& last) {
  return {.sinks = std::min(first.begin, last.sinks),
          .begin = first.begin,
          .end = last.end};
}

// What is visible of the tile that begins at a position.
struct TileTokens {
  TokenRange sinks;
  TokenRange recent;  // none begins before the end of `sinks`
  [[nodiscard]] bool empty() const { return sinks.empty() && recent.empty(); }
  [[nodiscard]] std::int32_t end() const { return recent.end; }
};

TileTokens InTile(const Visible& visible, std::int64_t tile) {
  const auto clamp = [tile](std::int64_t position) {
    return static_cast<std::int32_t>(
        std::clamp<std::int64_t>(position - tile, 0, kTileTokens));
  };
  return {.sinks = {0, clamp(visible.sinks)},
          .recent = {clamp(visible.begin), clamp(visible.end)}};
}

// Where the tile after the one at `tile` begins, if tiles without any visible
// token are left out.
std::int64_t NextTile(const Visible& visible, std::int64_t tile) {
  const std::int64_t next = tile + kTileTokens;
  return next < visible.sinks
             ? next
             : std::max(next, visible.begin / kTileTokens * kTileTokens);
}

// What the threads of a caller have on their stacks. What was not written is
// not read.
struct Workspace {
  alignas(64) float queries[kMaxQueries * kMaxKeySize];
  alignas(64) float sums[kMaxQueries * kMaxValueSize];
  alignas(64) float tile[kTileTokens * kMaxKeySize];
  alignas(64) float weights[kMaxQueries * kTileTokens];
  float factors[kMaxQueries];
  SoftmaxState softmax[kMaxQueries];
  Visible visible[kMaxQueries];
};

// Of the vectors in the workspace.
struct Sizes {
  explicit Sizes(const PagedAttentionArgs& args)
      : key(PaddedSize(args.key.tensor.head_size)),
        value(PaddedSize(args.value.tensor.head_size)) {
    if (args.latent) {
      rotary_begin = key;
      key += value;
      value = rotary_begin;
    }
  }
  std::int32_t key;
  std::int32_t value;
  std::int32_t rotary_begin = 0;  // in a key
};

std::int32_t ValueSize(const PagedAttentionArgs& args) {
  return args.latent ? args.key.tensor.head_size : args.value.tensor.head_size;
}

// TEMP
void LoadRow(const ConstKvRows& rows, std::int64_t token, std::int32_t head,
             std::int32_t first, std::int32_t count, float* out) {
  const auto* p = reinterpret_cast<const float*>(rows.data) +
                  token * rows.token_stride + head * rows.head_stride + first;
  std::copy(p, p + count, out);
}
void StoreRow(const float* in, std::int32_t count, const KvRows& rows,
              std::int64_t token, std::int32_t head) {
  auto* p = reinterpret_cast<float*>(rows.data) + token * rows.token_stride +
            head * rows.head_stride;
  std::copy(in, in + count, p);
}

// The queries of one sequence that read one KV head.
class HeadAttention {
 public:
  // `heads` are query heads.
  HeadAttention(const PagedAttentionArgs& args, std::size_t sequence,
                std::int32_t kv_head, TokenRange heads, Workspace& work)
      : args_(args),
        sizes_(args),
        table_(args.batch.tables[sequence]),
        first_row_(args.batch.query_begin[sequence]),
        num_rows_(args.batch.query_begin[sequence + 1] - first_row_),
        first_position_(args.batch.num_tokens[sequence] - num_rows_),
        kv_head_(kv_head),
        first_head_(heads.begin),
        num_heads_(heads.end - heads.begin),
        work_(work) {}

  void Run() {
    const std::int64_t all = std::int64_t{num_rows_} * num_heads_;
    for (first_ = 0; first_ < all; first_ += kMaxQueries) {
      count_ = static_cast<std::int32_t>(
          std::min<std::int64_t>(kMaxQueries, all - first_));
      for (std::int32_t i = 0; i < count_; ++i) LoadQuery(i);
      const Visible visible =
          Union(work_.visible[0], work_.visible[count_ - 1]);
      for (std::int64_t tile = NextTile(visible, -kTileTokens);
           tile < visible.end; tile = NextTile(visible, tile)) {
        AttendToTile(tile, InTile(visible, tile));
      }
      for (std::int32_t i = 0; i < count_; ++i) StoreOutput(i);
    }
  }

 private:
  // Query i of those under way, by token and then by head.
  [[nodiscard]] std::int32_t TokenOf(std::int32_t i) const {
    return static_cast<std::int32_t>((first_ + i) / num_heads_);
  }
  [[nodiscard]] std::int32_t HeadOf(std::int32_t i) const {
    return first_head_ + static_cast<std::int32_t>((first_ + i) % num_heads_);
  }
  [[nodiscard]] float* Query(std::int32_t i) const {
    return work_.queries + std::ptrdiff_t{i} * sizes_.key;
  }
  [[nodiscard]] float* Sum(std::int32_t i) const {
    return work_.sums + std::ptrdiff_t{i} * sizes_.value;
  }
  [[nodiscard]] float* Weights(std::int32_t i) const {
    return work_.weights + std::ptrdiff_t{i} * kTileTokens;
  }

  void LoadQuery(std::int32_t i) {
    const std::int32_t token = TokenOf(i);
    const std::int32_t head = HeadOf(i);
    work_.visible[i] =
        VisibleAt(first_position_ + token, args_.window, args_.num_sink_tokens);
    const std::int32_t size = args_.key.tensor.head_size;
    float* query = Query(i);
    std::fill(query, query + sizes_.key, 0.0F);
    LoadRow(args_.query, first_row_ + token, head, 0, size, query);
    if (args_.latent) {
      LoadRow(args_.query, first_row_ + token, head, size,
              args_.value.tensor.head_size, query + sizes_.rotary_begin);
    }
    std::fill(Sum(i), Sum(i) + sizes_.value, 0.0F);
    SoftmaxState& softmax = work_.softmax[i];
    softmax = {.max = kMasked, .sum = 0};
    if (!args_.sink_logits.empty()) {
      const float logit = args_.sink_logits[static_cast<std::size_t>(head)];
      if (logit != kMasked) softmax = {.max = logit, .sum = 1};
    }
  }

  void AttendToTile(std::int64_t tile, const TileTokens& tokens) {
    LoadKeys(tile, tokens);
    for (std::int32_t i = 0; i < count_; ++i) {
      const TileTokens mine = InTile(work_.visible[i], tile);
      if (!mine.empty()) Weigh(i, mine);
    }
    // The latent that has served as keys is there already.
    if (!args_.latent) Load(args_.value, tile, tokens, 0, sizes_.value);
    const std::int32_t stride = args_.latent ? sizes_.key : sizes_.value;
    for (std::int32_t i = 0; i < count_; ++i) {
      const TileTokens mine = InTile(work_.visible[i], tile);
      if (mine.empty()) continue;
      AddValues(Weights(i), work_.tile, stride, sizes_.value, mine.sinks,
                mine.recent, work_.factors[i], Sum(i));
    }
  }

  void LoadKeys(std::int64_t tile, const TileTokens& tokens) {
    Load(args_.key, tile, tokens, 0, sizes_.key);
    if (args_.latent) {
      Load(args_.value, tile, tokens, sizes_.rotary_begin, sizes_.key);
    }
    // `ComputeLogits` reads what lies between and a few that follow.
    const auto clear = [&](std::int32_t begin, std::int32_t end) {
      std::fill(work_.tile + std::ptrdiff_t{begin} * sizes_.key,
                work_.tile + std::ptrdiff_t{end} * sizes_.key, 0.0F);
    };
    clear(tokens.sinks.end, tokens.recent.begin);
    clear(tokens.end(), PaddedSize(tokens.end()));
  }

  void Load(const KvTensorView& view, std::int64_t tile,
            const TileTokens& tokens, std::int32_t offset,
            std::int32_t stride) {
    for (const TokenRange& range : {tokens.sinks, tokens.recent}) {
      LoadTile(view, table_, kv_head_, tile, range, work_.tile + offset,
               stride);
    }
  }

  void Weigh(std::int32_t i, const TileTokens& tokens) {
    float* weights = Weights(i);
    ComputeLogits(Query(i), work_.tile, sizes_.key, tokens.end(),
                  args_.softmax_scale, weights);
    std::fill(weights + tokens.sinks.end, weights + tokens.recent.begin,
              kMasked);
    std::fill(weights + tokens.end(), weights + kTileTokens, kMasked);
    work_.factors[i] = UpdateSoftmax(work_.softmax[i], weights);
  }

  void StoreOutput(std::int32_t i) {
    float* sum = Sum(i);
    const float scale = 1 / work_.softmax[i].sum;
    for (std::int32_t d = 0; d < sizes_.value; ++d) sum[d] *= scale;
    StoreRow(sum, ValueSize(args_), args_.output, first_row_ + TokenOf(i),
             HeadOf(i));
  }

  const PagedAttentionArgs& args_;
  const Sizes sizes_;
  const BlockId* table_;
  std::int32_t first_row_;
  std::int32_t num_rows_;
  std::int32_t first_position_;
  std::int32_t kv_head_;
  std::int32_t first_head_;
  std::int32_t num_heads_;
  Workspace& work_;
  // Those under way.
  std::int64_t first_ = 0;
  std::int32_t count_ = 0;
};

template <typename... Args>
absl::Status Invalid(const absl::FormatSpec<Args...>& format,
                     const Args&... args) {
  return absl::InvalidArgumentError(absl::StrFormat(format, args...));
}

absl::Status CheckTensors(const PagedAttentionArgs& args) {
  const KvTensor& key = args.key.tensor;
  const KvTensor& value = args.value.tensor;
  if (key.heads < 1 || key.head_size < 1) {
    return Invalid("key: %d heads of %d elements; give at least one of each",
                   key.heads, key.head_size);
  }
  // A latent need not have a rotary part.
  const bool has_value = value.heads > 0 || !args.latent;
  if (has_value && args.key.block_size != args.value.block_size) {
    return Invalid(
        "value: blocks of %d tokens, and of %d in key; one table "
        "serves both",
        args.value.block_size, args.key.block_size);
  }
  if (has_value && key.heads != value.heads) {
    return Invalid("value: %d heads, and %d in key; give equal numbers",
                   value.heads, key.heads);
  }
  const Sizes sizes(args);
  if (sizes.key > kMaxKeySize) {
    return Invalid(
        "key: %d elements of a head; at most %d, the rotary part "
        "included",
        sizes.key, kMaxKeySize);
  }
  if (sizes.value > kMaxValueSize) {
    return Invalid("%s: %d elements of a head; at most %d",
                   args.latent ? "key" : "value", ValueSize(args),
                   kMaxValueSize);
  }
  return absl::OkStatus();
}

absl::Status CheckHeads(const PagedAttentionArgs& args) {
  if (args.num_query_heads < 1 ||
      args.num_query_heads % args.key.tensor.heads != 0) {
    return Invalid("num_query_heads: %d; give a multiple of the %d KV heads",
                   args.num_query_heads, args.key.tensor.heads);
  }
  if (args.first_head < 0 || args.num_heads < 0 ||
      args.num_heads > args.num_query_heads - args.first_head) {
    return Invalid("first_head, num_heads: %d and %d; there are %d query heads",
                   args.first_head, args.num_heads, args.num_query_heads);
  }
  if (!args.sink_logits.empty() &&
      args.sink_logits.size() !=
          static_cast<std::size_t>(args.num_query_heads)) {
    return Invalid("sink_logits: %d; give none, or one for each of %d heads",
                   args.sink_logits.size(), args.num_query_heads);
  }
  return absl::OkStatus();
}

absl::Status CheckBatch(const AttentionBatch& batch) {
  const std::size_t num_sequences = batch.num_tokens.size();
  if (batch.query_begin.size() != num_sequences + 1) {
    return Invalid(
        "batch.query_begin: %d entries for %d sequences; give one "
        "more than sequences",
        batch.query_begin.size(), num_sequences);
  }
  if (batch.tables.size() != num_sequences) {
    return Invalid("batch.tables: %d for %d sequences", batch.tables.size(),
                   num_sequences);
  }
  if (batch.query_begin[0] < 0) {
    return Invalid("batch.query_begin[0]: %d; rows count from 0",
                   batch.query_begin[0]);
  }
  for (std::size_t i = 0; i < num_sequences; ++i) {
    const std::int64_t queries =
        std::int64_t{batch.query_begin[i + 1]} - batch.query_begin[i];
    if (queries < 0) {
      return Invalid("batch.query_begin[%d]: %d after %d; give rows in order",
                     i + 1, batch.query_begin[i + 1], batch.query_begin[i]);
    }
    if (batch.num_tokens[i] < queries) {
      return Invalid(
          "batch.num_tokens[%d]: %d, with %d queries; these are its "
          "last tokens",
          i, batch.num_tokens[i], queries);
    }
    if (queries > 0 && batch.tables[i] == nullptr) {
      return Invalid("batch.tables[%d]: null", i);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckArgs(const PagedAttentionArgs& args) {
  if (absl::Status s = CheckTensors(args); !s.ok()) return s;
  if (absl::Status s = CheckHeads(args); !s.ok()) return s;
  if (absl::Status s = CheckBatch(args.batch); !s.ok()) return s;
  if (!(args.softmax_scale > 0) || std::isinf(args.softmax_scale)) {
    return Invalid("softmax_scale: %g; usually 1 / sqrt(head size)",
                   args.softmax_scale);
  }
  if (args.window < 0) {
    return Invalid("window: %d; give 0 for all tokens", args.window);
  }
  if (args.num_sink_tokens < 0) {
    return Invalid("num_sink_tokens: %d; give at least 0",
                   args.num_sink_tokens);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status PagedAttention(const PagedAttentionArgs& args) {
  if (absl::Status s = CheckArgs(args); !s.ok()) return s;
  const std::int32_t group = args.num_query_heads / args.key.tensor.heads;
  const std::int32_t first = args.first_head;
  const std::int32_t end =
      args.num_heads > 0 ? first + args.num_heads : args.num_query_heads;
  Workspace work;
  for (std::size_t i = 0; i < args.batch.num_tokens.size(); ++i) {
    for (std::int32_t head = first / group; head * group < end; ++head) {
      const TokenRange heads = {std::max(first, head * group),
                                std::min(end, (head + 1) * group)};
      HeadAttention(args, i, head, heads, work).Run();
    }
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
