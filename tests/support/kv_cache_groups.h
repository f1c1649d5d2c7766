// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_SUPPORT_KV_CACHE_GROUPS_H_
#define TESTS_SUPPORT_KV_CACHE_GROUPS_H_

#include "pagedkv/kv_cache_group.h"

/// KV cache groups in few words: block size, then window, in tokens.

namespace pagedkv {

inline KvCacheGroupOptions Full(int size) {
  return {.block_size = BlockSize(size)};
}
inline KvCacheGroupOptions Latent(int size) {
  return {.block_size = BlockSize(size), .kind = AttentionKind::kLatent};
}
inline KvCacheGroupOptions Sliding(int size, int window, int sinks = 0) {
  return {.block_size = BlockSize(size),
          .kind = AttentionKind::kSlidingWindow,
          .window = TokenCount(window),
          .num_sink_tokens = TokenCount(sinks)};
}
inline KvCacheGroupOptions Chunked(int size, int window) {
  return {.block_size = BlockSize(size),
          .kind = AttentionKind::kChunkedLocal,
          .window = TokenCount(window)};
}
inline KvCacheGroupOptions State(int size) {
  return {.block_size = BlockSize(size), .kind = AttentionKind::kStateSpace};
}
inline KvCacheGroupOptions Cross(int size) {
  return {.block_size = BlockSize(size), .kind = AttentionKind::kCross};
}

}  // namespace pagedkv

#endif  // TESTS_SUPPORT_KV_CACHE_GROUPS_H_
