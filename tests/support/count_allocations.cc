// SPDX-License-Identifier: Apache-2.0
//
// A source of its own: where the compiler sees that memory comes from
// elsewhere, it complains that it is given back here.
#include "tests/support/count_allocations.h"

#include <cstdlib>
#include <new>

namespace {

pagedkv::Allocations counted;

void* Count(std::size_t bytes, std::size_t alignment) {
  ++counted.calls;
  counted.bytes += bytes;
  void* const memory = std::aligned_alloc(
      alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return Count(bytes, 16); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return Count(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace pagedkv {

Allocations CountedAllocations() { return counted; }

}  // namespace pagedkv
