// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/attention_launch.cuh"
#include "backends/cuda/launches.h"

namespace pagedkv::cuda {

int LaunchAnyAttention(const AttentionParams& params,
                       const AttentionShape& shape, Stream stream) {
  return LaunchAttentionFrom<AnySource>(params, shape, stream);
}

}  // namespace pagedkv::cuda
