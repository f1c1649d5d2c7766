// SPDX-License-Identifier: Apache-2.0
//
// Bytes that claim to be weights: an error is one line that names the file, and
// a tensor lies within the bytes and is as long as it says.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "examples/engine/safetensors.h"

#include "base/check.h"
#include "tests/fuzz/fuzz_target.h"

namespace pagedkv {

std::vector<std::vector<std::uint8_t>> FuzzSeeds() {
  std::vector<std::vector<std::uint8_t>> seeds;
  for (const std::string header :
       {R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})",
        R"({"__metadata__":{"x":"y"},)"
        R"("b":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]},)"
        R"("c":{"dtype":"BF16","shape":[],"data_offsets":[6,8]}})"}) {
    std::vector<std::uint8_t> seed(sizeof(std::uint64_t));
    const std::uint64_t length = header.size();
    std::memcpy(seed.data(), &length, sizeof(length));
    seed.insert(seed.end(), header.begin(), header.end());
    seed.resize(seed.size() + 8);
    seeds.push_back(seed);
  }
  return seeds;
}

}  // namespace pagedkv

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto tensors = pagedkv::engine::ParseSafetensors(bytes, "f");
  if (!tensors.ok()) {
    const std::string message(tensors.status().message());
    PAGEDKV_CHECK(message.starts_with("f: "));
    PAGEDKV_CHECK(message.find('\n') == std::string::npos);
    return 0;
  }
  for (const auto& [name, tensor] : *tensors) {
    PAGEDKV_CHECK(tensor.bytes.data() >= bytes.data());
    PAGEDKV_CHECK(tensor.bytes.data() + tensor.bytes.size() <=
                  bytes.data() + bytes.size());
    std::size_t count = 1;
    for (const std::int64_t length : tensor.shape) {
      count *= static_cast<std::size_t>(length);
    }
    const auto floats = pagedkv::engine::ToFloats(tensor);
    PAGEDKV_CHECK(!floats.ok() || floats->size() == count);
  }
  return 0;
}
