// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_CONTENT_HASH_H_
#define ALLOCATOR_EVICTION_CONTENT_HASH_H_

#include <cstdint>

namespace pagedkv {

/// Spreads a content's name over 64 bits: the finaliser of MurmurHash3, a
/// bijection. Names are hashes with an engine, but in a simulator they may be
/// small numbers, or numbers a step apart.
inline std::uint64_t ContentHash(std::uint64_t content) {
  content = (content ^ content >> 33) * 0xFF51AFD7ED558CCDULL;
  content = (content ^ content >> 33) * 0xC4CEB9FE1A85EC53ULL;
  return content ^ content >> 33;
}

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_CONTENT_HASH_H_
