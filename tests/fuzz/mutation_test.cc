// SPDX-License-Identifier: Apache-2.0
//
// Runs a fuzz target without libFuzzer: its seeds, every prefix of them, and
// random mutations, some of which splice two inputs.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <random>
#include <vector>

#include "gtest/gtest.h"

#include "tests/fuzz/fuzz_target.h"

namespace pagedkv {
namespace {

using Input = std::vector<std::uint8_t>;

class Mutator {
 public:
  Mutator(std::uint64_t seed, std::vector<Input> inputs)
      : random_(seed), inputs_(std::move(inputs)) {}

  Input Next() {
    Input input = inputs_[Below(inputs_.size())];
    for (std::size_t i = Below(4) + 1; i > 0; --i) Change(&input);
    return input;
  }

 private:
  std::size_t Below(std::size_t end) { return random_() % end; }

  void Change(Input* input) {
    if (input->empty()) input->push_back(0);
    const auto at =
        input->begin() + static_cast<std::ptrdiff_t>(Below(input->size()));
    switch (Below(6)) {
      case 0:
        *at = static_cast<std::uint8_t>(random_());
        break;
      case 1:
        *at = static_cast<std::uint8_t>(*at ^ 1u << Below(8));
        break;
      case 2:
        input->insert(at, static_cast<std::uint8_t>(random_()));
        break;
      case 3:
        input->erase(at, at + static_cast<std::ptrdiff_t>(std::min<std::size_t>(
                                  1 + Below(8), static_cast<std::size_t>(
                                                    input->end() - at))));
        break;
      case 4:
        // Sizes and integers at their limits.
        std::fill(at,
                  at + static_cast<std::ptrdiff_t>(std::min<std::size_t>(
                           1 + Below(9),
                           static_cast<std::size_t>(input->end() - at))),
                  Below(2) == 0 ? 0xff : 0x00);
        break;
      default:
        const Input& other = inputs_[Below(inputs_.size())];
        const auto from = static_cast<std::ptrdiff_t>(Below(other.size() + 1));
        input->erase(at, input->end());
        input->insert(input->end(), other.begin() + from, other.end());
    }
  }

  std::mt19937_64 random_;
  std::vector<Input> inputs_;
};

TEST(MutationTest, NoInputShowsADefect) {
  constexpr std::uint64_t kSeed = 5489;
  constexpr int kMutations = 20'000;
  std::cout << "seed " << kSeed << '\n';
  const std::vector<Input> seeds = FuzzSeeds();
  ASSERT_FALSE(seeds.empty());
  for (const Input& seed : seeds) {
    for (std::size_t size = 0; size <= seed.size(); ++size) {
      EXPECT_EQ(LLVMFuzzerTestOneInput(seed.data(), size), 0);
    }
  }
  Mutator mutator(kSeed, seeds);
  for (int i = 0; i < kMutations; ++i) {
    const Input input = mutator.Next();
    ASSERT_EQ(LLVMFuzzerTestOneInput(input.data(), input.size()), 0);
  }
}

}  // namespace
}  // namespace pagedkv
