// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "allocator/kernels/attention_math.h"
#include "allocator/kernels/kernel_arguments.h"
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

// A latent need not have a rotary part.
std::int32_t RotarySize(const PagedAttentionArgs& args) {
  return args.latent && args.value.tensor.heads > 0
             ? args.value.tensor.head_size
             : 0;
}
std::int32_t ValueSize(const PagedAttentionArgs& args) {
  return args.latent ? args.key.tensor.head_size : args.value.tensor.head_size;
}

// Of the vectors in the workspace.
struct Sizes {
  explicit Sizes(const PagedAttentionArgs& args)
      : rotary_begin(PaddedSize(args.key.tensor.head_size)),
        key(rotary_begin + PaddedSize(RotarySize(args))),
        value(PaddedSize(ValueSize(args))) {}

  std::int32_t rotary_begin;  // in a key
  std::int32_t key;
  std::int32_t value;
};

// One head of a sequence's keys or values.
KvSource SourceOf(const KvTensorView& view, const AttentionBatch& batch,
                  std::size_t sequence, std::int32_t head,
                  ConstKvRows ResidualRows::* rows) {
  KvSource source{.blocks = HeadOf(view, head),
                  .table = batch.tables[sequence],
                  .first_residual = batch.num_tokens[sequence]};
  if (!batch.residuals.empty()) {
    const ResidualRows& residual = batch.residuals[sequence];
    source.residual = HeadOf(
        AsBlock(residual.*rows, view.tensor.heads, view.tensor.head_size),
        head);
    source.first_residual = residual.first;
  }
  return source;
}

