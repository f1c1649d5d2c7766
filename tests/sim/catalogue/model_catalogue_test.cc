// SPDX-License-Identifier: Apache-2.0
#include "sim/catalogue/model_catalogue.h"

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;

std::vector<ModelSpec> AllModels() {
  absl::StatusOr<std::vector<ModelSpec>> models = KnownModels();
  EXPECT_TRUE(models.ok()) << models.status();
  return models.ok() ? *std::move(models) : std::vector<ModelSpec>{};
}

TEST(ModelCatalogueTest, HasTheCacheAndContextOfEachModel) {
  // Bytes per token as the product of the factors in the model's card.
  const struct {
    const char* name;
    std::int64_t bytes_per_token;
    std::int64_t max_seq_len;
    double parameters_billion;
  } cards[] = {
      {"llama-2-7b", 2LL * 32 * 32 * 128 * 2, 4096, 6.74},
      {"llama-2-13b", 2LL * 40 * 40 * 128 * 2, 4096, 13.02},
      {"llama-2-70b", 2LL * 80 * 8 * 128 * 2, 4096, 68.98},
      {"llama-3-8b", 2LL * 32 * 8 * 128 * 2, 8192, 8.03},
      {"llama-3-70b", 2LL * 80 * 8 * 128 * 2, 8192, 70.55},
      {"llama-3.1-8b", 2LL * 32 * 8 * 128 * 2, 131072, 8.03},
      {"llama-3.1-70b", 2LL * 80 * 8 * 128 * 2, 131072, 70.55},
      {"llama-3.1-405b", 2LL * 126 * 8 * 128 * 2, 131072, 405.85},
      {"llama-3.2-11b-vision", 2LL * 40 * 8 * 128 * 2, 131072, 10.67},
      {"mistral-7b", 2LL * 32 * 8 * 128 * 2, 32768, 7.25},
      {"mistral-7b-v0.1", 2LL * 32 * 8 * 128 * 2, 32768, 7.24},
      {"ministral-8b", 2LL * 36 * 8 * 128 * 2, 131072, 8.02},
      {"mixtral-8x7b", 2LL * 32 * 8 * 128 * 2, 32768, 46.70},
      {"gemma-2-9b", 2LL * 42 * 8 * 256 * 2, 8192, 9.24},
      {"gemma-3-27b", 2LL * 62 * 16 * 128 * 2, 131072, 27.43},
      {"qwen2.5-7b", 2LL * 28 * 4 * 128 * 2, 32768, 7.62},
      {"qwen2.5-72b", 2LL * 80 * 8 * 128 * 2, 32768, 72.71},
      {"qwen3-32b", 2LL * 64 * 8 * 128 * 2, 40960, 32.76},
      {"phi-3-mini", 2LL * 32 * 32 * 96 * 2, 131072, 3.82},
      {"phi-3-mini-4k", 2LL * 32 * 32 * 96 * 2, 4096, 3.82},
      {"deepseek-v2", (512LL + 64) * 60 * 2, 163840, 235.74},
      {"deepseek-v3", (512LL + 64) * 61 * 2, 163840, 671.03},
      // The other 28 layers have a state per sequence.
      {"jamba-v0.1", 2LL * 4 * 8 * 128 * 2, 262144, 51.57},
      {"gpt-oss-120b", 2LL * 36 * 8 * 64 * 2, 131072, 116.83},
      {"opt-13b", 2LL * 40 * 5120 * 2, 2048, 12.85},
      {"opt-66b", 2LL * 64 * 9216 * 2, 2048, 65.72},
      {"opt-175b", 2LL * 96 * 12288 * 2, 2048, 174.60},
  };
  std::set<std::string> tested;
  for (const auto& card : cards) {
    SCOPED_TRACE(card.name);
    tested.insert(card.name);
    const auto model = FindModel(card.name);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->Geometry(BlockSize(16))->bytes_per_token(),
              Bytes(card.bytes_per_token));
    EXPECT_EQ(model->max_seq_len, TokenCount(card.max_seq_len));
    EXPECT_NEAR(static_cast<double>(model->parameters) / 1e9,
                card.parameters_billion, 0.005);
  }
  for (const ModelSpec& model : AllModels()) {
    EXPECT_EQ(tested.count(model.name), 1u) << model.name << " is not tested";
    EXPECT_FALSE(model.source.empty());
  }
  EXPECT_EQ(tested.size(), AllModels().size());
}

