// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_INDEX_DIGEST_H_
#define PAGEDKV_INDEX_DIGEST_H_

/// Tells whether two processes have the same blocks in their index.

#include <array>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>

#include "pagedkv/block_hash.h"

namespace pagedkv {

/// A digest of a multiset of blocks, whatever the order in which they came: the
/// sum modulo 2^128 of the first 128 bits of SHA-256(group, hash, tier) of
/// each, a block that is there twice counting twice. The hash counts as
/// `BlockHash::ToInt`, which is the same at both ends whether events carry
/// whole hashes or integers.
///
/// It finds lost, doubled and altered events. It does not withstand somebody
/// who chooses the blocks so that sums agree. Thread-compatible.
class IndexDigest {
 public:
  /// Of no blocks.
  IndexDigest() = default;
  /// One that `bytes()` gave, elsewhere.
  explicit IndexDigest(const std::array<std::uint8_t, 16>& bytes);

  /// Puts the block in `times` times. Costs one SHA-256.
  void Add(int group, std::string_view tier, std::uint64_t hash,
           std::uint64_t times = 1);
  void Add(int group, std::string_view tier, const BlockHash& hash) {
    Add(group, tier, hash.ToInt());
  }
  /// Takes it out once. That it was in is for the caller to know.
  void Remove(int group, std::string_view tier, std::uint64_t hash);
  void Remove(int group, std::string_view tier, const BlockHash& hash) {
    Remove(group, tier, hash.ToInt());
  }

  /// The sum, big-endian.
  [[nodiscard]] std::array<std::uint8_t, 16> bytes() const;
  [[nodiscard]] std::string ToHex() const;
  friend bool operator==(const IndexDigest&, const IndexDigest&) = default;
  friend std::ostream& operator<<(std::ostream& out,
                                  const IndexDigest& digest) {
    return out << digest.ToHex();
  }

 private:
  std::uint64_t high_ = 0;
  std::uint64_t low_ = 0;
};

}  // namespace pagedkv

#endif  // PAGEDKV_INDEX_DIGEST_H_
