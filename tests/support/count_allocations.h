// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_SUPPORT_COUNT_ALLOCATIONS_H_
#define TESTS_SUPPORT_COUNT_ALLOCATIONS_H_

#include <cstddef>

namespace pagedkv {

/// Calls of operator new so far, and the bytes that they asked for, in a
/// program whose sources have count_allocations.cc. Of one thread.
struct Allocations {
  std::size_t calls = 0;
  std::size_t bytes = 0;
};
Allocations CountedAllocations();

}  // namespace pagedkv

#endif  // TESTS_SUPPORT_COUNT_ALLOCATIONS_H_
