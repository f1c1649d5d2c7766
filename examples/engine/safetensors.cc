// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/safetensors.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace pagedkv::engine {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little,
              "safetensors files are little-endian, and are used in place");

constexpr std::size_t kLengthBytes = 8;
// The format's own limit.
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

// 0 for a dtype that is not known.
std::uint64_t DtypeBytes(std::string_view dtype) {
  if (dtype == "F64" || dtype == "I64" || dtype == "U64") return 8;
  if (dtype == "F32" || dtype == "I32" || dtype == "U32") return 4;
  if (dtype == "F16" || dtype == "BF16" || dtype == "I16" || dtype == "U16") {
    return 2;
  }
  if (dtype == "I8" || dtype == "U8" || dtype == "BOOL" || dtype == "F8_E4M3" ||
      dtype == "F8_E5M2") {
    return 1;
  }
  return 0;
}

std::optional<std::uint64_t> Unsigned(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

const json* Find(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

// What is wrong with the entry; empty if nothing is.
std::string ParseTensor(const json& entry, std::span<const std::byte> values,
                        SafetensorsTensor& tensor) {
  if (!entry.is_object()) return "is no JSON object";
  const json* dtype = Find(entry, "dtype");
  const json* shape = Find(entry, "shape");
  const json* offsets = Find(entry, "data_offsets");
  if (dtype == nullptr || !dtype->is_string()) return "has no dtype";
  tensor.dtype = dtype->get<std::string>();
  std::uint64_t size = DtypeBytes(tensor.dtype);
  if (size == 0) return absl::StrFormat("has the dtype %s", dtype->dump());
  if (shape == nullptr || !shape->is_array()) return "has no shape";
  for (const json& dimension : *shape) {
    const std::optional<std::uint64_t> length = Unsigned(dimension);
    if (!length || __builtin_mul_overflow(size, *length, &size) ||
        *length > INT64_MAX) {
      return "has a shape that is no list of lengths, or too large";
    }
    tensor.shape.push_back(static_cast<std::int64_t>(*length));
  }
  if (offsets == nullptr || !offsets->is_array() || offsets->size() != 2) {
    return "has no pair of data_offsets";
  }
  const std::optional<std::uint64_t> begin = Unsigned((*offsets)[0]);
  const std::optional<std::uint64_t> end = Unsigned((*offsets)[1]);
  if (!begin || !end) return "has data_offsets that are no whole numbers";
  if (*begin > *end || *end > values.size()) {
    return absl::StrFormat(
        "has the data_offsets %d and %d, and the values have %d bytes", *begin,
        *end, values.size());
  }
  if (*end - *begin != size) {
    return absl::StrFormat("takes %d bytes, and its data_offsets hold %d", size,
                           *end - *begin);
  }
  tensor.bytes = values.subspan(*begin, *end - *begin);
  return "";
}

float FromHalf(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t{half & 0x8000U} << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1FU;
  const std::uint32_t fraction = half & 0x3FFU;
  if (exponent == 0) {  // zero, or below the normal range
    const float value = static_cast<float>(fraction) * 0x1p-24F;
    return sign == 0 ? value : -value;
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + (127 - 15);
  return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
}

float FromBf16(std::uint16_t half) {
  return std::bit_cast<float>(std::uint32_t{half} << 16);
}

}  // namespace

absl::StatusOr<SafetensorsTensors> ParseSafetensors(
    std::span<const std::byte> file, std::string_view source) {
  const auto error = [&](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: %s", source, what));
  };
  std::uint64_t length = 0;
  if (file.size() < kLengthBytes) {
    return error("is too short to be a safetensors file");
  }
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeaderBytes || length > file.size() - kLengthBytes) {
    return error(absl::StrFormat(
        "its header is said to have %d bytes, and the file has %d", length,
        file.size()));
  }
  const char* text = reinterpret_cast<const char*>(file.data()) + kLengthBytes;
  const json header = json::parse(text, text + length, nullptr,
                                  /*allow_exceptions=*/false);
  if (!header.is_object()) return error("its header is no JSON object");
  SafetensorsTensors tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    SafetensorsTensor tensor;
    const std::string wrong =
        ParseTensor(entry, file.subspan(kLengthBytes + length), tensor);
    if (!wrong.empty()) {
      return error(absl::StrFormat("tensor %s %s", json(name).dump(), wrong));
    }
    tensors.emplace(name, std::move(tensor));
  }
  return tensors;
}

absl::StatusOr<std::vector<float>> ToFloats(const SafetensorsTensor& tensor) {
  if (tensor.dtype == "F32") {
    std::vector<float> floats(tensor.bytes.size() / sizeof(float));
    if (!floats.empty()) {
      std::memcpy(floats.data(), tensor.bytes.data(), tensor.bytes.size());
    }
    return floats;
  }
  if (tensor.dtype != "F16" && tensor.dtype != "BF16") {
    return absl::InvalidArgumentError(absl::StrFormat(
        "has the dtype %s: expected F32, F16 or BF16", tensor.dtype));
  }
  const bool is_half = tensor.dtype == "F16";
  std::vector<float> floats(tensor.bytes.size() / sizeof(std::uint16_t));
  for (std::size_t i = 0; i < floats.size(); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, tensor.bytes.data() + i * sizeof(bits), sizeof(bits));
    floats[i] = is_half ? FromHalf(bits) : FromBf16(bits);
  }
  return floats;
}

absl::Status WriteSafetensors(
    const std::string& path,
    const std::map<std::string, FloatTensor>& tensors) {
  json header = json::object();
  std::size_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    header[name] = {
        {"dtype", "F32"},
        {"shape", tensor.shape},
        {"data_offsets", {offset, offset + tensor.values.size_bytes()}}};
    offset += tensor.values.size_bytes();
  }
  std::string text = header.dump();
  text.append(kLengthBytes - text.size() % kLengthBytes, ' ');  // aligns values
  std::ofstream out(path, std::ios::binary);
  const std::uint64_t length = text.size();
  out.write(reinterpret_cast<const char*>(&length), kLengthBytes);
  out << text;
  for (const auto& [name, tensor] : tensors) {
    out.write(reinterpret_cast<const char*>(tensor.values.data()),
              static_cast<std::streamsize>(tensor.values.size_bytes()));
  }
  out.close();
  if (!out) {
    return absl::UnavailableError(absl::StrCat(path, ": cannot be written"));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv::engine
