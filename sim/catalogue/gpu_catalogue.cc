// SPDX-License-Identifier: Apache-2.0
#include "sim/catalogue/gpu_catalogue.h"

#include <limits>

#include "sim/catalogue/catalogue.h"
#include "sim/catalogue/embedded_files.h"

namespace pagedkv::sim {

absl::StatusOr<std::vector<GpuSpec>> ParseGpuCatalogue(
    std::string_view text, std::string_view source) {
  return ParseCatalogue<GpuSpec>(
      text, source, "gpus",
      [](JsonObjectReader& row, const std::string&) -> absl::StatusOr<GpuSpec> {
        constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
        GpuSpec gpu;
        gpu.name = row.Text({"name"});
        gpu.source = row.Text({"source"});
        gpu.memory = Bytes(row.Integer({"memory_bytes"}, kMax));
        gpu.bandwidth_bytes_per_s =
            row.Integer({"bandwidth_bytes_per_s"}, kMax);
        gpu.bf16_flops_per_s = row.Integer({"bf16_flops_per_s"}, kMax);
        gpu.link_bytes_per_s = row.Integer({"link_bytes_per_s"}, kMax);
        if (!row.status().ok()) return row.status();
        return gpu;
      });
}

absl::StatusOr<std::vector<GpuSpec>> KnownGpus() {
  return ParseGpuCatalogue(kGpusJson, "gpus.json");
}

absl::StatusOr<GpuSpec> FindGpu(std::string_view name) {
  return FindByName(KnownGpus(), "GPU", name);
}

}  // namespace pagedkv::sim
