// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_KV_KERNELS_H_
#define PAGEDKV_KV_KERNELS_H_

/// What is done with keys and values in blocks: written, read back, attended
/// to. On the host; a device backend has the same functions, with a stream.
///
/// Elements are quantised when written and dequantised when read, as the view's
/// format says. Rows outside of the blocks are fp32, fp16 or bf16, arithmetic
/// is fp32. A result does not depend on the block size, the layout, or what
/// else is in the same call: to the bit.
///
/// Errors: InvalidArgument, naming the argument, and then nothing was written.
/// Slots and block ids are trusted, as by any kernel: `BlockTables` and
/// `StepPlan` give those of the pool. No function allocates memory. Safe from
/// several threads, if none writes what another one reads or writes.

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"

#include "pagedkv/kv_tensor.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Vectors outside of blocks, as models have them: [tokens][heads][head_size],
/// elements of a head one behind the other. Strides count elements; so K and V
/// can be parts of one projection's output.
struct KvRows {
  std::byte* data = nullptr;
  KvDtype dtype = KvDtype::kFp32;  ///< kFp32, kFp16 or kBf16
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
};
/// The same to read from.
struct ConstKvRows {
  const std::byte* data = nullptr;
  KvDtype dtype = KvDtype::kFp32;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
};

/// Writes row i of `rows` to slot slots[i] (block id * block size + offset);
/// negative slots are padding and left out. A view with a scale per channel
/// takes whole runs only: slots in groups of `channel_run` that follow one
/// another from a multiple of it.
absl::Status ScatterKv(const KvTensorView& view, const ConstKvRows& rows,
                       std::span<const std::int64_t> slots);

/// Reads the tokens at positions first, first + 1, ..., first + num_tokens - 1
/// of a sequence with this block table into rows 0, 1, ... of `rows`.
absl::Status GatherKv(const KvTensorView& view, std::span<const BlockId> table,
                      std::int64_t first, std::int64_t num_tokens,
                      const KvRows& rows);

/// The last tokens of a sequence, where they are not in blocks yet (KIVI, arXiv
/// 2402.02750): rows 0, 1, ... are the tokens at `first`, first + 1, ... up to
/// the last one of the sequence, and the blocks hold those before.
struct ResidualRows {
  ConstKvRows key;
  ConstKvRows value;
  std::int32_t first = 0;
};

/// The sequences of one step, as attention needs them.
struct AttentionBatch {
  /// [sequences + 1]: the queries of sequence i are rows query_begin[i] to
  /// query_begin[i + 1] - 1. They are its last tokens.
  std::span<const std::int32_t> query_begin;
  /// [sequences]: its tokens with keys and values, those of this step included.
  std::span<const std::int32_t> num_tokens;
  /// [sequences]: its block table.
  std::span<const BlockId* const> tables;
  /// [sequences], or empty: all tokens are in blocks.
  std::span<const ResidualRows> residuals;
};

/// Scaled dot-product attention, causal, over keys and values in blocks. Each
/// query's softmax is taken tile by tile of consecutive tokens, in fp32
/// (arXiv 2205.14135); tiles begin at fixed positions of the sequence.
///
/// On the host a call works in one thread: split the heads, or the sequences
/// (parts of the spans of `batch`), to use more. It takes 200 KiB of stack, and
/// heads of at most 512 elements (keys: 576 with the rotary part).
struct PagedAttentionArgs {
  KvTensorView key;
  /// With `latent`: the rotary part; `key` is the latent, which also serves as
  /// the values (DeepSeek-V2, arXiv 2405.04434).
  KvTensorView value;
  bool latent = false;
  AttentionBatch batch;
  /// [query rows][query heads][head size of the key, and with `latent` that of
  /// the rotary part behind it]. Query head h reads KV head
  /// h / (num_query_heads / KV heads): MHA, GQA and MQA.
  ConstKvRows query;
  std::int32_t num_query_heads = 0;  ///< a multiple of the KV heads
  /// Only query heads first_head, ..., first_head + num_heads - 1 are computed,
  /// and only their rows of `output` written. 0 heads: all from `first_head`
  /// on.
  std::int32_t first_head = 0;
  std::int32_t num_heads = 0;
  /// [query rows][query heads][head size of the value; with `latent` the key's]
  KvRows output;
  float softmax_scale = 0;  ///< usually 1 / sqrt(head size)
  /// Tokens that a token attends to, itself included; 0: all.
  std::int32_t window = 0;
  /// With a window, the first tokens are attended to as well
  /// (arXiv 2309.17453).
  std::int32_t num_sink_tokens = 0;
  /// [query heads], or empty: a logit that takes part in each softmax and adds
  /// nothing (a learned sink).
  std::span<const float> sink_logits;
};
absl::Status PagedAttention(const PagedAttentionArgs& args);

}  // namespace pagedkv

#endif  // PAGEDKV_KV_KERNELS_H_
