// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/kv_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string_view>

#include "absl/strings/str_format.h"

#include "allocator/kernels/kernel_arguments.h"
#include "backends/cuda/attention_params.h"
#include "backends/cuda/kernel_rows.h"
#include "backends/cuda/launches.h"

namespace pagedkv::cuda {
namespace {

// What is in the device's memory is read as these.
static_assert(sizeof(KernelRows) == sizeof(ConstKvRows) &&
              offsetof(KernelRows, dtype) == offsetof(ConstKvRows, dtype) &&
              offsetof(KernelRows, token_stride) ==
                  offsetof(ConstKvRows, token_stride) &&
              offsetof(KernelRows, head_stride) ==
                  offsetof(ConstKvRows, head_stride));
static_assert(sizeof(KernelResidual) == sizeof(ResidualRows) &&
              offsetof(KernelResidual, value) ==
                  offsetof(ResidualRows, value) &&
              offsetof(KernelResidual, first) == offsetof(ResidualRows, first));

constexpr std::int64_t kMostThreadBlocks = std::numeric_limits<int>::max();

template <typename... Args>
absl::Status Invalid(const absl::FormatSpec<Args...>& format,
                     const Args&... args) {
  return absl::InvalidArgumentError(absl::StrFormat(format, args...));
}

absl::Status Launched(int error) {
  if (error == 0) return absl::OkStatus();
  return absl::InternalError(
      absl::StrFormat("launch of a kernel: CUDA error %d", error));
}

KernelRows ToKernel(const ConstKvRows& rows) {
  return {rows.data, rows.dtype, rows.token_stride, rows.head_stride};
}
KernelOutputRows ToKernel(const KvRows& rows) {
  return {rows.data, rows.dtype, rows.token_stride, rows.head_stride};
}

template <typename Rows>
absl::Status CheckDeviceRows(const Rows& rows, std::string_view name) {
  absl::Status status = CheckRows(rows, name);
  if (!status.ok()) return status;
  const std::int32_t bytes = KvDtypeBits(rows.dtype) / 8;
  if (std::bit_cast<std::uintptr_t>(rows.data) %
          static_cast<std::uintptr_t>(bytes) !=
      0) {
    return Invalid("%s start at no multiple of their elements' %d bytes", name,
                   bytes);
  }
  return absl::OkStatus();
}

std::int64_t VectorBytes(const KvTensorView& view) {
  return std::int64_t{view.tensor.head_size} *
         KvDtypeBits(view.tensor.format.dtype) / 8;
}

// The largest power of two up to 16 that divides all places where vectors
// start.
std::int64_t AlignmentOf(const KvTensorView& view) {
  const std::uint64_t all = std::bit_cast<std::uintptr_t>(view.base) |
                            static_cast<std::uint64_t>(view.block_stride) |
                            static_cast<std::uint64_t>(view.token_stride) |
                            static_cast<std::uint64_t>(view.head_stride) | 16;
  return std::int64_t{1} << std::countr_zero(all);
}
template <typename Rows>
std::int64_t AlignmentOf(const Rows& rows) {
  const std::int64_t element = KvDtypeBits(rows.dtype) / 8;
  const std::uint64_t all =
      std::bit_cast<std::uintptr_t>(rows.data) |
      static_cast<std::uint64_t>(rows.token_stride * element) |
      static_cast<std::uint64_t>(rows.head_stride * element) | 16;
  return std::int64_t{1} << std::countr_zero(all);
}

// The widest words that copies between the two can use.
template <typename Rows>
int WordBytes(const KvTensorView& view, const Rows& rows) {
  const auto vector = static_cast<std::uint64_t>(VectorBytes(view)) | 16;
  return static_cast<int>(
      std::min({AlignmentOf(view), AlignmentOf(rows),
                std::int64_t{1} << std::countr_zero(vector)}));
}

// Whether bytes are copied as they are.
template <typename Rows>
bool IsCopy(const KvTensorView& view, const Rows& rows) {
  return view.tensor.format.dtype == rows.dtype;
}

// Heads one behind the other on both sides are as well one head.
template <typename Rows>
KvTensorView WithMergedHeads(KvTensorView view, const Rows& rows) {
  if (view.tensor.format.scheme == ScaleScheme::kTensor &&
      view.head_stride == VectorBytes(view) &&
      rows.head_stride == view.tensor.head_size) {
    view.tensor.head_size *= view.tensor.heads;
    view.tensor.heads = 1;
  }
  return view;
}

}  // namespace

absl::Status ScatterKv(const KvTensorView& view, const ConstKvRows& rows,
                       std::span<const std::int64_t> slots, Stream stream) {
  absl::Status status = CheckView(view, "view");
  if (!status.ok() || view.tensor.heads == 0 || slots.empty()) return status;
  if (status = CheckDeviceRows(rows, "rows"); !status.ok()) return status;
  const ScatterParams params = {.view = WithMergedHeads(view, rows),
                                .rows = ToKernel(rows),
                                .slots = slots.data(),
                                .num_rows = std::ssize(slots)};
  if (IsCopy(params.view, rows)) {
    return Launched(
        LaunchScatterWords(params, WordBytes(params.view, rows), stream));
  }
  return Launched(LaunchScatter(params, stream));
}

absl::Status GatherKv(const KvTensorView& view, std::span<const BlockId> table,
                      std::int64_t first, std::int64_t num_tokens,
                      const KvRows& rows, Stream stream) {
  absl::Status status = CheckView(view, "view");
  if (!status.ok()) return status;
  if (first < 0 || num_tokens < 0) {
    return Invalid("first is %d and num_tokens %d: neither may be negative",
                   first, num_tokens);
  }
  if (view.tensor.heads == 0 || num_tokens == 0) return absl::OkStatus();
  const std::int64_t slots = std::ssize(table) * view.block_size;
  if (num_tokens > slots || first > slots - num_tokens) {
    return Invalid("table has %d slots, and tokens %d to %d are wanted", slots,
                   first, first + (num_tokens - 1));
  }
  if (status = CheckDeviceRows(rows, "rows"); !status.ok()) return status;
  const GatherParams params = {.view = WithMergedHeads(view, rows),
                               .table = table.data(),
                               .first = first,
                               .num_rows = num_tokens,
                               .rows = ToKernel(rows)};
  if (IsCopy(params.view, rows)) {
    return Launched(
        LaunchGatherWords(params, WordBytes(params.view, rows), stream));
  }
  return Launched(LaunchGather(params, stream));
}

namespace {

bool HasRotary(const PagedAttentionArgs& args) {
  return args.latent && args.value.tensor.heads > 0;
}

AttentionParams ToKernel(const PagedAttentionArgs& args,
                         const AttentionLaunch& launch) {
  AttentionParams params = {
      .key = args.key,
      .value = args.value,
      .is_latent = args.latent,
      .query_begin = args.batch.query_begin.data(),
      .num_tokens = args.batch.num_tokens.data(),
      .tables = args.batch.tables.data(),
      .query = ToKernel(args.query),
      .output = ToKernel(args.output),
      .num_sequences = static_cast<std::int32_t>(args.batch.num_tokens.size()),
      .num_query_heads = args.num_query_heads,
      .heads_per_kv = args.num_query_heads / args.key.tensor.heads,
      .first_head = args.first_head,
      .end_head = args.num_heads > 0 ? args.first_head + args.num_heads
                                     : args.num_query_heads,
      .max_splits = NumSplits(launch.max_tokens),
      .max_queries = launch.max_queries,
      .softmax_scale = args.softmax_scale,
      .window = args.window,
      .num_sink_tokens = args.num_sink_tokens};
  if (args.latent && !HasRotary(args)) params.value.tensor.head_size = 0;
  if (!args.batch.residuals.empty()) {
    params.residuals =
        reinterpret_cast<const KernelResidual*>(args.batch.residuals.data());
  }
  if (!args.sink_logits.empty()) params.sink_logits = args.sink_logits.data();
  if (!launch.workspace.empty()) {
    params.workspace = reinterpret_cast<float*>(launch.workspace.data());
  }
  return params;
}

absl::Status CheckTensors(const PagedAttentionArgs& args) {
  const KvTensor& key = args.key.tensor;
  const KvTensor& value = args.value.tensor;
  absl::Status status = CheckView(args.key, "key");
  if (status.ok()) status = CheckView(args.value, "value");
  if (!status.ok()) return status;
  if (key.heads == 0) return Invalid("key has no heads");
  if (args.latent && !HasRotary(args)) return absl::OkStatus();
  if (key.heads != value.heads ||
      args.key.block_size != args.value.block_size) {
    return Invalid("value: %d heads, blocks of %d; the key has %d, and %d",
                   value.heads, args.value.block_size, key.heads,
                   args.key.block_size);
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
      std::ssize(args.sink_logits) != args.num_query_heads) {
    return Invalid("sink_logits: %d; give none, or one for each of %d heads",
                   args.sink_logits.size(), args.num_query_heads);
  }
  return absl::OkStatus();
}

absl::Status CheckBatch(const PagedAttentionArgs& args,
                        const AttentionLaunch& launch) {
  const AttentionBatch& batch = args.batch;
  const std::size_t num_sequences = batch.num_tokens.size();
  if (batch.query_begin.size() != num_sequences + 1 ||
      batch.tables.size() != num_sequences ||
      (!batch.residuals.empty() && batch.residuals.size() != num_sequences)) {
    return Invalid(
        "batch: %d entries of query_begin, %d tables and %d residuals for %d "
        "sequences; give one more, as many, and as many or none",
        batch.query_begin.size(), batch.tables.size(), batch.residuals.size(),
        num_sequences);
  }
  if (launch.max_tokens < 1 || launch.max_queries < 1 ||
      launch.max_queries > launch.max_tokens) {
    return Invalid(
        "launch: at most %d tokens and %d queries of a sequence; "
        "give at least 1 of each, and no fewer tokens",
        launch.max_tokens, launch.max_queries);
  }
  return absl::OkStatus();
}

absl::Status CheckNumbers(const PagedAttentionArgs& args) {
  if (!(args.softmax_scale > 0) || std::isinf(args.softmax_scale)) {
    return Invalid("softmax_scale: %g; usually 1 / sqrt(head size)",
                   args.softmax_scale);
  }
  if (args.window < 0 || args.num_sink_tokens < 0) {
    return Invalid("window and num_sink_tokens: %d and %d; 0 is the least",
                   args.window, args.num_sink_tokens);
  }
  absl::Status status = CheckDeviceRows(args.query, "query");
  if (status.ok()) status = CheckDeviceRows(args.output, "output");
  return status;
}

absl::Status CheckParams(const AttentionParams& params,
                         const AttentionShape& shape,
                         const PagedAttentionArgs& args,
                         const AttentionLaunch& launch) {
  const std::int64_t key_size = std::int64_t{params.key_chunks()} * 8;
  if (key_size > kMaxKeySize || params.value_size() > kMaxKeySize) {
    return Invalid(
        "key: heads of %d elements, the rotary part included, and "
        "values of %d; at most %d",
        key_size, params.value_size(), kMaxKeySize);
  }
  if (params.workspace != nullptr) {
    const std::int64_t needed =
        AttentionWorkspaceBytes(args, launch.max_tokens);
    if (std::ssize(launch.workspace) < needed ||
        std::bit_cast<std::uintptr_t>(params.workspace) % sizeof(float) != 0) {
      return Invalid("launch.workspace: %d bytes; %d are needed, aligned to 4",
                     launch.workspace.size(), needed);
    }
  }
  const std::int64_t rows = RowsFor(shape, kMaxRows);
  const std::int64_t heads =
      std::int64_t{params.num_sequences} * params.num_kv_heads();
  const std::int64_t most = std::max<std::int64_t>(
      params.MaxTiles(static_cast<std::int32_t>(rows), params.max_queries),
      params.MaxTiles(1, 1) * params.max_splits);
  if (most > kMostThreadBlocks / heads) {
    return Invalid(
        "batch: %d sequences of up to %d tokens are more than a "
        "launch can have; give fewer",
        params.num_sequences, launch.max_tokens);
  }
  return absl::OkStatus();
}

// Whether chunks of the view can be loaded and decoded at once.
bool IsAligned(const KvTensorView& view) {
  const KvFormat& format = view.tensor.format;
  return view.tensor.head_size % 8 == 0 &&
         (format.scheme == ScaleScheme::kTensor ||
          format.scheme == ScaleScheme::kToken) &&
         AlignmentOf(view) >= KvDtypeBits(format.dtype);
}

int Launch(const AttentionParams& params, const AttentionShape& shape,
           Stream stream) {
  const KvDtype dtype = params.key.tensor.format.dtype;
  const bool has_value = params.value.tensor.head_size > 0;
  const bool is_aligned =
      params.residuals == nullptr && IsAligned(params.key) &&
      (!has_value ||
       (IsAligned(params.value) && params.value.tensor.format.dtype == dtype));
  if (is_aligned && dtype == KvDtype::kFp16) {
    return LaunchFp16Attention(params, shape, stream);
  }
  if (is_aligned && dtype == KvDtype::kBf16) {
    return LaunchBf16Attention(params, shape, stream);
  }
  if (is_aligned && dtype == KvDtype::kFp8) {
    return LaunchFp8Attention(params, shape, stream);
  }
  if (is_aligned && dtype == KvDtype::kInt8) {
    return LaunchInt8Attention(params, shape, stream);
  }
  return LaunchAnyAttention(params, shape, stream);
}

}  // namespace

std::int64_t AttentionWorkspaceBytes(const PagedAttentionArgs& args,
                                     std::int32_t max_tokens) {
  const std::int64_t value_size =
      args.latent ? args.key.tensor.head_size : args.value.tensor.head_size;
  return std::ssize(args.batch.num_tokens) * args.num_query_heads *
         NumSplits(max_tokens) * (2 + value_size) * std::int64_t{sizeof(float)};
}

absl::Status PagedAttention(const PagedAttentionArgs& args,
                            const AttentionLaunch& launch, Stream stream) {
  if (absl::Status s = CheckTensors(args); !s.ok()) return s;
  if (absl::Status s = CheckHeads(args); !s.ok()) return s;
  if (absl::Status s = CheckBatch(args, launch); !s.ok()) return s;
  if (absl::Status s = CheckNumbers(args); !s.ok()) return s;
  if (args.batch.num_tokens.empty()) return absl::OkStatus();
  const AttentionParams params = ToKernel(args, launch);
  const AttentionShape shape =
      ShapeFor(std::max(params.key_chunks(), (params.value_size() + 7) / 8));
  if (absl::Status s = CheckParams(params, shape, args, launch); !s.ok()) {
    return s;
  }
  int error = Launch(params, shape, stream);
  if (error == 0 && params.workspace != nullptr) {
    error = LaunchSplitMerge(params, stream);
  }
  return Launched(error);
}

}  // namespace pagedkv::cuda
