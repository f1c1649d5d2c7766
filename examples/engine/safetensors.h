// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_SAFETENSORS_H_
#define EXAMPLES_ENGINE_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
namespace pagedkv::engine {

/// One tensor of a file: what it says it is, and its bytes, which are as many
/// as that takes.
struct SafetensorsTensor {
  std::string dtype;  ///< "F32", "F16", "BF16", ...
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

using SafetensorsTensors =
    std::map<std::string, SafetensorsTensor, std::less<>>;

/// The tensors in `file`, whose name `source` begins each error, which is one
/// line. Whatever the bytes, nothing outside of them is read.
/// https://huggingface.co/docs/safetensors: 8 bytes with the header's length,
/// the header, a JSON object by tensor, and the values.
absl::StatusOr<SafetensorsTensors> ParseSafetensors(
    std::span<const std::byte> file, std::string_view source);

/// Values in fp32, of tensors in F32, F16 or BF16, in the host's byte order.
/// InvalidArgument for any other dtype.
absl::StatusOr<std::vector<float>> ToFloats(const SafetensorsTensor& tensor);

/// A tensor to write.
struct FloatTensor {
  std::vector<std::int64_t> shape;
  std::span<const float> values;
};
/// Writes a file with these tensors. An error names it.
absl::Status WriteSafetensors(
    const std::string& path, const std::map<std::string, FloatTensor>& tensors);

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_SAFETENSORS_H_
