// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/block_hash.h"

// Inline, all of it: digesting a block costs little more than a call, and a
// client of the installed library need not find another one.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

#include "base/check.h"
#include "block_table/block_serialization.h"
#include "block_table/sha256.h"

namespace pagedkv {
namespace {

// By value of the enumerator.
constexpr std::array<const char*, 5> kAlgorithmNames = {
    "sha256", "sha256_cbor", "xxhash", "xxhash_cbor", "keyed128"};

bool UsesSha256(BlockHashAlgorithm algorithm) {
  return algorithm == BlockHashAlgorithm::kSha256Pickle ||
         algorithm == BlockHashAlgorithm::kSha256Cbor;
}

bool UsesPickle(BlockHashAlgorithm algorithm) {
  return algorithm == BlockHashAlgorithm::kSha256Pickle ||
         algorithm == BlockHashAlgorithm::kXxh3Pickle;
}

std::span<const std::uint8_t> BytesOf(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::span<const std::uint8_t> EmbeddingsOfBlock(const ContentKeys& keys,
                                                TokenCount begin,
                                                TokenCount end) {
  PAGEDKV_CHECK(keys.embedding_bytes_per_token >= 1);
  const std::size_t size = keys.prompt_embeddings.size();
  const std::size_t num_tokens = size / keys.embedding_bytes_per_token;
  // Compared as tokens: their bytes may be more than fit the type.
  const auto offset = [&](TokenCount token) {
    const auto index = static_cast<std::size_t>(token.value());
    return index <= num_tokens ? index * keys.embedding_bytes_per_token : size;
  };
  return std::span(reinterpret_cast<const std::uint8_t*>(
                       keys.prompt_embeddings.data()),
                   size)
      .subspan(offset(begin), offset(end) - offset(begin));
}

}  // namespace

ExtraKeys ExtraKeysOfBlock(const ContentKeys& keys, TokenCount begin,
                           BlockSize size) {
  const TokenCount end = begin + TokenCount(size.value());
  ExtraKeys extra;
  if (!keys.adapter.empty()) extra.emplace_back(keys.adapter);
  for (const MultimodalItem& item : keys.items) {
    if (item.offset < end && begin < item.offset + item.length) {
      extra.emplace_back(
          ItemAtOffset(item.identifier, (item.offset - begin).value()));
    }
  }
  for (const CacheSalt& salt : keys.salts) {
    if (!salt.salt.empty() && begin <= salt.begin && salt.begin < end) {
      extra.emplace_back(salt.salt);
    }
  }
  if (!keys.prompt_embeddings.empty()) {
    extra.emplace_back(
        internal::Sha256().Digest(EmbeddingsOfBlock(keys, begin, end)));
  }
  return extra;
}

std::string_view BlockHashAlgorithmName(BlockHashAlgorithm algorithm) {
  return kAlgorithmNames[static_cast<std::size_t>(algorithm)];
}

absl::StatusOr<BlockHashAlgorithm> ParseBlockHashAlgorithm(
    std::string_view name) {
  const auto* const found =
      std::find(kAlgorithmNames.begin(), kAlgorithmNames.end(), name);
  if (found == kAlgorithmNames.end()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "unknown block hash algorithm \"%s\"; known are %s",
        absl::CEscape(absl::string_view(name.data(), name.size())),
        absl::StrJoin(kAlgorithmNames, ", ")));
  }
  return static_cast<BlockHashAlgorithm>(found - kAlgorithmNames.begin());
}

BlockHash::BlockHash(std::span<const std::uint8_t> digest)
    : size_(static_cast<std::uint8_t>(digest.size())) {
  PAGEDKV_CHECK(!digest.empty() && digest.size() <= bytes_.size());
  std::copy(digest.begin(), digest.end(), bytes_.begin());
}

std::uint64_t BlockHash::ToInt() const {
  std::uint64_t value = 0;
  for (const std::uint8_t byte : bytes()) value = value << 8 | byte;
  return value;
}

std::string BlockHash::ToHex() const {
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(bytes_.data()), std::size_t{size_}));
}

BlockHasher::BlockHasher(BlockHashAlgorithm algorithm, std::string_view seed)
    : algorithm_(algorithm) {
  if (UsesSha256(algorithm)) sha256_ = std::make_unique<internal::Sha256>();
  if (algorithm == BlockHashAlgorithm::kKeyed128) {
    // Each byte of the seed counts, however long it is.
    const Sha256Digest digest = internal::Sha256().Digest(BytesOf(seed));
    std::memcpy(&secret_, digest.data(), sizeof(secret_));
  }
  root_ = Digest(UsesPickle(algorithm) ? internal::WritePickle(seed, buffer_)
                                       : internal::WriteCbor(seed, buffer_));
}

BlockHasher::~BlockHasher() = default;
BlockHasher::BlockHasher(BlockHasher&&) noexcept = default;
BlockHasher& BlockHasher::operator=(BlockHasher&&) noexcept = default;

BlockHash BlockHasher::Hash(const BlockHash& parent,
                            std::span<const TokenId> tokens,
                            const ExtraKeys& extra) {
  return Digest(Serialize(parent, tokens, extra));
}

std::span<const std::uint8_t> BlockHasher::Serialize(
    const BlockHash& parent, std::span<const TokenId> tokens,
    const ExtraKeys& extra) {
  const internal::BlockContent content = {
      .parent = parent.empty() ? root_.bytes() : parent.bytes(),
      .tokens = tokens,
      .extra = extra};
  if (algorithm_ == BlockHashAlgorithm::kKeyed128) {
    return internal::WriteCborOfRawTokens(content, buffer_);
  }
  return UsesPickle(algorithm_) ? internal::WritePickle(content, buffer_)
                                : internal::WriteCbor(content, buffer_);
}

BlockHash BlockHasher::Digest(std::span<const std::uint8_t> bytes) {
  if (UsesSha256(algorithm_)) return BlockHash(sha256_->Digest(bytes));
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(
      &canonical, XXH3_128bits_withSeed(bytes.data(), bytes.size(), secret_));
  return BlockHash(canonical.digest);
}

}  // namespace pagedkv
