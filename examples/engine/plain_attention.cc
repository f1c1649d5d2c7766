// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/plain_attention.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "examples/engine/kv_cache.h"
#include "examples/engine/thread_pool.h"
#include "examples/engine/vector_math.h"

namespace pagedkv::engine {
namespace {

// One head of one query, which attends to `num_tokens`.
void AttendHead(const KvShape& shape, const PlainKv& kv, std::int32_t head,
                std::int64_t num_tokens, const float* query,
                std::vector<float>& scores, float* output) {
  const std::int64_t size = shape.head_size;
  const std::int64_t kv_head =
      head / (shape.num_query_heads / shape.num_kv_heads);
  const std::int64_t stride = shape.kv_size();
  const float scale = 1.0F / std::sqrt(static_cast<float>(size));
  scores.resize(static_cast<std::size_t>(num_tokens));
  const float* keys = kv.keys + kv_head * size;
  for (std::int64_t t = 0; t < num_tokens; ++t) {
    scores[static_cast<std::size_t>(t)] =
        Dot(query, keys + t * stride, size) * scale;
  }
  Softmax(scores);
  std::fill_n(output, size, 0.0F);
  const float* values = kv.values + kv_head * size;
  for (std::int64_t t = 0; t < num_tokens; ++t) {
    const float weight = scores[static_cast<std::size_t>(t)];
    for (std::int64_t i = 0; i < size; ++i) {
      output[i] += weight * values[t * stride + i];
    }
  }
}

}  // namespace

void PlainAttention(
    ThreadPool& threads, const KvShape& shape,
    std::span<const BatchSequence> batch,
    const std::function<PlainKv(const BatchSequence& sequence)>& kv_of,
    const float* queries, float* output) {
  const std::int64_t num_heads = shape.num_query_heads;
  for (const BatchSequence& sequence : batch) {
    const PlainKv kv = kv_of(sequence);
    const auto body = [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> scores;
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t row = i / num_heads;
        const auto head = static_cast<std::int32_t>(i % num_heads);
        const std::int64_t at =
            (sequence.first_row + row) * shape.query_size() +
            std::int64_t{head} * shape.head_size;
        AttendHead(shape, kv, head, sequence.first_position + row + 1,
                   queries + at, scores, output + at);
      }
    };
    threads.ParallelFor(sequence.num_rows * num_heads, body);
  }
}

}  // namespace pagedkv::engine
