// SPDX-License-Identifier: Apache-2.0
#include "sim/catalogue/model_config.h"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kFull = KvLayerKind::kFull;
constexpr auto kSliding = KvLayerKind::kSlidingWindow;
constexpr auto kChunked = KvLayerKind::kChunked;
constexpr auto kShared = KvLayerKind::kShared;
constexpr auto kStateless = KvLayerKind::kStateless;
constexpr auto kCross = KvLayerKind::kCross;
constexpr auto kState = KvLayerKind::kStateSpace;

ModelSpec Parse(std::string_view text) {
  absl::StatusOr<ModelSpec> model = ParseModelConfig(text, "config.json");
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : ModelSpec{};
}

std::string ErrorOf(std::string_view text) {
  return std::string(ParseModelConfig(text, "config.json").status().message());
}

std::int64_t BytesPerToken(const ModelSpec& model) {
  const auto geometry = model.Geometry(BlockSize(16));
  EXPECT_TRUE(geometry.ok()) << geometry.status();
  return geometry.ok() ? geometry->bytes_per_token().value() : -1;
}

std::vector<KvLayerKind> Kinds(const ModelSpec& model) {
  std::vector<KvLayerKind> kinds;
  for (const KvLayer& layer : model.layers) kinds.push_back(layer.kind);
  return kinds;
}

TEST(ModelConfigTest, UnderstandsTheKeysOfEachFamily) {
  const struct {
    const char* family;
    const char* text;
    std::int64_t bytes_per_token;
    std::int64_t max_seq_len;
  } cases[] = {
      {"Llama: as many KV heads as heads unless it says otherwise",
       R"({"model_type": "llama", "hidden_size": 4096,
           "num_attention_heads": 32, "num_hidden_layers": 32,
           "max_position_embeddings": 4096, "torch_dtype": "float16"})",
       524'288, 4096},
      {"Qwen3: head size apart from hidden size; the newer name of dtype",
       R"({"model_type": "qwen3", "hidden_size": 5120, "head_dim": 128,
           "num_attention_heads": 64, "num_key_value_heads": 8,
           "num_hidden_layers": 64, "max_position_embeddings": 40960,
           "dtype": "bfloat16", "sliding_window": null,
           "use_sliding_window": false})",
       262'144, 40960},
      {"DeepSeek: one latent and one rotary part",
       R"({"model_type": "deepseek_v3", "num_hidden_layers": 61,
           "num_attention_heads": 128, "num_key_value_heads": 128,
           "kv_lora_rank": 512, "qk_rope_head_dim": 64,
           "qk_nope_head_dim": 128, "v_head_dim": 128,
           "max_position_embeddings": 163840, "torch_dtype": "bfloat16"})",
       (512 + 64) * 61 * 2, 163840},
      {"GPT-2: n_ names, no dtype",
       R"({"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12,
           "n_positions": 1024, "n_ctx": 1024})",
       2 * 12 * 768 * 2, 1024},
      {"BLOOM: n_embed, length by default",
       R"({"model_type": "bloom", "n_embed": 14336, "n_layer": 70,
           "num_attention_heads": 112})",
       2 * 70 * 14336 * 2, 2048},
      {"OPT: as many KV heads as heads",
       R"({"model_type": "opt", "hidden_size": 5120,
           "num_attention_heads": 40, "num_hidden_layers": 40,
           "max_position_embeddings": 2048, "torch_dtype": "float16"})",
       819'200, 2048},
      {"Falcon 7B: one KV head, whatever num_kv_heads says",
       R"({"model_type": "falcon", "hidden_size": 4544,
           "num_attention_heads": 71, "num_hidden_layers": 32,
           "num_kv_heads": 71, "multi_query": true,
           "new_decoder_architecture": false, "torch_dtype": "bfloat16"})",
       2 * 32 * 64 * 2, 2048},
      {"Falcon 40B: groups",
       R"({"model_type": "falcon", "hidden_size": 8192,
           "num_attention_heads": 128, "num_hidden_layers": 60,
           "num_kv_heads": 8, "multi_query": true,
           "new_decoder_architecture": true, "torch_dtype": "bfloat16"})",
       2 * 60 * 8 * 64 * 2, 2048},
      {"Falcon RW: heads of its own",
       R"({"model_type": "falcon", "hidden_size": 2048, "n_head": 32,
           "n_layer": 24, "multi_query": false,
           "new_decoder_architecture": false})",
       2 * 24 * 2048 * 2, 2048},
      {"DBRX: attention in a part of its own",
       R"({"model_type": "dbrx", "d_model": 6144, "n_heads": 48,
           "n_layers": 40, "max_seq_len": 32768,
           "attn_config": {"kv_n_heads": 8}, "torch_dtype": "bfloat16"})",
       2 * 40 * 8 * 128 * 2, 32768},
      {"Unknown type with the usual keys; V smaller than K; fp32",
       R"({"model_type": "new", "num_hidden_layers": 2, "head_dim": 192,
           "v_head_dim": 128, "num_attention_heads": 8,
           "num_key_value_heads": 4, "torch_dtype": "float32"})",
       2 * 4 * (192 + 128) * 4, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.family);
    const ModelSpec model = Parse(c.text);
    EXPECT_EQ(BytesPerToken(model), c.bytes_per_token);
    EXPECT_EQ(model.max_seq_len, TokenCount(c.max_seq_len));
    EXPECT_EQ(model.source, "config.json");
  }
}

