// SPDX-License-Identifier: Apache-2.0
#include "allocator/kernels/kernel_arguments.h"

#include <bit>
#include <cstddef>
#include <limits>
#include <string>

#include "absl/strings/str_format.h"

namespace pagedkv {
namespace {

// Kernels read bytes of memory as the codec of elements counts them.
static_assert(std::endian::native == std::endian::little);

bool IsScaleWidth(std::int32_t bits) { return bits == 16 || bits == 32; }

// Null if nothing is wrong.
const char* ProblemOf(const KvTensorView& view) {
  const KvFormat& format = view.tensor.format;
  if (view.base == nullptr) return "has no address";
  if (view.tensor.heads < 0) return "has a negative number of heads";
  if (view.tensor.head_size < 1) return "has a head size below 1";
  if (view.block_size < 1) return "has a block size below 1";
  if (std::int64_t{view.tensor.head_size} * KvDtypeBits(format.dtype) % 8 !=
      0) {
    return "has vectors that do not fill whole bytes";
  }
  if (format.scheme == ScaleScheme::kTensor) {
    // Its inverse is to be a number as well.
    if (KvDtypeBits(format.dtype) <= 8 &&
        !(view.scale >= std::numeric_limits<float>::min() &&
          view.scale <= std::numeric_limits<float>::max())) {
      return "has a scale that is no positive number";
    }
    return nullptr;
  }
  if (KvDtypeBits(format.dtype) > 8) {
    return "has scales, which only fp8, int8, int4 and int2 can have";
  }
  if (!IsScaleWidth(format.scale_bits)) return "needs scales of 16 or 32 bits";
  if (format.zero_point_bits != 0) {
    if (!IsScaleWidth(format.zero_point_bits)) {
      return "needs zero points of 16 or 32 bits";
    }
    if (!IsInteger(format.dtype)) {
      return "has zero points, which only integers can have";
    }
  }
  if (format.scheme == ScaleScheme::kGroup && format.group < 1) {
    return "has groups of less than 1 element";
  }
  if (format.scheme == ScaleScheme::kChannel &&
      (view.channel_run < 1 || view.block_size % view.channel_run != 0)) {
    return "has runs of tokens that do not divide the block size";
  }
  return nullptr;
}

absl::Status CheckRows(const std::byte* data, KvDtype dtype,
                       std::string_view name) {
  const char* problem = data == nullptr           ? "have no address"
                        : KvDtypeBits(dtype) < 16 ? "must be fp32, fp16 or bf16"
                                                  : nullptr;
  if (problem == nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("%s %s", name, problem));
}

}  // namespace

absl::Status CheckView(const KvTensorView& view, std::string_view name) {
  if (view.tensor.heads == 0) return absl::OkStatus();
  if (const char* problem = ProblemOf(view); problem != nullptr) {
    return absl::InvalidArgumentError(absl::StrFormat("%s %s", name, problem));
  }
  return absl::OkStatus();
}

absl::Status CheckRows(const ConstKvRows& rows, std::string_view name) {
  return CheckRows(rows.data, rows.dtype, name);
}

absl::Status CheckRows(const KvRows& rows, std::string_view name) {
  return CheckRows(rows.data, rows.dtype, name);
}

absl::Status CheckChannelSlots(const KvTensorView& view,
                               std::span<const std::int64_t> slots) {
  const auto run = static_cast<std::size_t>(view.channel_run);
  for (std::size_t i = 0; i < slots.size();) {
    if (slots[i] < 0) {
      ++i;
      continue;
    }
    bool whole = slots[i] % view.channel_run == 0 && slots.size() - i >= run;
    for (std::size_t t = 0; whole && t < run; ++t) {
      whole = slots[i + t] == slots[i] + static_cast<std::int64_t>(t);
    }
    if (!whole) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "slots, from entry %d on: %d slots that follow one another from a "
          "multiple of %d are needed, as channels share a scale over them",
          i, run, run));
    }
    i += run;
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
