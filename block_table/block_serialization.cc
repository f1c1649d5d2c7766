// SPDX-License-Identifier: Apache-2.0
#include "block_table/block_serialization.h"

#include <array>
#include <cstddef>
#include <cstring>
#include <string>
#include <variant>

#include "base/check.h"

namespace pagedkv::internal {
namespace {

using Bytes = std::span<const std::uint8_t>;

Bytes BytesOf(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// CPython ends a frame at the first object that begins at or after this many
// bytes of it. A frame's head: opcode and length.
constexpr std::size_t kFrameTarget = 65536;
constexpr std::size_t kFrameHead = 9;
// What a string or a tuple takes beside its elements is less, in any format; so
// is an integer of 64 bits, both heads of a pickle, and what the last token
// stores in excess.
constexpr std::size_t kMostPerObject = 16;
constexpr std::size_t kMostPerToken = 5;

// Room in which any format of `size` bytes of strings, `num_objects` objects
// and `num_tokens` tokens has its place.
std::size_t Room(std::size_t size, std::size_t num_objects,
                 std::size_t num_tokens) {
  const std::size_t room =
      size + kMostPerObject * num_objects + kMostPerToken * num_tokens;
  return room + kFrameHead * (room / kFrameTarget);
}

std::size_t Room(const BlockContent& content) {
  std::size_t size = content.parent.size();
  // The triple, the parent, two tuples, the pickle's ends, the excess.
  std::size_t num_objects = 6;
  for (const ExtraKey& key : content.extra) {
    if (const auto* text = std::get_if<std::string>(&key)) {
      size += text->size();
    } else if (const auto* item = std::get_if<ItemAtOffset>(&key)) {
      size += item->first.size();
    } else {
      size += sizeof(Sha256Digest);
    }
    num_objects += 3;  // an item: pair, identifier, offset
  }
  return Room(size, num_objects, content.tokens.size());
}

// Writes into room that was made once for all, so that a write is a store.
//
// Lengths of tokens come in no order that a branch predictor could learn, and a
// wrong guess costs more than a token does. So a whole word is stored for each,
// and as much of it kept as the token needs. Loops over tokens work on a copy
// of the writer: a byte stored could be one of a member, for all that the
// compiler knows, and the member would be read again for each.
class ByteWriter {
 public:
  ByteWriter(std::vector<std::uint8_t>& buffer, std::size_t room) {
    if (buffer.size() < room) buffer.resize(room);
    begin_ = end_ = buffer.data();
    limit_ = begin_ + buffer.size();
  }

  const std::uint8_t* position() const { return end_; }

  void PutByte(unsigned value) { *end_++ = static_cast<std::uint8_t>(value); }
  void PutBytes(Bytes bytes) {
    if (bytes.empty()) return;  // memcpy takes no null pointer
    std::memcpy(end_, bytes.data(), bytes.size());
    end_ += bytes.size();
  }
  // Stores `Size` bytes; what is put next overwrites those after `kept`.
  template <int Size>
  void PutLittleEndian(std::uint64_t value, std::size_t kept = Size) {
    for (int i = 0; i < Size; ++i) {
      end_[i] = static_cast<std::uint8_t>(value >> (8 * i));
    }
    end_ += kept;
  }
  template <int Size>
  void PutBigEndian(std::uint64_t value, std::size_t kept = Size) {
    for (int i = 0; i < Size; ++i) {
      end_[i] = static_cast<std::uint8_t>(value >> (8 * (Size - 1 - i)));
    }
    end_ += kept;
  }

  Bytes Written() const {
    PAGEDKV_DCHECK(end_ <= limit_);
    return {begin_, end_};
  }

 private:
  std::uint8_t* begin_;
  std::uint8_t* end_;
  const std::uint8_t* limit_;
};

// The opcodes are those of Python's Lib/pickletools.py.
class PickleWriter {
 public:
  PickleWriter(std::vector<std::uint8_t>& buffer, std::size_t room)
      : out_(buffer, room) {
    out_.PutByte(0x80);  // PROTO
    out_.PutByte(5);
    BeginFrame();
  }

  void BeginTuple(std::size_t size) {
    BeginObject();
    if (size == 0) out_.PutByte(')');  // EMPTY_TUPLE
    if (size > 3) out_.PutByte('(');   // MARK
  }
  void EndTuple(std::size_t size) {
    if (size == 0) return;
    // TUPLE1, TUPLE2, TUPLE3; TUPLE from the mark
    out_.PutByte(size <= 3 ? 0x84 + static_cast<unsigned>(size) : 't');
    Memoize();
  }

  void PutTokenTuple(std::span<const TokenId> tokens) {
    BeginTuple(tokens.size());
    ByteWriter out = out_;
    for (const TokenId token : tokens) {
      if (FrameIsFull(out)) {
        out_ = out;
        NextFrame();
        out = out_;
      }
      PutToken(token, out);
    }
    out_ = out;
    EndTuple(tokens.size());
  }
  void PutInteger(std::int64_t value) {
    BeginObject();
    const auto token = static_cast<TokenId>(value);
    if (value == token) return PutToken(token, out_);
    // The fewest bytes that leave room for the sign.
    unsigned size = 5;
    while (size < 8 && value >> (8 * size - 1) != value >> 63) ++size;
    out_.PutByte(0x8A);  // LONG1
    out_.PutByte(size);
    out_.PutLittleEndian<8>(static_cast<std::uint64_t>(value), size);
  }
  void PutText(std::string_view text) {
    // SHORT_BINUNICODE, BINUNICODE
    PutSized(0x8C, 'X', BytesOf(text));
  }
  void PutBytes(Bytes bytes) {
    PutSized('C', 'B', bytes);  // SHORT_BINBYTES, BINBYTES
  }
  void PutNone() {
    BeginObject();
    out_.PutByte('N');  // NONE
  }

  Bytes Finish() {
    out_.PutByte('.');  // STOP
    EndFrame();
    return out_.Written();
  }

 private:
  void PutSized(unsigned short_opcode, unsigned opcode, Bytes bytes) {
    BeginObject();
    if (bytes.size() <= 0xFF) {
      out_.PutByte(short_opcode);
      out_.PutByte(static_cast<unsigned>(bytes.size()));
    } else {
      out_.PutByte(opcode);
      out_.PutLittleEndian<4>(bytes.size());
    }
    out_.PutBytes(bytes);
    Memoize();
  }

  static void PutToken(TokenId value, ByteWriter& out) {
    // BININT1, BININT2, and BININT: the one that has a sign.
    constexpr std::array<std::uint8_t, 3> kOpcodes = {'K', 'M', 'J'};
    const auto bits = static_cast<std::uint32_t>(value);
    const unsigned kind = (bits > 0xFFu ? 1u : 0u) + (bits > 0xFFFFu ? 1u : 0u);
    out.PutLittleEndian<8>(std::uint64_t{bits} << 8 | kOpcodes[kind],
                           1 + (std::size_t{1} << kind));
  }

  void Memoize() { out_.PutByte(0x94); }

  void BeginObject() {
    if (FrameIsFull(out_)) NextFrame();
  }
  void NextFrame() {
    EndFrame();
    BeginFrame();
  }
  bool FrameIsFull(const ByteWriter& out) const {
    return static_cast<std::size_t>(out.position() - frame_) >= kFrameTarget;
  }
  void BeginFrame() {
    out_.PutByte(0x95);  // FRAME
    frame_size_ = out_;
    out_.PutLittleEndian<8>(0);
    frame_ = out_.position();
  }
  void EndFrame() {
    frame_size_.PutLittleEndian<8>(
        static_cast<std::uint64_t>(out_.position() - frame_));
  }

  ByteWriter out_;
  // Where the size of the frame belongs, which is known at its end.
  ByteWriter frame_size_ = out_;
  const std::uint8_t* frame_ = nullptr;
};

class CborWriter {
 public:
  CborWriter(std::vector<std::uint8_t>& buffer, std::size_t room)
      : out_(buffer, room) {}

  void BeginTuple(std::size_t size) { PutHead(kArray, size); }
  void EndTuple(std::size_t) {}
  void PutTokenTuple(std::span<const TokenId> tokens) {
    BeginTuple(tokens.size());
    ByteWriter out = out_;
    for (const TokenId token : tokens) PutToken(token, out);
    out_ = out;
  }
  void PutInteger(std::int64_t value) {
    // Of a negative number, -1 - n: its complement.
    const auto bits = static_cast<std::uint64_t>(value);
    value < 0 ? PutHead(kNegative, ~bits) : PutHead(kUnsigned, bits);
  }
  void PutText(std::string_view text) {
    PutHead(kText, text.size());
    out_.PutBytes(BytesOf(text));
  }
  void PutBytes(Bytes bytes) {
    PutHead(kByteString, bytes.size());
    out_.PutBytes(bytes);
  }
  void PutNone() { out_.PutByte(0xF6); }  // null
  Bytes Finish() { return out_.Written(); }

 private:
  enum MajorType : unsigned {
    kUnsigned = 0u << 5,
    kNegative = 1u << 5,
    kByteString = 2u << 5,
    kText = 3u << 5,
    kArray = 4u << 5,
  };

  // As `PutInteger`, without branches.
  static void PutToken(TokenId value, ByteWriter& out) {
    const std::uint32_t sign = value < 0 ? ~0u : 0u;
    const std::uint32_t argument = static_cast<std::uint32_t>(value) ^ sign;
    const unsigned kind = (argument > 23u ? 1u : 0u) +
                          (argument > 0xFFu ? 1u : 0u) +
                          (argument > 0xFFFFu ? 1u : 0u);
    // The argument is in the head itself, or follows in 1, 2 or 4 bytes.
    const unsigned size = (1u << kind) >> 1;
    const std::uint32_t head =
        (sign & kNegative) | (kind == 0 ? argument : 23u + kind);
    const auto behind =
        static_cast<std::uint32_t>(std::uint64_t{argument} << (32 - 8 * size));
    out.PutBigEndian<8>((std::uint64_t{head} << 32 | behind) << 24, 1 + size);
  }

  void PutHead(MajorType type, std::uint64_t argument) {
    if (argument < 24) {
      out_.PutByte(type | static_cast<unsigned>(argument));
    } else if (argument <= 0xFF) {
      out_.PutByte(type | 24u);
      out_.PutBigEndian<1>(argument);
    } else if (argument <= 0xFFFF) {
      out_.PutByte(type | 25u);
      out_.PutBigEndian<2>(argument);
    } else if (argument <= 0xFFFFFFFF) {
      out_.PutByte(type | 26u);
      out_.PutBigEndian<4>(argument);
    } else {
      out_.PutByte(type | 27u);
      out_.PutBigEndian<8>(argument);
    }
  }

  ByteWriter out_;
};

// The tokens as they lie in memory.
class RawTokenCborWriter : public CborWriter {
 public:
  using CborWriter::CborWriter;
  void PutTokenTuple(std::span<const TokenId> tokens) {
    PutBytes({reinterpret_cast<const std::uint8_t*>(tokens.data()),
              tokens.size_bytes()});
  }
};

template <typename Writer>
void PutKey(Writer& writer, const ExtraKey& key) {
  if (const auto* text = std::get_if<std::string>(&key)) {
    writer.PutText(*text);
  } else if (const auto* item = std::get_if<ItemAtOffset>(&key)) {
    writer.BeginTuple(2);
    writer.PutText(item->first);
    writer.PutInteger(item->second);
    writer.EndTuple(2);
  } else {
    writer.PutBytes(std::get<Sha256Digest>(key));
  }
}

template <typename Writer>
Bytes Write(const BlockContent& content, std::vector<std::uint8_t>& buffer) {
  Writer writer(buffer, Room(content));
  writer.BeginTuple(3);
  writer.PutBytes(content.parent);
  writer.PutTokenTuple(content.tokens);
  if (content.extra.empty()) {
    writer.PutNone();
  } else {
    writer.BeginTuple(content.extra.size());
    for (const ExtraKey& key : content.extra) PutKey(writer, key);
    writer.EndTuple(content.extra.size());
  }
  writer.EndTuple(3);
  return writer.Finish();
}

template <typename Writer>
Bytes Write(std::string_view seed, std::vector<std::uint8_t>& buffer) {
  Writer writer(buffer, Room(seed.size(), 2, 0));
  writer.PutText(seed);
  return writer.Finish();
}

}  // namespace

Bytes WritePickle(const BlockContent& content,
                  std::vector<std::uint8_t>& buffer) {
  return Write<PickleWriter>(content, buffer);
}

Bytes WritePickle(std::string_view seed, std::vector<std::uint8_t>& buffer) {
  return Write<PickleWriter>(seed, buffer);
}

Bytes WriteCbor(const BlockContent& content,
                std::vector<std::uint8_t>& buffer) {
  return Write<CborWriter>(content, buffer);
}

Bytes WriteCbor(std::string_view seed, std::vector<std::uint8_t>& buffer) {
  return Write<CborWriter>(seed, buffer);
}

Bytes WriteCborOfRawTokens(const BlockContent& content,
                           std::vector<std::uint8_t>& buffer) {
  return Write<RawTokenCborWriter>(content, buffer);
}

}  // namespace pagedkv::internal