TEST(ModelConfigTest, Gemma2AlternatesBeginningWithAWindow) {
  const ModelSpec model = Parse(
      R"({"model_type": "gemma2", "hidden_size": 3584,
          "num_attention_heads": 16, "num_key_value_heads": 8,
          "num_hidden_layers": 4, "sliding_window": 4096})");
  EXPECT_THAT(Kinds(model), ElementsAre(kSliding, kFull, kSliding, kFull));
  EXPECT_EQ(model.layers[0].window, TokenCount(4096));
  EXPECT_EQ(model.layers[0].key.head_size, 256);  // not 3584 / 16
}

TEST(ModelConfigTest, Gemma3ReadsTheTextPartAndItsPattern) {
  const ModelSpec model = Parse(
      R"({"model_type": "gemma3", "torch_dtype": "bfloat16",
          "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27},
          "text_config": {"model_type": "gemma3_text", "hidden_size": 2560,
            "num_hidden_layers": 7, "sliding_window": 1024}})");
  EXPECT_THAT(Kinds(model), ElementsAre(kSliding, kSliding, kSliding, kSliding,
                                        kSliding, kFull, kSliding));
  // Its config leaves these to the defaults of its class.
  EXPECT_EQ(BytesPerToken(model), 2 * 7 * 4 * 256 * 2);
  EXPECT_EQ(model.query_heads, 8);
  EXPECT_EQ(model.max_seq_len, TokenCount(131072));
}

TEST(ModelConfigTest, LayerTypesSpellOutTheKinds) {
  const ModelSpec model = Parse(
      R"({"hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 5,
          "sliding_window": 128, "attention_chunk_size": 256,
          "layer_types": ["full_attention", "sliding_attention",
             "chunked_attention", "linear_attention", "mamba"]})");
  EXPECT_THAT(Kinds(model),
              ElementsAre(kFull, kSliding, kChunked, kStateless, kStateless));
  EXPECT_EQ(model.layers[1].window, TokenCount(128));
  EXPECT_EQ(model.layers[2].window, TokenCount(256));
  EXPECT_EQ(BytesPerToken(model), 3 * 2 * 64 * 2);
}

TEST(ModelConfigTest, OlderKeysImplyTheKinds) {
  const auto kinds = [](const std::string& keys) {
    return Kinds(Parse(R"({"hidden_size": 64, "num_attention_heads": 2,
                           "num_hidden_layers": 4, )" +
                       keys + "}"));
  };
  EXPECT_THAT(kinds(R"("sliding_window": 4096)"),
              ElementsAre(kSliding, kSliding, kSliding, kSliding));
  EXPECT_THAT(kinds(R"("sliding_window": null)"),
              ElementsAre(kFull, kFull, kFull, kFull));
  EXPECT_THAT(kinds(R"("sliding_window": 4096, "use_sliding_window": false)"),
              ElementsAre(kFull, kFull, kFull, kFull));
  EXPECT_THAT(kinds(R"("sliding_window": 4096, "use_sliding_window": true,
                       "max_window_layers": 3)"),
              ElementsAre(kFull, kFull, kFull, kSliding));
  EXPECT_THAT(kinds(R"("model_type": "gpt_oss", "sliding_window": 128)"),
              ElementsAre(kSliding, kFull, kSliding, kFull));
  EXPECT_THAT(kinds(R"("model_type": "llama4_text")"),
              ElementsAre(kChunked, kChunked, kChunked, kFull));
  EXPECT_THAT(kinds(R"("full_attention_interval": 4)"),
              ElementsAre(kStateless, kStateless, kStateless, kFull));
  EXPECT_THAT(kinds(R"("layers_block_type":
                       ["mamba", "attention", "mamba", "attention"])"),
              ElementsAre(kStateless, kFull, kStateless, kFull));
}

