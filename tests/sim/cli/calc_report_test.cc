// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/calc_report.h"

#include <algorithm>
#include <cstddef>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace pagedkv::sim {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

CalcOptions Llama70b() {
  CalcOptions options;
  options.model = "llama-2-70b";
  options.seq_len = 4096;
  options.batch = 32;
  return options;
}

std::string Render(const CalcOptions& options, CalcFormat format) {
  const absl::StatusOr<CalcResult> result = Calculate(options);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? RenderCalc(*result, format) : "";
}

TEST(CalcReportTest, JsonHasExactBytesAndBothUnits) {
  const auto json =
      nlohmann::json::parse(Render(Llama70b(), CalcFormat::kJson));
  EXPECT_EQ(json["schema"], "pagedkv.calc/1");
  EXPECT_EQ(json["kv_bytes_per_token"], 327'680);
  EXPECT_EQ(json["kv_bytes_per_block"], 5'242'880);
  EXPECT_EQ(json["sequence_bytes"], 1'342'177'280);
  EXPECT_EQ(json["sequence_gib"], 1.25);
  EXPECT_EQ(json["total_bytes"], 42'949'672'960);
  EXPECT_EQ(json["total_gb"], 42.949673);
  EXPECT_EQ(json["total_gib"], 40.0);
  EXPECT_EQ(json["model"]["name"], "llama-2-70b");
  EXPECT_EQ(json["model"]["attention"], "gqa");
  EXPECT_EQ(json["attentions"][0]["attention"], "mha");
  EXPECT_EQ(json["attentions"][0]["ratio"], 8.0);
  EXPECT_EQ(json["attentions"][0]["total_bytes"], 343'597'383'680);
  EXPECT_EQ(json["dtypes"].size(), kKvDtypes.size());
  EXPECT_EQ(json["fits"].size(), 7u);
  EXPECT_EQ(json["factors"][0]["formula"],
            "2 (K, V) x 80 layers x 8 KV heads x 128 x 2 B (fp16)");
  EXPECT_EQ(json["work"]["projections_without_cache"], 8'390'656);
  EXPECT_EQ(json["work"]["projections_with_cache"], 4'096);
}

TEST(CalcReportTest, SameInputsGiveTheSameBytes) {
  for (const CalcFormat format : {CalcFormat::kTable, CalcFormat::kJson,
                                  CalcFormat::kCsv, CalcFormat::kMarkdown}) {
    const std::string text = Render(Llama70b(), format);
    EXPECT_EQ(text, Render(Llama70b(), format));
    EXPECT_THAT(text, EndsWith("\n"));
  }
}

TEST(CalcReportTest, TableShowsEachFactorAndEachTotal) {
  const std::string text = Render(Llama70b(), CalcFormat::kTable);
  for (const char* part :
       {"llama-2-70b: GQA, 80 layers, 64 query heads, up to 4,096 tokens",
        "2 (K, V) x 80 layers x 8 KV heads x 128 x 2 B (fp16)", "327,680",
        "1,342,177,280", "42,949,672,960", "42.950", "40.000", "MHA (64 KV",
        "MQA (1 KV head)", "MLA (512 + 64)", "8.000", "int2, scale per token",
        "mi300x", "8,390,656"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, Not(HasSubstr("windows ignored")));
  EXPECT_THAT(text, Not(HasSubstr("ranks of a stage")));
}

TEST(CalcReportTest, FormulasShowScalesLatentsWindowsAndDifferentParts) {
  CalcOptions options = Llama70b();
  options.dtype = "int4";
  const auto table = [&options] { return Render(options, CalcFormat::kTable); };
  EXPECT_THAT(table(), HasSubstr("8 KV heads x (128 x 4 bit (int4) + 32 bit "
                                 "scale)"));
  options.quant_group = 64;
  EXPECT_THAT(table(), HasSubstr("(128 x 4 bit (int4) + 2 x 32 bit scale)"));
  EXPECT_THAT(table(), HasSubstr("int4, scale per group of 64"));
  options.quant_group = 0;
  options.quant_scheme = "channel";
  EXPECT_THAT(table(),
              HasSubstr("128 x (4 bit (int4) + 32 bit scale per 16 tokens)"));
  options.quant_scheme = "tensor";
  EXPECT_THAT(table(), HasSubstr("8 KV heads x 128 x 4 bit (int4)"));
  options.quant_scheme = "";
  options.dtype = "fp8";
  options.value_dtype = "fp16";
  EXPECT_THAT(table(), HasSubstr("80 layers x (K: 8 KV heads x 128 x 1 B "
                                 "(fp8) + V: 8 KV heads x 128 x 2 B (fp16))"));
  options = {};
  options.model = "deepseek-v2";
  EXPECT_THAT(table(), HasSubstr("60 layers x (latent 512 x 2 B (bf16) + "
                                 "rotary 64 x 2 B (bf16))"));
  options.model = "gemma-3-27b";
  options.tensor_parallel = 2;
  EXPECT_THAT(table(), HasSubstr("sliding_window 1024: 2 (K, V) x 52 layers"));
  EXPECT_THAT(table(), HasSubstr("full: 2 (K, V) x 10 layers"));
  EXPECT_THAT(table(), HasSubstr("windows ignored"));
  EXPECT_THAT(table(), HasSubstr("Each of 2 ranks of a stage"));
}

TEST(CalcReportTest, HybridModelsShowTheirGroupsAndWhatPaddingWastes) {
  CalcOptions options;
  options.model = "gemma-3-27b";  // 52 layers with a window, 10 without
  options.seq_len = 32'768;
  const auto json = nlohmann::json::parse(Render(options, CalcFormat::kJson));
  const nlohmann::json& plan = json["kv_cache_groups"];
  EXPECT_EQ(plan["layers_per_group"], 10);
  EXPECT_EQ(plan["kv_bytes_per_block"], 10 * 131'072);
  ASSERT_EQ(plan["groups"].size(), 7u);
  const nlohmann::json& sliding = plan["groups"][0];
  EXPECT_EQ(sliding["attention"], "sliding_window");
  EXPECT_EQ(sliding["window_tokens"], 1024);
  EXPECT_EQ(sliding["block_size_tokens"], 16);
  EXPECT_EQ(sliding["page_bytes"], 131'072);
  EXPECT_EQ(sliding["page_padding_bytes"], 0);
  EXPECT_EQ(sliding["missing_layers"], 1);
  EXPECT_EQ(sliding["layers"].size(), 9u);
  // A window of 1,024 touches at most 65 blocks.
  EXPECT_EQ(sliding["sequence"]["held_bytes"], 65 * 10 * 131'072);
  EXPECT_EQ(sliding["sequence"]["needed_bytes"], 65 * 9 * 131'072);
  EXPECT_EQ(sliding["sequence"]["wasted_bytes"], 65 * 131'072);
  EXPECT_EQ(sliding["sequence"]["wasted_percent"], 10.0);
  const nlohmann::json& full = plan["groups"][6];
  EXPECT_EQ(full["attention"], "full");
  EXPECT_FALSE(full.contains("window_tokens"));
  EXPECT_EQ(full["sequence"]["wasted_bytes"], 0);
  EXPECT_EQ(plan["sequence"]["wasted_bytes"], 65 * 8 * 131'072);
  EXPECT_EQ(plan["sequence"]["needed_bytes"], json["sequence_in_blocks_bytes"]);
  EXPECT_EQ(plan["sequence_in_uniform_blocks"]["held_bytes"],
            json["sequence_without_windows_bytes"]);

  const std::string table = Render(options, CalcFormat::kTable);
  for (const char* part :
       {"KV cache groups: blocks of 1,310,720 B, for 10 layers each",
        "sliding_window 1024: 9 layers + 1 empty",
        "sliding_window 1024: 8 layers + 2 empty", "full: 10 layers",
        "without groups, windows ignored"}) {
    EXPECT_THAT(table, HasSubstr(part));
  }
}

TEST(CalcReportTest, ModelsOfOneGroupShowNone) {
  for (const char* model : {"llama-2-70b", "mistral-7b-v0.1", "deepseek-v2"}) {
    CalcOptions options;
    options.model = model;
    const auto json = nlohmann::json::parse(Render(options, CalcFormat::kJson));
    EXPECT_FALSE(json.contains("kv_cache_groups")) << model;
    EXPECT_THAT(Render(options, CalcFormat::kTable),
                Not(HasSubstr("KV cache groups")));
  }
}

TEST(CalcReportTest, JsonOfAGivenMemoryNamesNoGpu) {
  CalcOptions options = Llama70b();
  options.memory = "12GiB";
  const auto json = nlohmann::json::parse(Render(options, CalcFormat::kJson));
  ASSERT_EQ(json["fits"].size(), 1u);
  EXPECT_TRUE(json["fits"][0]["gpu"].is_null());
  EXPECT_EQ(json["fits"][0]["kv_memory_bytes"], 12'884'901'888);
  EXPECT_EQ(json["fits"][0]["num_slots"], 39'321);
  EXPECT_THAT(Render(options, CalcFormat::kTable),
              HasSubstr("What fits in that memory"));
}

TEST(CalcReportTest, CsvHasOneLinePerValue) {
  const std::string text = Render(Llama70b(), CalcFormat::kCsv);
  EXPECT_THAT(text, StartsWith("key,value\n"));
  EXPECT_THAT(text, HasSubstr("\ntotal_bytes,42949672960\n"));
  EXPECT_THAT(text, HasSubstr("\nattentions/0/attention,\"mha\"\n"));
}

TEST(CalcReportTest, MarkdownTablesAreWhole) {
  std::istringstream lines(Render(Llama70b(), CalcFormat::kMarkdown));
  std::string line;
  std::ptrdiff_t columns = 0;
  int tables = 0;
  while (std::getline(lines, line)) {
    if (!line.starts_with('|')) {
      columns = 0;
      continue;
    }
    const auto bars = std::count(line.begin(), line.end(), '|');
    if (columns == 0) {
      ++tables;
    } else {
      EXPECT_EQ(bars, columns) << line;
    }
    columns = bars;
  }
  EXPECT_EQ(tables, 6);
}

}  // namespace
}  // namespace pagedkv::sim
