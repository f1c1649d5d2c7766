// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_BLOCK_HASH_H_
#define PAGEDKV_BLOCK_HASH_H_

/// The content of a block, named by a chained hash: what events carry, and what
/// processes exchange. The prefix index itself compares tokens and needs none.

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/types.h"

namespace pagedkv {

/// An image, a sound, ... that fills the tokens [offset, offset + length).
struct MultimodalItem {
  std::string identifier;  ///< of its content
  TokenCount offset{0};
  TokenCount length{0};
  friend bool operator==(const MultimodalItem&,
                         const MultimodalItem&) = default;
};

/// From token `begin` on, content is shared only with sequences of the same
/// salt. What lies in blocks before it is shared as ever. An empty salt is
/// none.
struct CacheSalt {
  std::string salt;
  TokenCount begin{0};
  friend bool operator==(const CacheSalt&, const CacheSalt&) = default;
};

/// What distinguishes the KV of a sequence beside its tokens. Sequences share a
/// block only where these agree too.
struct ContentKeys {
  /// Name of the adapter (LoRA); empty: the base model.
  std::string adapter = {};
  std::vector<MultimodalItem> items = {};  ///< by offset
  std::vector<CacheSalt> salts = {};       ///< by begin
  /// Embeddings given instead of tokens: `embedding_bytes_per_token` bytes for
  /// each token from position 0 on. Empty: none.
  std::vector<std::byte> prompt_embeddings = {};
  std::size_t embedding_bytes_per_token = 0;

  [[nodiscard]] bool empty() const {
    return adapter.empty() && items.empty() && salts.empty() &&
           prompt_embeddings.empty();
  }
  friend bool operator==(const ContentKeys&, const ContentKeys&) = default;
};

using Sha256Digest = std::array<std::uint8_t, 32>;
/// An item and where it begins, relative to the block: negative if before it.
using ItemAtOffset = std::pair<std::string, std::int64_t>;
using ExtraKey = std::variant<std::string, ItemAtOffset, Sha256Digest>;
/// What distinguishes one block beside its tokens and its parent: the adapter,
/// the items that overlap it, the salts that begin in it, the digest of its
/// embeddings; in this order. As in vLLM, nothing tells an adapter from a salt
/// of the same name: where clients choose salts, let them not look like one.
using ExtraKeys = std::vector<ExtraKey>;

/// The extra keys of the block of tokens [begin, begin + size). O(items +
/// salts), and one SHA-256 where there are embeddings; a block behind the last
/// of them has, as in vLLM, the digest of no bytes.
/// REQUIRES: begin >= 0; embedding_bytes_per_token >= 1 if there are
/// embeddings.
[[nodiscard]] ExtraKeys ExtraKeysOfBlock(const ContentKeys& keys,
                                         TokenCount begin, BlockSize size);

/// How the content of a block becomes bytes, and those a digest.
enum class BlockHashAlgorithm : std::uint8_t {
  kSha256Pickle,  ///< vLLM's "sha256": Python's pickle, protocol 5
  kSha256Cbor,    ///< "sha256_cbor": canonical CBOR (RFC 8949, 4.2.1)
  kXxh3Pickle,    ///< "xxhash": XXH3-128 of the pickle
  kXxh3Cbor,      ///< "xxhash_cbor"
  /// XXH3-128 under a secret seed: fast, and of use within one process only.
  kKeyed128,
};

/// vLLM's names, and "keyed128".
[[nodiscard]] std::string_view BlockHashAlgorithmName(
    BlockHashAlgorithm algorithm);
/// The reverse; InvalidArgument lists the known names.
absl::StatusOr<BlockHashAlgorithm> ParseBlockHashAlgorithm(
    std::string_view name);

/// A digest of 32 (SHA-256) or 16 bytes (the others).
class BlockHash {
 public:
  BlockHash() = default;
  /// REQUIRES: 1 <= digest.size() <= 32.
  explicit BlockHash(std::span<const std::uint8_t> digest);
  [[nodiscard]] std::span<const std::uint8_t> bytes() const {
    return {bytes_.data(), size_};
  }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  /// The last 8 bytes, big-endian: how events name a block by default.
  [[nodiscard]] std::uint64_t ToInt() const;
  [[nodiscard]] std::string ToHex() const;
  friend auto operator<=>(const BlockHash&, const BlockHash&) = default;
  friend std::ostream& operator<<(std::ostream& out, const BlockHash& hash) {
    return out << hash.ToHex();
  }
  template <typename H>
  friend H AbslHashValue(H state, const BlockHash& hash) {
    return H::combine(std::move(state), hash.bytes_, hash.size_);
  }

 private:
  std::array<std::uint8_t, 32> bytes_{};
  std::uint8_t size_ = 0;
};

namespace internal {
class Sha256;
}  // namespace internal

/// Hashes blocks one after the other, each with the hash of the one before it.
/// Thread-compatible. Allocates no memory once warm, but that OpenSSL 3 does,
/// for the state of each SHA-256. One that was moved from may only be assigned
/// to or destroyed.
class BlockHasher {
 public:
  /// `seed` is what vLLM takes from PYTHONHASHSEED: processes that are to agree
  /// have the same. For kKeyed128 it is the secret.
  BlockHasher(BlockHashAlgorithm algorithm, std::string_view seed);
  ~BlockHasher();
  BlockHasher(BlockHasher&&) noexcept;
  BlockHasher& operator=(BlockHasher&&) noexcept;

  [[nodiscard]] BlockHashAlgorithm algorithm() const { return algorithm_; }
  /// The parent of a first block: the hash of the seed.
  [[nodiscard]] const BlockHash& root() const { return root_; }
  /// An empty `parent` stands for the root. O(bytes hashed).
  [[nodiscard]] BlockHash Hash(const BlockHash& parent,
                               std::span<const TokenId> tokens,
                               const ExtraKeys& extra = {});

  /// The bytes that `Hash` digests; valid until the next call. Those of
  /// kKeyed128 are CBOR with the tokens as one byte string, in the byte order
  /// of the machine.
  [[nodiscard]] std::span<const std::uint8_t> Serialize(
      const BlockHash& parent, std::span<const TokenId> tokens,
      const ExtraKeys& extra = {});

 private:
  [[nodiscard]] BlockHash Digest(std::span<const std::uint8_t> bytes);

  BlockHashAlgorithm algorithm_;
  std::uint64_t secret_ = 0;                  // of XXH3; 0 unless keyed
  std::unique_ptr<internal::Sha256> sha256_;  // null if XXH3 does it
  BlockHash root_;
  std::vector<std::uint8_t> buffer_;
};

}  // namespace pagedkv

#endif  // PAGEDKV_BLOCK_HASH_H_