TEST(ModelConfigTest, ListedLayersAttendToTheTilesOfAnImage) {
  const ModelSpec model = Parse(
      R"({"text_config": {"hidden_size": 64, "num_attention_heads": 2,
                          "num_hidden_layers": 4,
                          "cross_attention_layers": [1, 3]},
          "vision_config": {"image_size": 28, "patch_size": 14,
                            "max_num_tiles": 3}})");
  EXPECT_THAT(Kinds(model), ElementsAre(kFull, kCross, kFull, kCross));
  // 2 x 2 patches and a class token in each of 3 tiles.
  EXPECT_EQ(model.layers[1].encoder_tokens, TokenCount(15));
  EXPECT_EQ(model.layers[0].encoder_tokens, TokenCount(0));
}

TEST(ModelConfigTest, MambaLayersHaveAStatePerSequence) {
  const ModelSpec model = Parse(
      R"({"hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 5,
          "attn_layer_period": 3, "attn_layer_offset": 1, "mamba_d_state": 16,
          "mamba_d_conv": 4, "mamba_expand": 2, "torch_dtype": "bfloat16"})");
  EXPECT_THAT(Kinds(model), ElementsAre(kState, kFull, kState, kState, kFull));
  // 2 x 64 channels, each with 3 inputs of the convolution and 16 states.
  EXPECT_EQ(model.layers[0].state, Bytes(128 * (3 + 16) * 2));
  EXPECT_EQ(BytesPerToken(model), 2 * 2 * 64 * 2);
}

TEST(ModelConfigTest, LastLayersShareTheKvOfTheLastOfTheirKind) {
  const ModelSpec model = Parse(
      R"({"model_type": "gemma3n_text", "head_dim": 256,
          "num_attention_heads": 8, "num_key_value_heads": 2,
          "num_hidden_layers": 6, "num_kv_shared_layers": 2,
          "sliding_window": 512,
          "layer_types": ["sliding_attention", "full_attention",
             "sliding_attention", "sliding_attention",
             "full_attention", "sliding_attention"]})");
  EXPECT_THAT(Kinds(model), ElementsAre(kSliding, kFull, kSliding, kSliding,
                                        kShared, kShared));
  EXPECT_EQ(model.layers[4].shared_with, 1);
  EXPECT_EQ(model.layers[5].shared_with, 3);
  EXPECT_EQ(BytesPerToken(model), 4 * 2 * 2 * 256 * 2);
}

