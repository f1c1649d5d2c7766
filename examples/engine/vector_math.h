// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_VECTOR_MATH_H_
#define EXAMPLES_ENGINE_VECTOR_MATH_H_

#include <cstdint>
#include <span>

#include "examples/engine/thread_pool.h"

namespace pagedkv::engine {

/// The arithmetic of the model, in fp32. What is computed for one row of a
/// batch depends on that row alone, to the bit: every sum is taken in the same
/// order, whatever the other rows, the threads and the instructions used. So a
/// sequence gets the same logits in any batch.

/// A matrix in row-major order that somebody else owns.
struct Matrix {
  const float* data = nullptr;
  std::int64_t num_rows = 0;
  std::int64_t num_columns = 0;
};

/// Sum of a[i] * b[i].
[[nodiscard]] float Dot(const float* a, const float* b, std::int64_t size);

/// Row r of `y` is `weights` times row r of `x`, for all `num_rows` rows: `y`
/// has weights.num_rows columns.
void MatMul(ThreadPool& threads, const float* x, std::int64_t num_rows,
            const Matrix& weights, float* y);

/// x / sqrt(mean(x^2) + epsilon) * weight, for a row x. `y` may be `x`.
void RmsNorm(const float* x, std::span<const float> weight, float epsilon,
             float* y);

/// gate * sigmoid(gate) * up, in `gate`.
void SwiGlu(std::span<float> gate, const float* up);

/// exp(x - max(x)) / sum, in place.
void Softmax(std::span<float> x);

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_VECTOR_MATH_H_
