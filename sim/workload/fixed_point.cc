// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/fixed_point.h"

#include <array>
#include <bit>
#include <cstddef>
#include <limits>

#include "absl/numeric/int128.h"

namespace pagedkv::sim {
namespace {

constexpr std::uint64_t kOne = std::uint64_t{1} << 62;

/// 2^-(2^-i) in 1/2^64, for i = 1 to 32, to the nearest.
constexpr std::array<std::uint64_t, 32> kRootsOfHalf = {
    0xB504F333F9DE6484, 0xD744FCCAD69D6AF4, 0xEAC0C6E7DD24392F,
    0xF5257D152486CC2C, 0xFA83B2DB722A033A, 0xFD3E0C0CF486C175,
    0xFE9E115C7B8F884C, 0xFF4ECB59511EC8A5, 0xFFA756521C8DAED2,
    0xFFD3A751C0F7E10C, 0xFFE9D2B2F7DB2756, 0xFFF4E91BFF1B8C3E,
    0xFFFA747EA0040664, 0xFFFD3A3B7814EB54, 0xFFFE9D1CC60DDAB1,
    0xFFFF4E8E25879BFA, 0xFFFFA7470363F451, 0xFFFFD3A37DDA0313,
    0xFFFFE9D1BDF703AF, 0xFFFFF4E8DEBE025E, 0xFFFFFA746F4FA150,
    0xFFFFFD3A37A3F8B0, 0xFFFFFE9D1BD1065A, 0xFFFFFF4E8DE845AE,
    0xFFFFFFA746F41377, 0xFFFFFFD3A37A05E4, 0xFFFFFFE9D1BD01FC,
    0xFFFFFFF4E8DE80C0, 0xFFFFFFFA746F4051, 0xFFFFFFFD3A37A025,
    0xFFFFFFFE9D1BD011, 0xFFFFFFFF4E8DE808,
};

/// log2(e) in 1/2^62.
constexpr std::uint64_t kLog2E = 0x5C551D94AE0BF85E;

}  // namespace

std::uint64_t Log2(std::uint64_t value) {
  const int whole = 63 - std::countl_zero(value);
  // 1 <= x < 2 in 1/2^63: squaring it gives one bit of its logarithm a time.
  absl::uint128 x = absl::uint128(value) << (63 - whole);
  std::uint64_t log = static_cast<std::uint64_t>(whole);
  for (int bit = 0; bit < 32; ++bit) {
    x = (x * x) >> 63;
    log <<= 1;
    if ((x >> 64) != 0) {
      x >>= 1;
      log |= 1;
    }
  }
  return log;
}

std::uint64_t PowerOfHalf(std::uint64_t exponent) {
  const std::uint64_t whole = exponent >> 32;
  if (whole > 62) return 0;
  absl::uint128 power = kOne;
  for (std::size_t i = 0; i < kRootsOfHalf.size(); ++i) {
    if (((exponent >> (31 - i)) & 1) != 0) {
      power = (power * kRootsOfHalf[i]) >> 64;
    }
  }
  return absl::Uint128Low64(power) >> whole;
}

std::uint64_t ExpOfMinus(std::uint64_t exponent) {
  const absl::uint128 in_halves = (absl::uint128(exponent) * kLog2E) >> 62;
  if (in_halves > std::numeric_limits<std::uint64_t>::max()) return 0;
  return PowerOfHalf(absl::Uint128Low64(in_halves));
}

}  // namespace pagedkv::sim