TEST(ModelConfigTest, AMistakeIsOneLineThatNamesTheKey) {
  const std::string base =
      R"("hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2)";
  const struct {
    std::string text;
    const char* message;
  } cases[] = {
      {"", "config.json:1:1: this is not valid JSON"},
      {"{" + base, "config.json:1:"},
      {"[]", "config.json: a JSON object is needed here"},
      {"null", "a JSON object is needed here"},
      {"{}", "'num_hidden_layers' is missing"},
      {R"({"num_hidden_layers": 2})", "'num_attention_heads' is missing"},
      {R"({"num_hidden_layers": 2, "num_attention_heads": 4})",
       "'hidden_size' is missing"},
      {R"({"num_hidden_layers": "2"})", "'num_hidden_layers' must be an int"},
      {R"({"num_hidden_layers": 2.5})", "'num_hidden_layers' must be an int"},
      {R"({"num_hidden_layers": 0})", "'num_hidden_layers' must be an int"},
      {R"({"num_hidden_layers": -3})", "'num_hidden_layers' must be an int"},
      {R"({"num_hidden_layers": 99999999999999999999999})",
       "'num_hidden_layers' must be an integer from 1 to 16384"},
      {R"({"num_hidden_layers": [2]})", "'num_hidden_layers' must be an int"},
      {"{" + base + R"(, "num_key_value_heads": 0})",
       "'num_key_value_heads' must be an integer from 1"},
      {"{" + base + R"(, "num_key_value_heads": 3})",
       "'num_key_value_heads' (3) must divide 'num_attention_heads' (4)"},
      {"{" + base + R"(, "num_key_value_heads": 8})",
       "'num_key_value_heads' (8) must divide 'num_attention_heads' (4)"},
      {R"({"hidden_size": 65, "num_attention_heads": 4,
           "num_hidden_layers": 2})",
       "'hidden_size' (65) is no multiple of 'num_attention_heads' (4)"},
      {"{" + base + R"(, "head_dim": 1000000000})", "'head_dim' must be"},
      {"{" + base + R"(, "torch_dtype": "float8"})",
       "'torch_dtype' is 'float8'"},
      {"{" + base + R"(, "torch_dtype": 16})", "'torch_dtype' must be a str"},
      {"{" + base + R"(, "model_type": 7})", "'model_type' must be a string"},
      {"{" + base + R"(, "max_position_embeddings": -1})",
       "'max_position_embeddings' must be an integer"},
      {"{" + base + R"(, "sliding_window": 0})",
       "'sliding_window' must be an integer"},
      {"{" + base + R"(, "sliding_window": 8, "sliding_window_pattern": 0})",
       "'sliding_window_pattern' must be an integer"},
      {"{" + base + R"(, "sliding_window": 8, "use_sliding_window": 1})",
       "'use_sliding_window' must be true or false"},
      {"{" + base + R"(, "sliding_window": 8, "use_sliding_window": true,
                         "max_window_layers": -1})",
       "'max_window_layers' must be a whole number"},
      {"{" + base + R"(, "layer_types": ["full_attention"]})",
       "'layer_types' must be an array of 2 strings"},
      {"{" + base + R"(, "layer_types": "full_attention"})",
       "'layer_types' must be an array of 2 strings"},
      {"{" + base + R"(, "layer_types": ["full_attention", "odd"]})",
       "'layer_types' has \"odd\""},
      {"{" + base + R"(, "layer_types": ["full_attention", 3]})",
       "'layer_types' has 3"},
      {"{" + base +
           R"(, "layer_types": ["full_attention", "sliding_attention"]})",
       "'sliding_window' is missing"},
      {"{" + base + R"(, "mamba_d_state": 16})", "'layer_types', which says"},
      {"{" + base + R"(, "mamba_d_state": 16, "attn_layer_period": 2})",
       "'mamba_expand' is missing"},
      {"{" + base + R"(, "mamba_d_state": 16, "mamba_d_conv": 4,
                         "mamba_expand": 2, "attn_layer_period": 2,
                         "attn_layer_offset": -1})",
       "'attn_layer_offset' must be a whole number"},
      {"{" + base + R"(, "cross_attention_layers": [1]})",
       "'cross_attention_layers' must be an array and needs an object"},
      {"{" + base + R"(, "cross_attention_layers": [1],
                         "vision_config": {"image_size": 28}})",
       "'patch_size' is missing"},
      {"{" + base + R"(, "cross_attention_layers": [2], "vision_config":
                         {"image_size": 28, "patch_size": 14}})",
       "'cross_attention_layers' has 2: whole numbers below 2 are layers"},
      {"{" + base + R"(, "num_kv_shared_layers": 2})",
       "'num_kv_shared_layers' must be a whole number below"},
      {"{" + base + R"(, "num_kv_shared_layers": "1"})",
       "'num_kv_shared_layers' must be a whole number below"},
      {"{" + base + R"(, "num_kv_shared_layers": 1, "sliding_window": 8,
           "layer_types": ["sliding_attention", "full_attention"]})",
       "layer 1 shares KV, but no earlier layer is of its kind"},
      {"{" + base + R"(, "is_encoder_decoder": true})", "encoder-decoder"},
      {R"({"num_hidden_layers": 2, "num_attention_heads": 4,
           "kv_lora_rank": 512})",
       "'qk_rope_head_dim' is missing"},
      {R"({"text_config": {"num_hidden_layers": "x"}})",
       "'num_hidden_layers' must be an integer"},
  };
  for (const auto& [text, message] : cases) {
    SCOPED_TRACE(text);
    EXPECT_THAT(ErrorOf(text), HasSubstr(message));
    EXPECT_THAT(ErrorOf(text), HasSubstr("config.json"));
    EXPECT_THAT(ErrorOf(text), Not(HasSubstr("\n")));
  }
}

/// A file in the test's own folder, removed at the end.
class ModelConfigFileTest : public ::testing::Test {
 protected:
  ~ModelConfigFileTest() override { std::filesystem::remove(path_); }
  void Write(std::string_view text) {
    std::ofstream(path_, std::ios::binary) << text;
  }

  const std::string path_ = ::testing::TempDir() + "pagedkv_config_test.json";
};

TEST_F(ModelConfigFileTest, IsReadFromAFile) {
  Write(R"({"hidden_size": 64, "num_attention_heads": 2,
            "num_hidden_layers": 1})");
  const auto model = ReadModelConfig(path_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(BytesPerToken(*model), 2 * 64 * 2);
  EXPECT_EQ(model->source, path_);
}

TEST_F(ModelConfigFileTest, AFileThatCannotBeReadOrIsTooLargeIsAnError) {
  EXPECT_THAT(
      std::string(
          ReadModelConfig("/nonexistent/config.json").status().message()),
      HasSubstr("/nonexistent/config.json: the file cannot be read"));
  EXPECT_FALSE(ReadModelConfig(::testing::TempDir()).ok());
  Write(std::string((std::size_t{1} << 24) + 1, ' '));
  EXPECT_THAT(std::string(ReadModelConfig(path_).status().message()),
              HasSubstr("too large for a config.json"));
  Write("");
  EXPECT_THAT(std::string(ReadModelConfig(path_).status().message()),
              HasSubstr(path_ + ":1:1: "));
}

}  // namespace
}  // namespace pagedkv::sim
