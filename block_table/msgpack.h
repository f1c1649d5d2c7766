// SPDX-License-Identifier: Apache-2.0
#ifndef BLOCK_TABLE_MSGPACK_H_
#define BLOCK_TABLE_MSGPACK_H_

/// The few types of msgpack that events are made of.
/// Source: https://github.com/msgpack/msgpack/blob/master/spec.md
///
/// Not msgpack-cxx, which throws on what is malformed, builds a tree of objects
/// before anyone has seen what type they have, and would be a package that
/// whoever builds the library needs.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace pagedkv::internal {

/// Appends values, each in the shortest form that it has.
/// Strings, binaries and containers have less than 2^32 elements.
class MsgpackWriter {
 public:
  explicit MsgpackWriter(std::vector<std::uint8_t>* out) : out_(*out) {}
  void Nil();
  void Int(std::int64_t value);
  void Uint(std::uint64_t value);
  void Double(double value);
  void String(std::string_view value);
  void Binary(std::span<const std::uint8_t> value);
  /// The elements follow.
  void Array(std::size_t size);
  /// As many keys follow, each with its value.
  void Map(std::size_t size);

 private:
  void BigEndian(std::uint64_t value, int num_bytes);
  void Header(std::uint8_t code, std::uint64_t value, int num_bytes);

  std::vector<std::uint8_t>& out_;
};

/// An integer of msgpack: from -2^63 to 2^64 - 1.
struct MsgpackInt {
  bool negative = false;
  std::uint64_t bits = 0;  ///< two's complement
};

/// Reads one value after the other from bytes that may be anything. Each
/// `Read*` returns false where the next value is not what it reads, or the
/// bytes end; from the first time on, `status()` says so and nothing more is
/// read. No function recurses or takes memory in proportion to a size that is
/// claimed.
class MsgpackReader {
 public:
  enum class Type : std::uint8_t {
    kNil,
    kBool,
    kInt,
    kFloat,
    kString,
    kBinary,
    kArray,
    kMap,
    kExtension,
    kNone,  ///< the end, or 0xc1
  };

  explicit MsgpackReader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  [[nodiscard]] Type Peek() const;
  [[nodiscard]] std::size_t offset() const { return offset_; }
  [[nodiscard]] std::size_t remaining() const {
    return bytes_.size() - offset_;
  }

  /// Whether the next value was nil; if so, it was read.
  [[nodiscard]] bool TryNil();
  [[nodiscard]] bool ReadInt(MsgpackInt* value);
  /// An integer of [low, high].
  [[nodiscard]] bool ReadInt(std::int64_t low, std::int64_t high,
                             std::int64_t* value);
  /// A float or an integer.
  [[nodiscard]] bool ReadNumber(double* value);
  /// A view of the bytes; they are not checked to be UTF-8.
  [[nodiscard]] bool ReadString(std::string_view* value);
  [[nodiscard]] bool ReadBinary(std::span<const std::uint8_t>* value);
  /// No more elements than there are bytes left.
  [[nodiscard]] bool ReadArray(std::size_t* size);
  [[nodiscard]] bool ReadMap(std::size_t* size);
  /// Any value, with all that is in it.
  [[nodiscard]] bool Skip();

  /// Records `what` is wrong with the value that began at `offset`. False.
  bool Fail(std::size_t offset, std::string_view what);
  /// OK, or InvalidArgument with the first complaint.
  [[nodiscard]] const absl::Status& status() const { return status_; }

 private:
  // A value's first byte, and the number that follows it or is within it: the
  // integer itself, or the size of what comes.
  struct Head {
    Type type = Type::kNone;
    std::uint8_t code = 0;
    std::uint64_t number = 0;
  };
  bool ReadHead(Head* head);
  // Reads a head of this type, or complains.
  bool Expect(Type type, std::string_view name, Head* head);
  bool TakeBytes(std::uint64_t size, std::span<const std::uint8_t>* value);

  std::span<const std::uint8_t> bytes_;
  std::size_t offset_ = 0;
  absl::Status status_;
};

}  // namespace pagedkv::internal

#endif  // BLOCK_TABLE_MSGPACK_H_