TEST(ModelCatalogueTest, WeightsHaveTwoBytesButWhereTheCheckpointIsSmaller) {
  for (const ModelSpec& model : AllModels()) {
    const double bytes_per_parameter =
        static_cast<double>(model.weights.value()) /
        static_cast<double>(model.parameters);
    if (model.name == "deepseek-v3") {
      EXPECT_NEAR(bytes_per_parameter, 1.003, 0.001);  // fp8 and scales
    } else if (model.name == "gpt-oss-120b") {
      EXPECT_NEAR(bytes_per_parameter, 4.47 / 8, 0.001);  // MXFP4 and bf16
    } else {
      EXPECT_EQ(model.weights, Bytes(2 * model.parameters)) << model.name;
    }
  }
}

TEST(ModelCatalogueTest, LayersWithWindowsHoldLessAtTheFullLength) {
  const auto bytes = [](const char* name, std::int64_t length) {
    return FindModel(name)
        ->Geometry(BlockSize(16))
        ->BytesAtLength(TokenCount(length))
        ->value();
  };
  EXPECT_EQ(bytes("gemma-2-9b", 8192), 2LL * 21 * (4096 + 8192) * 8 * 256 * 2);
  EXPECT_EQ(bytes("gemma-3-27b", 131072),
            2LL * (52 * 1024 + 10 * 131072) * 16 * 128 * 2);
  EXPECT_EQ(bytes("gpt-oss-120b", 8192), 2LL * 18 * (128 + 8192) * 8 * 64 * 2);
  EXPECT_EQ(bytes("mistral-7b-v0.1", 8192), 131'072LL * 4096);
  EXPECT_EQ(bytes("mistral-7b", 8192), 131'072LL * 8192);
  EXPECT_EQ(bytes("ministral-8b", 131072),
            2LL * (27 * 32768 + 9 * 131072) * 8 * 128 * 2);
}

TEST(ModelCatalogueTest, ImagesAndStatesAreHeldFromTheFirstToken) {
  const auto bytes = [](const char* name, std::int64_t length) {
    return FindModel(name)
        ->Geometry(BlockSize(16))
        ->BytesAtLength(TokenCount(length))
        ->value();
  };
  // An image has 4 tiles of 40 x 40 patches and a class token.
  EXPECT_EQ(bytes("llama-3.2-11b-vision", 43),
            2LL * (32 * 43 + 8 * 4 * 1601) * 8 * 128 * 2);
  EXPECT_EQ(bytes("jamba-v0.1", 100),
            2LL * 4 * 100 * 8 * 128 * 2 + 28LL * 8192 * (3 + 16) * 2);
}

TEST(ModelCatalogueTest, AGeometryTakesTheDtypeThatIsAskedFor) {
  const auto model = FindModel("llama-3-8b");
  EXPECT_EQ(model->Geometry(BlockSize(16), KvFormat::For(KvDtype::kFp8))
                ->bytes_per_token(),
            Bytes(65'536));
}

TEST(ModelCatalogueTest, AnUnknownNameGetsTheKnownOnes) {
  const auto model = FindModel("llama-2-80b");
  EXPECT_EQ(model.status().code(), absl::StatusCode::kNotFound);
  const std::string message(model.status().message());
  EXPECT_THAT(message, HasSubstr("unknown model 'llama-2-80b': use one of "));
  for (const ModelSpec& known : AllModels()) {
    EXPECT_THAT(message, HasSubstr(known.name));
  }
  EXPECT_TRUE(FindModel("Llama-2-70B").ok());
}

TEST(ModelCatalogueTest, AMistakeInTheDataNamesItsRow) {
  const auto error = [](std::string_view text) {
    return std::string(
        ParseModelCatalogue(text, "models.json").status().message());
  };
  EXPECT_THAT(error("{"), HasSubstr("models.json:1:2: "));
  EXPECT_THAT(error(R"({"models": 1})"),
              HasSubstr("models.json: an array 'models' is needed"));
  EXPECT_THAT(error(R"({"models": [{"name": "x", "source": "y",
                        "parameters": 1, "weights_bytes": 2}]})"),
              HasSubstr("models.json: models[0]: 'config' is missing"));
  EXPECT_THAT(error(R"({"models": [{"name": "x", "source": "y",
                        "parameters": 1, "weights_bytes": 2,
                        "config": {}}]})"),
              HasSubstr("models[0]: 'num_hidden_layers' is missing"));
}

}  // namespace
}  // namespace pagedkv::sim
