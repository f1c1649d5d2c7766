// SPDX-License-Identifier: Apache-2.0
// Models from files: what a good folder gives, and what a bad one is told.
#include "examples/engine/llama_weights.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "examples/engine/llama_config.h"
#include "examples/engine/safetensors.h"
#include "examples/engine/vector_math.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace pagedkv::engine {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

class LlamaWeightsTest : public ::testing::Test {
 protected:
  LlamaWeightsTest() {
    folder_ =
        ::testing::TempDir() + "llama_weights_test." + std::to_string(getpid());
    std::filesystem::create_directories(folder_);
    const LlamaConfig& config = tiny_.config();
    config_ = {{"model_type", "llama"},
               {"hidden_size", config.hidden_size},
               {"intermediate_size", config.intermediate_size},
               {"num_hidden_layers", config.num_hidden_layers},
               {"num_attention_heads", config.num_attention_heads},
               {"num_key_value_heads", config.num_key_value_heads},
               {"head_dim", config.head_dim},
               {"vocab_size", config.vocab_size},
               {"max_position_embeddings", config.max_position_embeddings},
               {"eos_token_id", 256}};
    Add("model.embed_tokens", tiny_.embedding());
    for (std::size_t i = 0; i < tiny_.layers().size(); ++i) {
      const LlamaLayer& layer = tiny_.layers()[i];
      const std::string name = absl::StrCat("model.layers.", i, ".");
      AddVector(name + "input_layernorm", layer.input_norm);
      Add(name + "self_attn.q_proj", layer.query);
      Add(name + "self_attn.k_proj", layer.key);
      Add(name + "self_attn.v_proj", layer.value);
      Add(name + "self_attn.o_proj", layer.output);
      AddVector(name + "post_attention_layernorm", layer.post_attention_norm);
      Add(name + "mlp.gate_proj", layer.gate);
      Add(name + "mlp.up_proj", layer.up);
      Add(name + "mlp.down_proj", layer.down);
    }
    AddVector("model.norm", tiny_.final_norm());
    Add("lm_head", tiny_.head());
  }
  ~LlamaWeightsTest() override { std::filesystem::remove_all(folder_); }

  void Add(const std::string& name, const Matrix& matrix) {
    tensors_[name + ".weight"] = {
        .shape = {matrix.num_rows, matrix.num_columns},
        .values = {matrix.data, static_cast<std::size_t>(matrix.num_rows *
                                                         matrix.num_columns)}};
  }
  void AddVector(const std::string& name, std::span<const float> vector) {
    tensors_[name + ".weight"] = {
        .shape = {static_cast<std::int64_t>(vector.size())}, .values = vector};
  }
  void Write() const {
    std::ofstream(folder_ + "/config.json") << config_.dump();
    const absl::Status written =
        WriteSafetensors(folder_ + "/model.safetensors", tensors_);
    ASSERT_TRUE(written.ok()) << written;
  }
  std::string Error() const {
    Write();
    const auto weights = LlamaWeights::Load(folder_);
    EXPECT_FALSE(weights.ok());
    const std::string message(weights.status().message());
    EXPECT_THAT(message, Not(HasSubstr("\n")));
    EXPECT_THAT(message, HasSubstr(folder_));
    return message;
  }

  const LlamaWeights tiny_ = LlamaWeights::MakeTiny(3);
  std::string folder_;
  json config_;
  std::map<std::string, FloatTensor> tensors_;
};

bool Same(const Matrix& a, const Matrix& b) {
  return a.num_rows == b.num_rows && a.num_columns == b.num_columns &&
         std::equal(a.data, a.data + a.num_rows * a.num_columns, b.data);
}