// The queries of one sequence that read one KV head.
class HeadAttention {
 public:
  // `heads` are query heads.
  HeadAttention(const PagedAttentionArgs& args, std::size_t sequence,
                std::int32_t kv_head, TokenRange heads, Workspace& work)
      : args_(args),
        sizes_(args),
        key_(SourceOf(args.key, args.batch, sequence, kv_head,
                      &ResidualRows::key)),
        value_(SourceOf(args.value, args.batch, sequence, kv_head,
                        &ResidualRows::value)),
        first_row_(args.batch.query_begin[sequence]),
        num_rows_(args.batch.query_begin[sequence + 1] - first_row_),
        first_position_(args.batch.num_tokens[sequence] - num_rows_),
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
    LoadRow(args_.query, first_row_ + token, head, size, RotarySize(args_),
            query + sizes_.rotary_begin);
    std::fill(Sum(i), Sum(i) + sizes_.value, 0.0F);
    work_.softmax[i] = {.max = kMasked, .sum = 0};
    if (!args_.sink_logits.empty()) {
      work_.softmax[i] = {
          .max = args_.sink_logits[static_cast<std::size_t>(head)], .sum = 1};
    }
  }

  void AttendToTile(std::int64_t tile, const TileTokens& tokens) {
    LoadKeys(tile, tokens);
    for (std::int32_t i = 0; i < count_; ++i) {
      const TileTokens mine = InTile(work_.visible[i], tile);
      if (!mine.empty()) Weigh(i, mine);
    }
    // The latent that has served as keys is there already.
    if (!args_.latent) Load(value_, tile, tokens, 0, sizes_.value);
    const std::int32_t stride = args_.latent ? sizes_.key : sizes_.value;
    for (std::int32_t i = 0; i < count_; ++i) {
      const TileTokens mine = InTile(work_.visible[i], tile);
      if (mine.empty()) continue;
      AddValues(Weights(i), work_.tile, stride, sizes_.value, mine.sinks,
                mine.recent, work_.factors[i], Sum(i));
    }
  }

  void LoadKeys(std::int64_t tile, const TileTokens& tokens) {
    Load(key_, tile, tokens, 0, sizes_.key);
    if (RotarySize(args_) > 0) {
      Load(value_, tile, tokens, sizes_.rotary_begin, sizes_.key);
    }
    // `ComputeLogits` reads what lies between, and a few that follow.
    const auto clear = [&](std::int32_t begin, std::int32_t end) {
      std::fill(work_.tile + std::ptrdiff_t{begin} * sizes_.key,
                work_.tile + std::ptrdiff_t{end} * sizes_.key, 0.0F);
    };
    clear(tokens.sinks.end, tokens.recent.begin);
    clear(tokens.end(), PaddedSize(tokens.end()));
  }

  void Load(const KvSource& source, std::int64_t tile, const TileTokens& tokens,
            std::int32_t offset, std::int32_t stride) {
    for (const TokenRange& range : {tokens.sinks, tokens.recent}) {
      LoadTile(source, tile, range, work_.tile + offset, stride);
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
    StoreRow(args_.output, first_row_ + TokenOf(i), HeadOf(i), ValueSize(args_),
             sum);
  }

  const PagedAttentionArgs& args_;
  const Sizes sizes_;
  const KvSource key_;
  const KvSource value_;
  std::int32_t first_row_;
  std::int32_t num_rows_;
  std::int32_t first_position_;
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

absl::Status CheckTensor(const char* name, const KvTensorView& view) {
  if (view.tensor.heads == 0) return Invalid("%s has no heads", name);
  return CheckView(view, name);
}

absl::Status CheckTensors(const PagedAttentionArgs& args) {
  const KvTensorView& key = args.key;
  const KvTensorView& value = args.value;
  if (absl::Status s = CheckTensor("key", key); !s.ok()) return s;
  if (!args.latent || value.tensor.heads > 0) {
    if (absl::Status s = CheckTensor("value", value); !s.ok()) return s;
    if (key.block_size != value.block_size) {
      return Invalid(
          "value.block_size: %d, and %d of the key; one table "
          "serves both",
          value.block_size, key.block_size);
    }
    if (key.tensor.heads != value.tensor.heads) {
      return Invalid("value: %d heads, and %d of the key; give equal numbers",
                     value.tensor.heads, key.tensor.heads);
    }
  }
  const std::int32_t rotary_size = RotarySize(args);
  if (key.tensor.head_size >
      kMaxKeySize - PaddedSize(std::min(rotary_size, kMaxKeySize))) {
    return Invalid(
        "key: heads of %d elements, with a rotary part of %d; at "
        "most %d together",
        key.tensor.head_size, rotary_size, kMaxKeySize);
  }
  if (ValueSize(args) > kMaxValueSize) {
    return Invalid("%s: heads of %d elements as values; at most %d",
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
  if (args.first_head < 0 || args.first_head >= args.num_query_heads ||
      args.num_heads < 0 ||
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
  if (!batch.residuals.empty() && batch.residuals.size() != num_sequences) {
    return Invalid(
        "batch.residuals: %d for %d sequences; give none, or one for "
        "each",
        batch.residuals.size(), num_sequences);
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
    const bool has_blocks =
        batch.residuals.empty() || batch.residuals[i].first > 0;
    if (queries > 0 && has_blocks && batch.tables[i] == nullptr) {
      return Invalid("batch.tables[%d]: null", i);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckResiduals(const PagedAttentionArgs& args) {
  const AttentionBatch& batch = args.batch;
  const bool has_value = !args.latent || RotarySize(args) > 0;
  for (std::size_t i = 0; i < batch.residuals.size(); ++i) {
    const ResidualRows& residual = batch.residuals[i];
    if (residual.first < 0 || residual.first > batch.num_tokens[i]) {
      return Invalid("batch.residuals[%d].first is %d, of %d tokens", i,
                     residual.first, batch.num_tokens[i]);
    }
    if (residual.first == batch.num_tokens[i]) continue;
    absl::Status status = CheckRows(residual.key, "key");
    if (status.ok() && has_value) status = CheckRows(residual.value, "value");
    if (!status.ok()) {
      return Invalid("batch.residuals[%d]: %s", i,
                     std::string(status.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckArgs(const PagedAttentionArgs& args) {
  if (absl::Status s = CheckTensors(args); !s.ok()) return s;
  if (absl::Status s = CheckHeads(args); !s.ok()) return s;
  if (absl::Status s = CheckBatch(args.batch); !s.ok()) return s;
  if (absl::Status s = CheckResiduals(args); !s.ok()) return s;
  if (args.batch.query_begin.front() < args.batch.query_begin.back()) {
    if (absl::Status s = CheckRows(args.query, "query"); !s.ok()) return s;
    if (absl::Status s = CheckRows(args.output, "output"); !s.ok()) return s;
  }
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
