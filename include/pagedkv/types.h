// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_TYPES_H_
#define PAGEDKV_TYPES_H_

/// The ids and units of the library, and the kinds of attention. Each id is its
/// own type and none converts to another, so that blocks passed where tokens
/// are meant do not compile. Tokens become blocks in `BlockSize` only, and
/// either becomes bytes in `KvGeometry` only, or where groups of layers share a
/// pool, in its `KvCachePlan` (kv_geometry.h, kv_cache_plan.h).

#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>
#include <type_traits>
#include <utility>

namespace pagedkv {

/// A number that names a thing: compared and hashed, never added.
template <typename Tag, typename Rep>
class Id {
 public:
  using rep = Rep;
  constexpr Id() = default;
  constexpr explicit Id(Rep value) : value_(value) {}
  [[nodiscard]] constexpr Rep value() const { return value_; }
  friend constexpr auto operator<=>(Id, Id) = default;
  template <typename H>
  friend H AbslHashValue(H state, Id id) {
    return H::combine(std::move(state), id.value_);
  }
  friend std::ostream& operator<<(std::ostream& out, Id id) {
    return out << Tag::kName << ' ' << +id.value_;
  }

 private:
  Rep value_ = 0;
};

/// A number of things of one kind: added, subtracted and compared.
template <typename Tag, typename Rep>
class Count {
 public:
  using rep = Rep;
  constexpr Count() = default;
  constexpr explicit Count(Rep value) : value_(value) {}
  [[nodiscard]] constexpr Rep value() const { return value_; }
  constexpr Count& operator+=(Count other) {
    value_ += other.value_;
    return *this;
  }
  constexpr Count& operator-=(Count other) {
    value_ -= other.value_;
    return *this;
  }
  friend constexpr Count operator+(Count a, Count b) { return a += b; }
  friend constexpr Count operator-(Count a, Count b) { return a -= b; }
  template <typename Factor>
    requires std::is_integral_v<Factor>
  friend constexpr Count operator*(Count a, Factor factor) {
    return Count(a.value_ * static_cast<Rep>(factor));
  }
  friend constexpr auto operator<=>(Count, Count) = default;
  template <typename H>
  friend H AbslHashValue(H state, Count count) {
    return H::combine(std::move(state), count.value_);
  }
  friend std::ostream& operator<<(std::ostream& out, Count count) {
    return out << +count.value_ << ' ' << Tag::kName;
  }

 private:
  Rep value_ = 0;
};

struct BlockIdTag {
  static constexpr char kName[] = "block";
};
struct SequenceIdTag {
  static constexpr char kName[] = "sequence";
};
struct RequestIdTag {
  static constexpr char kName[] = "request";
};
struct TokenCountTag {
  static constexpr char kName[] = "tokens";
};
struct BlockCountTag {
  static constexpr char kName[] = "blocks";
};
struct BytesTag {
  static constexpr char kName[] = "bytes";
};

/// A block of the pool: 0 <= id < number of blocks. int32, as every
/// paged-attention kernel reads it.
using BlockId = Id<BlockIdTag, std::int32_t>;
/// A sequence of a `KvCacheManager`, which issues the ids. An id is not issued
/// again after its release: the manager tells a stale one from a live one.
using SequenceId = Id<SequenceIdTag, std::uint64_t>;
/// A request of a `Scheduler`, chosen by the client.
using RequestId = Id<RequestIdTag, std::uint64_t>;
/// One entry of a model's vocabulary.
using TokenId = std::int32_t;

using TokenCount = Count<TokenCountTag, std::int64_t>;
using BlockCount = Count<BlockCountTag, std::int64_t>;
using Bytes = Count<BytesTag, std::int64_t>;

/// The placeholder in block tables: never allocated, shared or released.
inline constexpr BlockId kNullBlock{0};

/// Tokens per block of one KV cache group (>= 1): the one place where counts of
/// tokens and of blocks meet. Counts are not negative. Powers of two, the usual
/// sizes, are divided by with a shift: appends and slots cost little else.
class BlockSize {
 public:
  constexpr explicit BlockSize(std::int32_t tokens)
      : tokens_(tokens),
        shift_(std::has_single_bit(static_cast<std::uint32_t>(tokens))
                   ? std::countr_zero(static_cast<std::uint32_t>(tokens))
                   : kNoPowerOfTwo) {}
  [[nodiscard]] constexpr std::int32_t value() const { return tokens_; }
  /// Blocks that hold `tokens`, the last one perhaps in part: rounds up.
  [[nodiscard]] constexpr BlockCount CoveringBlocks(TokenCount tokens) const {
    return FullBlocks(tokens + TokenCount(tokens_ - 1));
  }
  /// Blocks that `tokens` fill: rounds down.
  [[nodiscard]] constexpr BlockCount FullBlocks(TokenCount tokens) const {
    return BlockCount(shift_ != kNoPowerOfTwo ? tokens.value() >> shift_
                                              : tokens.value() / tokens_);
  }
  /// Slots of `blocks`: exact.
  [[nodiscard]] constexpr TokenCount Slots(BlockCount blocks) const {
    return TokenCount(blocks.value() * tokens_);
  }
  /// What `tokens` leave over beyond their full blocks.
  [[nodiscard]] constexpr TokenCount Remainder(TokenCount tokens) const {
    return tokens - Slots(FullBlocks(tokens));
  }
  friend constexpr auto operator<=>(BlockSize, BlockSize) = default;
  friend std::ostream& operator<<(std::ostream& out, BlockSize size) {
    return out << size.tokens_ << " tokens per block";
  }

 private:
  static constexpr std::int32_t kNoPowerOfTwo = -1;

  std::int32_t tokens_;
  std::int32_t shift_;
};

/// How the layers of a KV cache group attend.
enum class AttentionKind : std::uint8_t {
  kFull,           ///< to all tokens
  kSlidingWindow,  ///< to the last `window` tokens
  kChunkedLocal,   ///< within their chunk of `window` tokens
  kLatent,         ///< to all tokens, through a latent (MLA)
  kCross,          ///< to the encoder's tokens
  kStateSpace,     ///< through one state (Mamba)
};

}  // namespace pagedkv

template <typename Tag, typename Rep>
struct std::hash<pagedkv::Id<Tag, Rep>> {
  std::size_t operator()(pagedkv::Id<Tag, Rep> id) const noexcept {
    return std::hash<Rep>()(id.value());
  }
};

#endif  // PAGEDKV_TYPES_H_
