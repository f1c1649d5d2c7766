// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/index_digest.h"

#include <span>

#include "absl/strings/str_format.h"

#include "block_table/sha256.h"

namespace pagedkv {
namespace {

__extension__ using Uint128 = unsigned __int128;

void AppendBigEndian(std::uint64_t value, int num_bytes, std::string* out) {
  for (int shift = (num_bytes - 1) * 8; shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(value >> shift));
  }
}

std::uint64_t BigEndian(const std::uint8_t* bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | bytes[i];
  return value;
}

Uint128 Join(std::uint64_t high, std::uint64_t low) {
  return Uint128{high} << 64 | low;
}

Uint128 Term(int group, std::string_view tier, std::uint64_t hash) {
  // Twelve bytes and the tier: "GPU" fits into a string without an allocation.
  std::string text;
  AppendBigEndian(static_cast<std::uint32_t>(group), 4, &text);
  AppendBigEndian(hash, 8, &text);
  text.append(tier);
  // Looking SHA-256 up costs OpenSSL three times what digesting this does.
  thread_local internal::Sha256 sha256;
  const Sha256Digest digest = sha256.Digest(
      {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  return Join(BigEndian(digest.data()), BigEndian(digest.data() + 8));
}

}  // namespace

IndexDigest::IndexDigest(const std::array<std::uint8_t, 16>& bytes)
    : high_(BigEndian(bytes.data())), low_(BigEndian(bytes.data() + 8)) {}

void IndexDigest::Add(int group, std::string_view tier, std::uint64_t hash,
                      std::uint64_t times) {
  const Uint128 sum = Join(high_, low_) + Term(group, tier, hash) * times;
  high_ = static_cast<std::uint64_t>(sum >> 64);
  low_ = static_cast<std::uint64_t>(sum);
}

void IndexDigest::Remove(int group, std::string_view tier, std::uint64_t hash) {
  const Uint128 rest = Join(high_, low_) - Term(group, tier, hash);
  high_ = static_cast<std::uint64_t>(rest >> 64);
  low_ = static_cast<std::uint64_t>(rest);
}

std::array<std::uint8_t, 16> IndexDigest::bytes() const {
  std::array<std::uint8_t, 16> bytes;
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<std::uint8_t>(high_ >> (56 - 8 * i));
    bytes[8 + i] = static_cast<std::uint8_t>(low_ >> (56 - 8 * i));
  }
  return bytes;
}

std::string IndexDigest::ToHex() const {
  return absl::StrFormat("%016x%016x", high_, low_);
}

}  // namespace pagedkv
