// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/vector_math.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "examples/engine/thread_pool.h"

namespace pagedkv::engine {
namespace {

constexpr int kNumLanes = 8;
using Lanes = float __attribute__((vector_size(kNumLanes * sizeof(float))));

// Products of `R` rows of x and `O` rows of weights, in one pass over both.
// Lane l sums the elements l, l + 8, l + 16, ...; the lanes are added in order,
// and then what is left over. That order is the contract of this file: tiles
// differ in what they share, not in what they add.
template <int R, int O>
[[gnu::always_inline]] inline void DotTile(
    const float* x, std::int64_t x_stride, const float* w,
    std::int64_t w_stride, std::int64_t size, float* y, std::int64_t y_stride) {
  Lanes sums[R][O] = {};
  std::int64_t i = 0;
  for (; i + kNumLanes <= size; i += kNumLanes) {
    Lanes weights[O];
    for (int o = 0; o < O; ++o) {
      std::memcpy(&weights[o], w + o * w_stride + i, sizeof(Lanes));
    }
    for (int r = 0; r < R; ++r) {
      Lanes values;
      std::memcpy(&values, x + r * x_stride + i, sizeof(Lanes));
      for (int o = 0; o < O; ++o) sums[r][o] += values * weights[o];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int o = 0; o < O; ++o) {
      float sum = 0;
      for (int lane = 0; lane < kNumLanes; ++lane) sum += sums[r][o][lane];
      for (std::int64_t k = i; k < size; ++k) {
        sum += x[r * x_stride + k] * w[o * w_stride + k];
      }
      y[r * y_stride + o] = sum;
    }
  }
}

// Columns [begin, end) of y, which are rows of the weights.
[[gnu::always_inline]] inline void MatMulColumnsBody(
    const float* x, std::int64_t num_rows, const Matrix& weights,
    std::int64_t begin, std::int64_t end, float* y) {
  const std::int64_t size = weights.num_columns;
  const std::int64_t stride = weights.num_rows;
  std::int64_t row = 0;
  for (; row + 4 <= num_rows; row += 4) {
    std::int64_t column = begin;
    for (; column + 2 <= end; column += 2) {
      DotTile<4, 2>(x + row * size, size, weights.data + column * size, size,
                    size, y + row * stride + column, stride);
    }
    for (; column < end; ++column) {
      DotTile<4, 1>(x + row * size, size, weights.data + column * size, size,
                    size, y + row * stride + column, stride);
    }
  }
  for (; row < num_rows; ++row) {
    std::int64_t column = begin;
    for (; column + 4 <= end; column += 4) {
      DotTile<1, 4>(x + row * size, size, weights.data + column * size, size,
                    size, y + row * stride + column, stride);
    }
    for (; column < end; ++column) {
      DotTile<1, 1>(x + row * size, size, weights.data + column * size, size,
                    size, y + row * stride + column, stride);
    }
  }
}

using MatMulColumns = void (*)(const float*, std::int64_t, const Matrix&,
                               std::int64_t, std::int64_t, float*);

void MatMulColumnsPlain(const float* x, std::int64_t num_rows,
                        const Matrix& weights, std::int64_t begin,
                        std::int64_t end, float* y) {
  MatMulColumnsBody(x, num_rows, weights, begin, end, y);
}

#if defined(__x86_64__)
// The same additions and multiplications, eight at a time: without fused ones,
// which would round differently.
[[gnu::target("avx2")]] void MatMulColumnsAvx2(const float* x,
                                               std::int64_t num_rows,
                                               const Matrix& weights,
                                               std::int64_t begin,
                                               std::int64_t end, float* y) {
  MatMulColumnsBody(x, num_rows, weights, begin, end, y);
}
#endif

MatMulColumns ChooseMatMulColumns() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return MatMulColumnsAvx2;
#endif
  return MatMulColumnsPlain;
}

}  // namespace

float Dot(const float* a, const float* b, std::int64_t size) {
  float sum = 0;
  DotTile<1, 1>(a, 0, b, 0, size, &sum, 0);
  return sum;
}

void MatMul(ThreadPool& threads, const float* x, std::int64_t num_rows,
            const Matrix& weights, float* y) {
  static const MatMulColumns columns = ChooseMatMulColumns();
  // Weights that stay in the cache while all rows pass by.
  constexpr std::int64_t kColumns = 16;
  const std::int64_t num_tiles = (weights.num_rows + kColumns - 1) / kColumns;
  threads.ParallelFor(num_tiles, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t tile = first; tile < last; ++tile) {
      columns(x, num_rows, weights, tile * kColumns,
              std::min(weights.num_rows, (tile + 1) * kColumns), y);
    }
  });
}

void RmsNorm(const float* x, std::span<const float> weight, float epsilon,
             float* y) {
  const auto size = static_cast<std::int64_t>(weight.size());
  const float mean = Dot(x, x, size) / static_cast<float>(size);
  const float scale = 1.0F / std::sqrt(mean + epsilon);
  for (std::size_t i = 0; i < weight.size(); ++i)
    y[i] = x[i] * scale * weight[i];
}

void SwiGlu(std::span<float> gate, const float* up) {
  for (std::size_t i = 0; i < gate.size(); ++i) {
    gate[i] = gate[i] / (1.0F + std::exp(-gate[i])) * up[i];
  }
}

void Softmax(std::span<float> x) {
  const float max = *std::max_element(x.begin(), x.end());
  float sum = 0;
  for (float& value : x) {
    value = std::exp(value - max);
    sum += value;
  }
  for (float& value : x) value /= sum;
}

}  // namespace pagedkv::engine
