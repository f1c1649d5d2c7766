// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_PLAIN_ATTENTION_H_
#define EXAMPLES_ENGINE_PLAIN_ATTENTION_H_

#include <cstdint>
#include <functional>
#include <span>

#include "examples/engine/kv_cache.h"
#include "examples/engine/thread_pool.h"

namespace pagedkv::engine {

/// Keys and values of a sequence in one layer, token after token.
struct PlainKv {
  const float* keys = nullptr;    // [tokens, kv_size]
  const float* values = nullptr;  // [tokens, kv_size]
};

/// Attention by the book: all scores of a query, their softmax, the weighted
/// sum. Independent of the library's kernels, and what they are compared with.
void PlainAttention(
    ThreadPool& threads, const KvShape& shape,
    std::span<const BatchSequence> batch,
    const std::function<PlainKv(const BatchSequence& sequence)>& kv_of,
    const float* queries, float* output);

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_PLAIN_ATTENTION_H_
