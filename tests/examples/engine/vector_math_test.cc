// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/vector_math.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "examples/engine/random.h"
#include "examples/engine/thread_pool.h"
#include "gtest/gtest.h"

namespace pagedkv::engine {
namespace {

std::vector<float> DrawFloats(Random& random, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = 2 * random.NextUniform() - 1;
  return values;
}

TEST(VectorMathTest, MatMulAgreesWithSumsInDouble) {
  Random random(1);
  ThreadPool threads(3);
  for (const std::int64_t size : {1, 7, 8, 9, 64, 577}) {
    for (const std::int64_t num_rows : {1, 3, 4, 6}) {
      const std::int64_t num_columns = 37;
      const std::vector<float> x = DrawFloats(random, num_rows * size);
      const std::vector<float> w = DrawFloats(random, num_columns * size);
      std::vector<float> y(static_cast<std::size_t>(num_rows * num_columns),
                           NAN);
      MatMul(threads, x.data(), num_rows,
             {.data = w.data(), .num_rows = num_columns, .num_columns = size},
             y.data());
      for (std::int64_t r = 0; r < num_rows; ++r) {
        for (std::int64_t c = 0; c < num_columns; ++c) {
          double sum = 0;
          for (std::int64_t i = 0; i < size; ++i) {
            sum += double{x[static_cast<std::size_t>(r * size + i)]} *
                   double{w[static_cast<std::size_t>(c * size + i)]};
          }
          EXPECT_NEAR(y[static_cast<std::size_t>(r * num_columns + c)], sum,
                      1e-4);
        }
      }
    }
  }
}

TEST(VectorMathTest, ARowsProductsDoNotDependOnTheOtherRows) {
  Random random(2);
  const std::int64_t size = 83;
  const std::int64_t num_columns = 41;
  const std::int64_t num_rows = 11;
  const std::vector<float> x = DrawFloats(random, num_rows * size);
  const std::vector<float> w = DrawFloats(random, num_columns * size);
  const Matrix weights{
      .data = w.data(), .num_rows = num_columns, .num_columns = size};
  ThreadPool one(1);
  ThreadPool many(4);
  std::vector<float> together(static_cast<std::size_t>(num_rows * num_columns));
  MatMul(many, x.data(), num_rows, weights, together.data());
  for (std::int64_t r = 0; r < num_rows; ++r) {
    std::vector<float> alone(static_cast<std::size_t>(num_columns));
    MatMul(one, x.data() + r * size, 1, weights, alone.data());
    for (std::int64_t c = 0; c < num_columns; ++c) {
      EXPECT_EQ(together[static_cast<std::size_t>(r * num_columns + c)],
                alone[static_cast<std::size_t>(c)]);
    }
  }
}

TEST(VectorMathTest, SoftmaxOfLargeNumbersIsFinite) {
  std::vector<float> x = {1000, 1001, -1000};
  Softmax(x);
  EXPECT_NEAR(x[0], 0.268941, 1e-6);
  EXPECT_NEAR(x[1], 0.731059, 1e-6);
  EXPECT_EQ(x[2], 0);
}

TEST(ThreadPoolTest, DoesEachIterationOnce) {
  ThreadPool threads(4);
  for (const std::int64_t count : {0, 1, 2, 15, 16, 17, 1000}) {
    std::vector<int> done(static_cast<std::size_t>(count));
    threads.ParallelFor(count, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        ++done[static_cast<std::size_t>(i)];
      }
    });
    EXPECT_EQ(done, std::vector<int>(static_cast<std::size_t>(count), 1));
  }
}

}  // namespace
}  // namespace pagedkv::engine
