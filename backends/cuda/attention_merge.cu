// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/attention_kernel.cuh"
#include "backends/cuda/launch_kernel.cuh"
#include "backends/cuda/launches.h"

namespace pagedkv::cuda {
namespace {

/// Puts the splits of one head of a sequence with one query together. Thread
/// blocks: [sequences][heads].
__global__ void __launch_bounds__(kAttentionThreads)
    MergeSplitsKernel(AttentionParams p) {
  const std::int32_t num_heads = p.end_head - p.first_head;
  const auto sequence = static_cast<std::int32_t>(blockIdx.x) / num_heads;
  const std::int32_t head =
      p.first_head + static_cast<std::int32_t>(blockIdx.x) % num_heads;
  if (!IsSplit(p, sequence)) return;
  const Visible visible =
      VisibleAt(p.num_tokens[sequence] - 1, p.window, p.num_sink_tokens);
  const std::int32_t num_splits = NumSplits(p.num_tokens[sequence]);
  for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x);
       i < p.value_size(); i += kAttentionThreads) {
    SplitHeader softmax = FirstSoftmax(p, head);
    float sum = 0;
    for (std::int32_t split = 0; split < num_splits; ++split) {
      if (!visible.HasAny(split * kSplitTokens,
                          (split + 1) * kSplitTokens - 1)) {
        continue;
      }
      const float* const from = p.SplitAt(sequence, head, split);
      const MergeFactors factors = Merge(softmax, {from[0], from[1]});
      sum = MergeSums(factors, sum, from[2 + i]);
    }
    StoreRowElement(p.output.data, p.output.dtype,
                    RowBegin(p.output, p.query_begin[sequence], head) + i,
                    sum * (1 / softmax.sum));
  }
}

}  // namespace

int LaunchSplitMerge(const AttentionParams& params, Stream stream) {
  return LaunchPlainKernel(MergeSplitsKernel,
                           std::int64_t{params.num_sequences} *
                               (params.end_head - params.first_head),
                           kAttentionThreads, params, stream);
}

}  // namespace pagedkv::cuda
