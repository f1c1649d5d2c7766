// SPDX-License-Identifier: Apache-2.0
#include "sim/study/least_squares.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <optional>
#include <random>
#include <vector>

namespace pagedkv::sim {
namespace {

using LeastSquares = NonNegativeLeastSquares<5>;
using Vector = LeastSquares::Vector;

struct Row {
  Vector row;
  double value;
  double weight;
};

double Square(double x) { return x * x; }

double Objective(const std::vector<Row>& rows, const LeastSquares::Prior& prior,
                 const Vector& x) {
  double sum = 0;
  for (const Row& each : rows) {
    double error = -each.value;
    for (std::size_t i = 0; i < x.size(); ++i) error += each.row[i] * x[i];
    sum += each.weight * Square(error);
  }
  for (std::size_t i = 0; i < x.size() && prior.strength > 0; ++i) {
    sum += Square(prior.strength * (x[i] - prior.expected[i]) / prior.scale[i]);
  }
  return sum;
}

std::optional<Vector> Solve(const std::vector<Row>& rows,
                            const LeastSquares::Prior& prior = {}) {
  LeastSquares problem;
  for (const Row& each : rows) problem.Add(each.row, each.value, each.weight);
  return problem.Solve(prior);
}

TEST(NonNegativeLeastSquaresTest, FindsWhatTheRowsWereMadeOf) {
  std::mt19937_64 random(7);
  const Vector made_of = {16.5, 0.25, 0, 3e-6, 1.5e-4};
  const Vector magnitude = {1, 40, 2e3, 1e6, 4e4};
  std::vector<Row> rows;
  for (int i = 0; i < 50; ++i) {
    Row row{.row = {}, .value = 0, .weight = 1.0 + i % 3};
    for (std::size_t j = 0; j < made_of.size(); ++j) {
      row.row[j] = magnitude[j] * static_cast<double>(random() % 1000) / 1000;
      row.value += row.row[j] * made_of[j];
    }
    rows.push_back(row);
  }
  const std::optional<Vector> x = Solve(rows);
  ASSERT_TRUE(x.has_value());
  for (std::size_t i = 0; i < made_of.size(); ++i) {
    EXPECT_NEAR((*x)[i] * magnitude[i], made_of[i] * magnitude[i], 1e-6) << i;
  }
}

TEST(NonNegativeLeastSquaresTest, NoPointNearByIsBetter) {
  constexpr std::uint64_t kSeed = 99;
  std::cout << "seed " << kSeed << '\n';
  std::mt19937_64 random(kSeed);
  const auto draw = [&](double from, double to) {
    return from + (to - from) * static_cast<double>(random() % 10'001) / 10'000;
  };
  for (int round = 0; round < 200; ++round) {
    std::vector<Row> rows;
    const std::size_t num_rows = 1 + random() % 12;
    for (std::size_t i = 0; i < num_rows; ++i) {
      Row row{.row = {}, .value = draw(-2, 5), .weight = draw(0.1, 2)};
      for (double& each : row.row) each = draw(-1, 2);
      rows.push_back(row);
    }
    LeastSquares::Prior prior{.strength = 0.3};
    for (std::size_t i = 0; i < 5; ++i) {
      prior.expected[i] = draw(0, 2);
      prior.scale[i] = draw(0.5, 2);
    }
    const std::optional<Vector> x = Solve(rows, prior);
    ASSERT_TRUE(x.has_value());
    const double least = Objective(rows, prior, *x);
    for (std::size_t i = 0; i < 5; ++i) {
      EXPECT_GE((*x)[i], 0);
      for (const double by : {-1e-3, 1e-3}) {
        Vector other = *x;
        other[i] += by;
        if (other[i] < 0) continue;
        EXPECT_GE(Objective(rows, prior, other), least - 1e-9) << round;
      }
    }
  }
}

TEST(NonNegativeLeastSquaresTest, ThePriorDecidesWhatTheRowsLeaveOpen) {
  // Two columns that are always equal: only their sum, 4, is seen.
  std::vector<Row> rows;
  for (const double scale : {1.0, 2.0, 3.0}) {
    rows.push_back({{scale, scale, 0, 0, 0}, 4 * scale, 1});
  }
  LeastSquares::Prior prior{.strength = 1e-3};
  prior.expected = {3, 1.2, 7, 0, 0};
  prior.scale.fill(1);
  const std::optional<Vector> x = Solve(rows, prior);
  ASSERT_TRUE(x.has_value());
  EXPECT_NEAR((*x)[0], 2.9, 1e-3);
  EXPECT_NEAR((*x)[1], 1.1, 1e-3);
  EXPECT_NEAR((*x)[2], 7, 1e-9);
}

TEST(NonNegativeLeastSquaresTest, NothingIsNoAnswer) {
  EXPECT_EQ(Solve({}), std::nullopt);
  // Only a negative factor would do: none is better than 0, which is no time.
  EXPECT_EQ(Solve({{{1, 0, 0, 0, 0}, -1, 1}}), std::nullopt);
}

}  // namespace
}  // namespace pagedkv::sim
