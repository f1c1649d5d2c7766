// SPDX-License-Identifier: Apache-2.0
#include "sim/catalogue/gpu_catalogue.h"

#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;

TEST(GpuCatalogueTest, HasTheFiguresOfTheDataSheets) {
  // Memory as marketed: the driver's figure lies within 10 % of it.
  const struct {
    const char* name;
    double memory_gb;
    double bandwidth_gb_per_s;
    double bf16_tflops;
    int pcie_generation;
  } sheets[] = {
      {"a100-40gb", 40, 1555, 312, 4},  {"a100-80gb", 80, 2039, 312, 4},
      {"h100", 80, 3350, 989.5, 5},     {"h200", 141, 4800, 989.5, 5},
      {"mi300x", 192, 5300, 1307.4, 5}, {"l40s", 48, 864, 362.05, 4},
      {"rtx-4090", 24, 1008, 165.2, 4},
  };
  for (const auto& sheet : sheets) {
    const auto gpu = FindGpu(sheet.name);
    ASSERT_TRUE(gpu.ok()) << gpu.status();
    const double gb = static_cast<double>(gpu->memory.value()) / 1e9;
    EXPECT_GE(gb, sheet.memory_gb) << sheet.name;
    EXPECT_LE(gb, sheet.memory_gb * 1.1) << sheet.name;
    EXPECT_DOUBLE_EQ(static_cast<double>(gpu->bandwidth_bytes_per_s) / 1e9,
                     sheet.bandwidth_gb_per_s);
    EXPECT_DOUBLE_EQ(static_cast<double>(gpu->bf16_flops_per_s) / 1e12,
                     sheet.bf16_tflops);
    // 16 lanes; each generation doubles the 16 GT/s of the fourth.
    const double lane_gt_per_s = sheet.pcie_generation == 4 ? 16 : 32;
    EXPECT_NEAR(static_cast<double>(gpu->link_bytes_per_s) / 1e9,
                16 * lane_gt_per_s * 128 / 130 / 8, 0.001)
        << sheet.name;
  }
}

TEST(GpuCatalogueTest, EachRowHasItsOwnNameAndASource) {
  const auto gpus = KnownGpus();
  ASSERT_TRUE(gpus.ok()) << gpus.status();
  std::set<std::string> names;
  for (const GpuSpec& gpu : *gpus) {
    EXPECT_TRUE(names.insert(gpu.name).second) << gpu.name;
    EXPECT_FALSE(gpu.source.empty()) << gpu.name;
    EXPECT_EQ(FindGpu(gpu.name)->memory, gpu.memory);
  }
}

TEST(GpuCatalogueTest, AnUnknownNameGetsTheKnownOnes) {
  EXPECT_EQ(std::string(FindGpu("h1000").status().message()),
            "unknown GPU 'h1000': use one of a100-40gb, a100-80gb, h100, "
            "h200, l40s, mi300x, rtx-4090");
  EXPECT_TRUE(FindGpu("RTX-4090").ok());
}

TEST(GpuCatalogueTest, AMistakeInTheDataNamesItsRow) {
  EXPECT_THAT(
      std::string(ParseGpuCatalogue("[]", "gpus.json").status().message()),
      HasSubstr("gpus.json: an array 'gpus' is needed"));
  EXPECT_THAT(
      std::string(ParseGpuCatalogue(R"({"gpus": [{"name": "x"}]})", "gpus.json")
                      .status()
                      .message()),
      HasSubstr("gpus.json: gpus[0]: 'source' is missing"));
}

}  // namespace
}  // namespace pagedkv::sim
