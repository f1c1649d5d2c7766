// SPDX-License-Identifier: Apache-2.0
#include "block_table/msgpack.h"

#include <bit>
#include <utility>

#include "absl/strings/str_format.h"

namespace pagedkv::internal {
namespace {

using Type = MsgpackReader::Type;

enum Code : std::uint8_t {
  kNil = 0xc0,
  kBin8 = 0xc4,
  kFloat32 = 0xca,
  kFloat64 = 0xcb,
  kUint8 = 0xcc,
  kInt8 = 0xd0,
  kFixExt1 = 0xd4,
  kStr8 = 0xd9,
  kArray16 = 0xdc,
  kMap16 = 0xde,
  kFixMap = 0x80,
  kFixArray = 0x90,
  kFixStr = 0xa0,
  kNegativeFixInt = 0xe0,
};

// The type of a value, and how many bytes of number follow its first byte.
struct Shape {
  Type type;
  std::uint8_t num_bytes;
};

// [first byte - 0xc0]
constexpr Shape kShapes[] = {
    {Type::kNil, 0},       {Type::kNone, 0},      {Type::kBool, 0},
    {Type::kBool, 0},      {Type::kBinary, 1},    {Type::kBinary, 2},
    {Type::kBinary, 4},    {Type::kExtension, 1}, {Type::kExtension, 2},
    {Type::kExtension, 4}, {Type::kFloat, 4},     {Type::kFloat, 8},
    {Type::kInt, 1},       {Type::kInt, 2},       {Type::kInt, 4},
    {Type::kInt, 8},       {Type::kInt, 1},       {Type::kInt, 2},
    {Type::kInt, 4},       {Type::kInt, 8},       {Type::kExtension, 0},
    {Type::kExtension, 0}, {Type::kExtension, 0}, {Type::kExtension, 0},
    {Type::kExtension, 0}, {Type::kString, 1},    {Type::kString, 2},
    {Type::kString, 4},    {Type::kArray, 2},     {Type::kArray, 4},
    {Type::kMap, 2},       {Type::kMap, 4},
};

Shape ShapeOf(std::uint8_t code) {
  if (code < kFixMap || code >= kNegativeFixInt) return {Type::kInt, 0};
  if (code < kFixArray) return {Type::kMap, 0};
  if (code < kFixStr) return {Type::kArray, 0};
  if (code < kNil) return {Type::kString, 0};
  return kShapes[code - kNil];
}

}  // namespace

void MsgpackWriter::BigEndian(std::uint64_t value, int num_bytes) {
  for (int shift = (num_bytes - 1) * 8; shift >= 0; shift -= 8) {
    out_.push_back(static_cast<std::uint8_t>(value >> shift));
  }
}

void MsgpackWriter::Header(std::uint8_t code, std::uint64_t value,
                           int num_bytes) {
  out_.push_back(code);
  BigEndian(value, num_bytes);
}

void MsgpackWriter::Nil() { out_.push_back(kNil); }

void MsgpackWriter::Uint(std::uint64_t value) {
  if (value < kFixMap) return out_.push_back(static_cast<std::uint8_t>(value));
  if (value <= 0xff) return Header(kUint8, value, 1);
  if (value <= 0xffff) return Header(kUint8 + 1, value, 2);
  if (value <= 0xffffffff) return Header(kUint8 + 2, value, 4);
  Header(kUint8 + 3, value, 8);
}

void MsgpackWriter::Int(std::int64_t value) {
  const auto bits = static_cast<std::uint64_t>(value);
  if (value >= 0) return Uint(bits);
  if (value >= -32) return out_.push_back(static_cast<std::uint8_t>(bits));
  if (std::in_range<std::int8_t>(value)) return Header(kInt8, bits, 1);
  if (std::in_range<std::int16_t>(value)) return Header(kInt8 + 1, bits, 2);
  if (std::in_range<std::int32_t>(value)) return Header(kInt8 + 2, bits, 4);
  Header(kInt8 + 3, bits, 8);
}

void MsgpackWriter::Double(double value) {
  Header(kFloat64, std::bit_cast<std::uint64_t>(value), 8);
}

void MsgpackWriter::String(std::string_view value) {
  const std::uint64_t size = value.size();
  if (size < 32) {
    Header(static_cast<std::uint8_t>(kFixStr + size), 0, 0);
  } else if (size <= 0xff) {
    Header(kStr8, size, 1);
  } else if (size <= 0xffff) {
    Header(kStr8 + 1, size, 2);
  } else {
    Header(kStr8 + 2, size, 4);
  }
  out_.insert(out_.end(), value.begin(), value.end());
}

void MsgpackWriter::Binary(std::span<const std::uint8_t> value) {
  const std::uint64_t size = value.size();
  if (size <= 0xff) {
    Header(kBin8, size, 1);
  } else if (size <= 0xffff) {
    Header(kBin8 + 1, size, 2);
  } else {
    Header(kBin8 + 2, size, 4);
  }
  out_.insert(out_.end(), value.begin(), value.end());
}

void MsgpackWriter::Array(std::size_t size) {
  if (size < 16) {
    Header(static_cast<std::uint8_t>(kFixArray + size), 0, 0);
  } else if (size <= 0xffff) {
    Header(kArray16, size, 2);
  } else {
    Header(kArray16 + 1, size, 4);
  }
}

void MsgpackWriter::Map(std::size_t size) {
  if (size < 16) {
    Header(static_cast<std::uint8_t>(kFixMap + size), 0, 0);
  } else if (size <= 0xffff) {
    Header(kMap16, size, 2);
  } else {
    Header(kMap16 + 1, size, 4);
  }
}

MsgpackReader::Type MsgpackReader::Peek() const {
  return remaining() == 0 ? Type::kNone : ShapeOf(bytes_[offset_]).type;
}

bool MsgpackReader::Fail(std::size_t offset, std::string_view what) {
  if (status_.ok()) {
    status_ = absl::InvalidArgumentError(
        absl::StrFormat("byte %d: %s", offset, what));
  }
  return false;
}

bool MsgpackReader::ReadHead(Head* head) {
  if (!status_.ok()) return false;
  if (remaining() == 0) return Fail(offset_, "the input ends here, too early");
  const std::size_t start = offset_;
  head->code = bytes_[start];
  const Shape shape = ShapeOf(head->code);
  head->type = shape.type;
  if (shape.type == Type::kNone) return Fail(start, "0xc1 is not msgpack");
  if (remaining() < std::size_t{1} + shape.num_bytes) {
    return Fail(start, "the input ends within this value");
  }
  ++offset_;
  if (shape.num_bytes == 0) {
    // The number is within the first byte: all of it, or its low bits.
    switch (shape.type) {
      case Type::kInt:
        head->number = static_cast<std::uint64_t>(
            static_cast<std::int64_t>(static_cast<std::int8_t>(head->code)));
        break;
      case Type::kString:
        head->number = head->code & 0x1f;
        break;
      case Type::kExtension:
        head->number = std::uint64_t{1} << (head->code - kFixExt1);
        break;
      default:
        head->number = head->code & 0x0f;
    }
    return true;
  }
  head->number = 0;
  for (int i = 0; i < shape.num_bytes; ++i) {
    head->number = head->number << 8 | bytes_[offset_++];
  }
  if (head->code >= kInt8 && head->code < kFixExt1) {
    // Extends the sign.
    const int shift = 64 - 8 * shape.num_bytes;
    head->number = static_cast<std::uint64_t>(
        static_cast<std::int64_t>(head->number << shift) >> shift);
  }
  return true;
}

bool MsgpackReader::Expect(Type type, std::string_view name, Head* head) {
  const std::size_t start = offset_;
  if (!ReadHead(head)) return false;
  return head->type == type ||
         Fail(start, absl::StrFormat("there is no %s here", name));
}

bool MsgpackReader::TakeBytes(std::uint64_t size,
                              std::span<const std::uint8_t>* value) {
  if (size > remaining()) {
    return Fail(offset_, absl::StrFormat("%d bytes are to follow, and there "
                                         "are %d",
                                         size, remaining()));
  }
  *value = bytes_.subspan(offset_, size);
  offset_ += size;
  return true;
}

bool MsgpackReader::TryNil() {
  if (!status_.ok() || Peek() != Type::kNil) return false;
  ++offset_;
  return true;
}

bool MsgpackReader::ReadInt(MsgpackInt* value) {
  Head head;
  if (!Expect(Type::kInt, "integer", &head)) return false;
  // Unsigned are the positive fixint and uint8 to uint64.
  const bool is_signed = head.code >= kInt8;
  *value = {is_signed && static_cast<std::int64_t>(head.number) < 0,
            head.number};
  return true;
}

bool MsgpackReader::ReadInt(std::int64_t low, std::int64_t high,
                            std::int64_t* value) {
  const std::size_t start = offset_;
  MsgpackInt number;
  if (!ReadInt(&number)) return false;
  *value = static_cast<std::int64_t>(number.bits);
  if ((*value < 0) == number.negative && *value >= low && *value <= high) {
    return true;
  }
  return Fail(start,
              absl::StrFormat("an integer is not from %d to %d", low, high));
}

bool MsgpackReader::ReadNumber(double* value) {
  if (Peek() == Type::kInt) {
    MsgpackInt number;
    if (!ReadInt(&number)) return false;
    *value = number.negative
                 ? static_cast<double>(static_cast<std::int64_t>(number.bits))
                 : static_cast<double>(number.bits);
    return true;
  }
  Head head;
  if (!Expect(Type::kFloat, "number", &head)) return false;
  *value = head.code == kFloat64
               ? std::bit_cast<double>(head.number)
               : static_cast<double>(std::bit_cast<float>(
                     static_cast<std::uint32_t>(head.number)));
  return true;
}

bool MsgpackReader::ReadString(std::string_view* value) {
  Head head;
  std::span<const std::uint8_t> bytes;
  if (!Expect(Type::kString, "string", &head) ||
      !TakeBytes(head.number, &bytes)) {
    return false;
  }
  *value = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  return true;
}

bool MsgpackReader::ReadBinary(std::span<const std::uint8_t>* value) {
  Head head;
  return Expect(Type::kBinary, "binary", &head) &&
         TakeBytes(head.number, value);
}

bool MsgpackReader::ReadArray(std::size_t* size) {
  const std::size_t start = offset_;
  Head head;
  if (!Expect(Type::kArray, "array", &head)) return false;
  *size = head.number;
  return *size <= remaining() ||
         Fail(start, "the array has more elements than bytes are left");
}

bool MsgpackReader::ReadMap(std::size_t* size) {
  const std::size_t start = offset_;
  Head head;
  if (!Expect(Type::kMap, "map", &head)) return false;
  *size = head.number;
  return *size <= remaining() / 2 ||
         Fail(start, "the map has more entries than bytes are left");
}

bool MsgpackReader::Skip() {
  // Values that are still to be skipped. Each has at least one byte, and each
  // turn of the loop consumes one; 2^32 of them for each byte do not overflow.
  for (std::uint64_t left = 1; left > 0; --left) {
    const std::size_t start = offset_;
    Head head;
    std::span<const std::uint8_t> bytes;
    if (!ReadHead(&head)) return false;
    std::uint64_t inside = 0;
    switch (head.type) {
      case Type::kArray:
        inside = head.number;
        break;
      case Type::kMap:
        inside = 2 * head.number;
        break;
      case Type::kString:
      case Type::kBinary:
        if (!TakeBytes(head.number, &bytes)) return false;
        break;
      case Type::kExtension:
        if (!TakeBytes(head.number + 1, &bytes)) return false;
        break;
      default:
        break;
    }
    if (inside > remaining()) {
      return Fail(start, "it has more elements than bytes are left");
    }
    left += inside;
  }
  return true;
}

}  // namespace pagedkv::internal
