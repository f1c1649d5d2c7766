// SPDX-License-Identifier: Apache-2.0
#ifndef BLOCK_TABLE_BLOCK_SERIALIZATION_H_
#define BLOCK_TABLE_BLOCK_SERIALIZATION_H_

/// The bytes that block hashes digest: of the triple (hash of the parent, tuple
/// of tokens, tuple of extra keys or None), or of a seed. Each function writes
/// to the front of `buffer`, which only ever grows, and returns that front.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "pagedkv/block_hash.h"
#include "pagedkv/types.h"

namespace pagedkv::internal {

/// What the hash of a block covers.
struct BlockContent {
  std::span<const std::uint8_t> parent;
  std::span<const TokenId> tokens;
  const ExtraKeys& extra;
};

/// As CPython's pickle.dumps(..., protocol=5) of objects that are all distinct:
/// where an adapter and a salt are one Python object, its pickle refers back.
/// Not for strings of 64 KiB and more, which CPython puts outside its frames.
std::span<const std::uint8_t> WritePickle(const BlockContent& content,
                                          std::vector<std::uint8_t>& buffer);
std::span<const std::uint8_t> WritePickle(std::string_view seed,
                                          std::vector<std::uint8_t>& buffer);

/// In the deterministic encoding of RFC 8949, 4.2.1.
std::span<const std::uint8_t> WriteCbor(const BlockContent& content,
                                        std::vector<std::uint8_t>& buffer);
std::span<const std::uint8_t> WriteCbor(std::string_view seed,
                                        std::vector<std::uint8_t>& buffer);

/// As `WriteCbor`, but for the tokens: one byte string, as they lie in memory.
/// As unambiguous, and little more than a copy.
std::span<const std::uint8_t> WriteCborOfRawTokens(
    const BlockContent& content, std::vector<std::uint8_t>& buffer);

}  // namespace pagedkv::internal

#endif  // BLOCK_TABLE_BLOCK_SERIALIZATION_H_
