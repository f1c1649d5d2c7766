// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CATALOGUE_GPU_CATALOGUE_H_
#define SIM_CATALOGUE_GPU_CATALOGUE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/types.h"

namespace pagedkv::sim {

/// One kind of GPU.
struct GpuSpec {
  std::string name;
  std::string source;  ///< where the figures come from
  Bytes memory{0};     ///< as its driver reports it
  std::int64_t bandwidth_bytes_per_s = 0;
  std::int64_t bf16_flops_per_s = 0;  ///< dense tensor cores
  /// To the host, in one direction: of PCIe, 16 lanes at 16 or 32 GT/s, 128
  /// payload bits in 130.
  std::int64_t link_bytes_per_s = 0;
};

/// The GPUs of gpus.json, which is part of the binary, in its order.
absl::StatusOr<std::vector<GpuSpec>> KnownGpus();

/// One of them, by name in any case. NotFound lists the known names.
absl::StatusOr<GpuSpec> FindGpu(std::string_view name);

/// Reads the text of a catalogue; `source` names it in errors.
absl::StatusOr<std::vector<GpuSpec>> ParseGpuCatalogue(std::string_view text,
                                                       std::string_view source);

}  // namespace pagedkv::sim

#endif  // SIM_CATALOGUE_GPU_CATALOGUE_H_
