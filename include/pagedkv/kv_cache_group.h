// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_KV_CACHE_GROUP_H_
#define PAGEDKV_KV_CACHE_GROUP_H_

#include "pagedkv/types.h"

namespace pagedkv {

/// Layers that share a block table: same attention kind, same block geometry.
struct KvCacheGroupOptions {
  BlockSize block_size{16};
  AttentionKind kind = AttentionKind::kFull;
  /// Tokens that a token attends to, itself included (kSlidingWindow), or of a
  /// chunk (kChunkedLocal). 0 for all others.
  TokenCount window{0};
  /// kSlidingWindow: the first tokens of the sequence are attended to as well
  /// (attention sinks, arXiv 2309.17453), and their blocks kept.
  TokenCount num_sink_tokens{0};
  friend bool operator==(const KvCacheGroupOptions&,
                         const KvCacheGroupOptions&) = default;
};

}  // namespace pagedkv

#endif  // PAGEDKV_KV_CACHE_GROUP_H_