TEST_F(LlamaWeightsTest, AFolderGivesTheModelThatWasWritten) {
  Write();
  const auto loaded = LlamaWeights::Load(folder_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(Same(loaded->embedding(), tiny_.embedding()));
  EXPECT_TRUE(Same(loaded->head(), tiny_.head()));
  ASSERT_EQ(loaded->layers().size(), tiny_.layers().size());
  for (std::size_t i = 0; i < loaded->layers().size(); ++i) {
    EXPECT_TRUE(Same(loaded->layers()[i].key, tiny_.layers()[i].key));
    EXPECT_TRUE(Same(loaded->layers()[i].down, tiny_.layers()[i].down));
  }
  EXPECT_EQ(loaded->config().eos_token_ids, tiny_.config().eos_token_ids);
}

TEST_F(LlamaWeightsTest, TheTinyModelIsTheSameFromTheSameSeed) {
  EXPECT_TRUE(Same(LlamaWeights::MakeTiny(3).head(), tiny_.head()));
  EXPECT_FALSE(Same(LlamaWeights::MakeTiny(4).head(), tiny_.head()));
}

TEST_F(LlamaWeightsTest, ATiedHeadIsTheEmbedding) {
  config_["tie_word_embeddings"] = true;
  tensors_.erase("lm_head.weight");
  Write();
  const auto loaded = LlamaWeights::Load(folder_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->head().data, loaded->embedding().data);
}

TEST_F(LlamaWeightsTest, SaysWhatIsWrongWithAConfig) {
  const json good = config_;
  const auto error_with = [&](const std::string& key, const json& value) {
    config_ = good;
    config_[key] = value;
    return Error();
  };
  EXPECT_THAT(error_with("model_type", "gpt2"), HasSubstr("model_type"));
  EXPECT_THAT(error_with("hidden_size", "x"), HasSubstr("hidden_size"));
  EXPECT_THAT(error_with("hidden_size", 0), HasSubstr("hidden_size"));
  EXPECT_THAT(error_with("hidden_size", 1e99), HasSubstr("hidden_size"));
  EXPECT_THAT(error_with("hidden_size", nullptr), HasSubstr("is missing"));
  EXPECT_THAT(error_with("num_key_value_heads", 4), HasSubstr("divide"));
  EXPECT_THAT(error_with("head_dim", 13), HasSubstr("odd"));
  EXPECT_THAT(error_with("rope_theta", -1), HasSubstr("rope_theta"));
  EXPECT_THAT(error_with("eos_token_id", "x"), HasSubstr("eos_token_id"));
  EXPECT_THAT(error_with("attention_bias", true), HasSubstr("attention_bias"));
  EXPECT_THAT(error_with("hidden_act", "gelu"), HasSubstr("hidden_act"));
  EXPECT_THAT(error_with("rope_scaling", {{"factor", 2}}),
              HasSubstr("rope_scaling"));
  config_ = "no object";
  EXPECT_THAT(Error(), HasSubstr("is no JSON object"));
}

TEST_F(LlamaWeightsTest, SaysWhichTensorIsMissingOrWrong) {
  const FloatTensor norm = tensors_["model.norm.weight"];
  tensors_.erase("model.norm.weight");
  EXPECT_THAT(Error(), HasSubstr("no tensor model.norm.weight"));
  tensors_["model.norm.weight"] = norm;
  config_["vocab_size"] = 300;
  EXPECT_THAT(Error(), HasSubstr("[257, 48], and by config.json it should "
                                 "have [300, 48]"));
}

// A file with this header and `num_bytes` of values.
std::vector<std::byte> File(const std::string& header, std::size_t num_bytes,
                            std::uint64_t length_more = 0) {
  const std::uint64_t length = header.size() + length_more;
  std::vector<std::byte> file(sizeof(length));
  std::memcpy(file.data(), &length, sizeof(length));
  for (const char c : header) file.push_back(static_cast<std::byte>(c));
  file.resize(file.size() + num_bytes);
  return file;
}

TEST(SafetensorsTest, ConvertsHalfPrecision) {
  std::vector<std::byte> file =
      File(R"({"a":{"dtype":"F16","shape":[4],"data_offsets":[0,8]},)"
           R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]}})",
           12);
  const std::uint16_t values[] = {0x3C00, 0xC100, 0x0001,
                                  0x7BFF, 0x3F80, 0xC0A0};
  std::memcpy(file.data() + file.size() - 12, values, 12);
  const auto tensors = ParseSafetensors(file, "f");
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_EQ(*ToFloats(tensors->at("a")),
            (std::vector<float>{1, -2.5F, 0x1p-24F, 65504}));
  EXPECT_EQ(*ToFloats(tensors->at("b")), (std::vector<float>{1, -5}));
}

TEST(SafetensorsTest, SaysWhatIsWrongWithAFile) {
  const auto error = [](const std::vector<std::byte>& file) {
    const auto tensors = ParseSafetensors(file, "f");
    return tensors.ok() ? "" : std::string(tensors.status().message());
  };
  const auto tensor = [](const std::string& text) {
    return File("{\"a\":" + text + "}", 8);
  };
  EXPECT_EQ(error(File("{}", 0)), "");
  EXPECT_THAT(error({}), HasSubstr("f: is too short"));
  EXPECT_THAT(error(File("{}", 0, 1)), HasSubstr("said to have 3 bytes"));
  EXPECT_THAT(error(File("{}", 0, ~std::uint64_t{0} - 2)),
              HasSubstr("said to have"));
  EXPECT_THAT(error(File("[]", 0)), HasSubstr("no JSON object"));
  EXPECT_THAT(error(File("{\"\xff\":1}", 0)), HasSubstr("no JSON object"));
  EXPECT_THAT(error(tensor("1")), HasSubstr("tensor \"a\" is no JSON object"));
  EXPECT_THAT(error(tensor(R"({"dtype":"F31"})")), HasSubstr("F31"));
  EXPECT_THAT(
      error(tensor(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})")),
      HasSubstr("shape"));
  EXPECT_THAT(error(tensor(R"({"dtype":"F32","shape":[4294967296,4294967296],)"
                           R"("data_offsets":[0,4]})")),
              HasSubstr("shape"));
  EXPECT_THAT(
      error(tensor(R"({"dtype":"F32","shape":[3],"data_offsets":[0,12]})")),
      HasSubstr("the values have 8 bytes"));
  EXPECT_THAT(
      error(tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[8,4]})")),
      HasSubstr("data_offsets 8 and 4"));
  EXPECT_THAT(
      error(tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[0,8]})")),
      HasSubstr("takes 4 bytes, and its data_offsets hold 8"));
  EXPECT_THAT(
      error(tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[0.5,4]})")),
      HasSubstr("whole numbers"));
  EXPECT_EQ(error(tensor(R"({"dtype":"F32","shape":[],"data_offsets":[4,8]})")),
            "");
}

}  // namespace
}  // namespace pagedkv::engine
