// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_FUZZ_FUZZ_TARGET_H_
#define TESTS_FUZZ_FUZZ_TARGET_H_

/// What the source of a pagedkv_fuzz_target defines. libFuzzer runs it in the
/// preset `fuzz`; mutation_test.cc runs it everywhere else.

#include <cstddef>
#include <cstdint>
#include <vector>

/// Aborts if the input shows a defect. Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size);

namespace pagedkv {

/// Good inputs, from which others are made.
std::vector<std::vector<std::uint8_t>> FuzzSeeds();

}  // namespace pagedkv

#endif  // TESTS_FUZZ_FUZZ_TARGET_H_
