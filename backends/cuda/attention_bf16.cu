// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/attention_launch.cuh"
#include "backends/cuda/launches.h"

namespace pagedkv::cuda {

int LaunchBf16Attention(const AttentionParams& params,
                        const AttentionShape& shape, Stream stream) {
  return LaunchAttentionFrom<AlignedSource<KvDtype::kBf16>>(params, shape,
                                                            stream);
}

}  // namespace pagedkv::cuda
