// SPDX-License-Identifier: Apache-2.0
#include "sim/catalogue/model_config.h"

#include <cstddef>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

#include "sim/catalogue/json_text.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

constexpr std::int64_t kMaxTokens = std::int64_t{1} << 40;
constexpr std::size_t kMaxFileBytes = std::size_t{1} << 24;

/// What published configs of these types leave to the defaults of their
/// configuration class (Hugging Face Transformers, src/transformers/models).
constexpr std::string_view kDefaultsByModelType = R"json({
  "bloom": {"seq_length": 2048},
  "cohere2": {"sliding_window_pattern": 4},
  "falcon": {"multi_query": true, "max_position_embeddings": 2048},
  "gemma": {"head_dim": 256},
  "gemma2": {"head_dim": 256, "sliding_window": 4096,
             "sliding_window_pattern": 2},
  "gemma3_text": {"head_dim": 256, "num_attention_heads": 8,
                  "num_key_value_heads": 4, "sliding_window": 4096,
                  "sliding_window_pattern": 6,
                  "max_position_embeddings": 131072},
  "gpt_oss": {"sliding_window_pattern": 2},
  "llama4_text": {"attention_chunk_size": 8192, "no_rope_layer_interval": 4}
})json";

/// One flat object: the defaults of the model's type, under the keys of
/// `config`, under those of the parts that describe its decoder.
json Flatten(const json& config) {
  json keys = config;
  for (const char* part :
       {"text_config", "llm_config", "language_config", "attn_config"}) {
    const auto found = config.find(part);
    if (found != config.end() && found->is_object()) keys.update(*found);
  }
  json flat = json::object();
  const auto type = keys.find("model_type");
  if (type != keys.end() && type->is_string()) {
    const json defaults = json::parse(kDefaultsByModelType);
    const auto found = defaults.find(type->get<std::string>());
    if (found != defaults.end()) flat = *found;
  }
  flat.update(keys);
  return flat;
}

KvDtype ReadDtype(JsonObjectReader& config) {
  // "dtype" is the newer name of "torch_dtype".
  std::string name = config.TextOr({"torch_dtype", "dtype"}, "float16");
  if (constexpr std::string_view kPrefix = "torch.";
      name.starts_with(kPrefix)) {
    name.erase(0, kPrefix.size());
  }
  if (name == "float32") return KvDtype::kFp32;
  if (name == "float16") return KvDtype::kFp16;
  if (name == "bfloat16") return KvDtype::kBf16;
  config.Fail(absl::StrFormat(
      "'torch_dtype' is '%s': float32, float16 and bfloat16 are known", name));
  return KvDtype::kFp16;
}

/// How a layer uses the KV cache, without the sizes of K and V.
struct LayerShape {
  KvLayerKind kind = KvLayerKind::kFull;
  TokenCount window{0};
  TokenCount encoder_tokens{0};
  Bytes state{0};
};

LayerShape Sliding(JsonObjectReader& config) {
  return {KvLayerKind::kSlidingWindow,
          TokenCount(config.Integer({"sliding_window"}, kMaxTokens))};
}

LayerShape Chunked(JsonObjectReader& config) {
  return {KvLayerKind::kChunked,
          TokenCount(config.Integer({"attention_chunk_size"}, kMaxTokens))};
}

LayerShape ShapeOfType(const json& type, JsonObjectReader& config) {
  const std::string name = type.is_string() ? type.get<std::string>() : "";
  if (name == "full_attention" || name == "attention") return {};
  if (name == "sliding_attention") return Sliding(config);
  if (name == "chunked_attention") return Chunked(config);
  if (name == "linear_attention" || name == "mamba") {
    return {KvLayerKind::kStateless};
  }
  config.Fail(absl::StrFormat(
      "'layer_types' has %s: full_attention, sliding_attention, "
      "chunked_attention, linear_attention and mamba are known",
      type.dump()));
  return {};
}

/// All layers are `special` but every `interval`th, which is full.
std::vector<LayerShape> Interleave(std::size_t num_layers, LayerShape special,
                                   std::int64_t interval) {
  std::vector<LayerShape> shapes(num_layers, special);
  for (std::size_t i = 0; i < num_layers; ++i) {
    if ((i + 1) % static_cast<std::size_t>(interval) == 0) shapes[i] = {};
  }
  return shapes;
}

std::int64_t Integer(JsonObjectReader& config, std::string_view key) {
  return config.Integer({key}, kMaxModelSize);
}

/// Llama 3.2 Vision: listed layers attend to the patches of an image instead of
/// the text, as many as the most that one image has.
void CrossListedLayers(JsonObjectReader& config,
                       std::vector<LayerShape>& shapes) {
  const json* listed = config.Find("cross_attention_layers");
  if (listed == nullptr) return;
  const json* vision = config.Find("vision_config");
  if (!listed->is_array() || vision == nullptr || !vision->is_object()) {
    config.Fail(
        "'cross_attention_layers' must be an array and needs an object "
        "'vision_config', which says how many tokens an image has");
    return;
  }
  JsonObjectReader image(*vision, "'vision_config'");
  const std::int64_t patches =
      Integer(image, "image_size") / Integer(image, "patch_size");
  const std::int64_t tiles = image.IntegerOr({"max_num_tiles"}, 1 << 10, 1);
  if (!image.status().ok()) {
    config.Fail(std::string(image.status().message()));
    return;
  }
  // Each tile has a class token beside its patches.
  const LayerShape cross = {
      .kind = KvLayerKind::kCross,
      .encoder_tokens = TokenCount(tiles * (patches * patches + 1))};
  for (const json& layer : *listed) {
    if (!layer.is_number_unsigned() ||
        layer.get<std::uint64_t>() >= shapes.size()) {
      config.Fail(absl::StrFormat(
          "'cross_attention_layers' has %s: whole numbers below %d are layers",
          layer.dump(), shapes.size()));
      return;
    }
    shapes[layer.get<std::size_t>()] = cross;
  }
}

/// Jamba: every so manyth layer has attention, the others are Mamba layers,
/// whose state is a window of the convolution and a recurrent state, in the
/// type of the model (vLLM's `mamba1_state_shape`).
std::vector<LayerShape> ReadJamba(JsonObjectReader& config,
                                  std::size_t num_layers,
                                  std::int64_t bytes_per_element) {
  const std::int64_t inner =
      Integer(config, "mamba_expand") * Integer(config, "hidden_size");
  const std::int64_t width =
      Integer(config, "mamba_d_conv") - 1 + Integer(config, "mamba_d_state");
  std::int64_t state = 0;
  if (__builtin_mul_overflow(inner, width, &state) ||
      __builtin_mul_overflow(state, bytes_per_element, &state)) {
    config.Fail("the state of a Mamba layer does not fit 63 bits");
  }
  const auto period = static_cast<std::size_t>(
      config.Integer({"attn_layer_period"}, kMaxModelLayers));
  const json* given = config.Find("attn_layer_offset");
  if (given != nullptr && !given->is_number_unsigned()) {
    config.Fail("'attn_layer_offset' must be a whole number");
  }
  const std::size_t offset = given != nullptr && given->is_number_unsigned()
                                 ? given->get<std::size_t>()
                                 : 0;
  std::vector<LayerShape> shapes(
      num_layers, {.kind = KvLayerKind::kStateSpace, .state = Bytes(state)});
  for (std::size_t i = offset % period; i < num_layers; i += period) {
    shapes[i] = {};
  }
  return shapes;
}

/// The kinds of layers are spelt out, or follow from a few older keys.
std::vector<LayerShape> ReadShapes(JsonObjectReader& config,
                                   std::size_t num_layers,
                                   std::int64_t bytes_per_element) {
  for (const char* key : {"layer_types", "layers_block_type"}) {
    const json* types = config.Find(key);
    if (types == nullptr) continue;
    if (!types->is_array() || types->size() != num_layers) {
      config.Fail(absl::StrFormat("'%s' must be an array of %d strings", key,
                                  num_layers));
      return {};
    }
    std::vector<LayerShape> shapes;
    for (const json& type : *types) {
      shapes.push_back(ShapeOfType(type, config));
    }
    return shapes;
  }
  if (config.Has("attn_layer_period") && config.Has("mamba_d_state")) {
    return ReadJamba(config, num_layers, bytes_per_element);
  }
  for (const char* key : {"mamba_d_state", "ssm_cfg", "attn_layer_period",
                          "hybrid_override_pattern"}) {
    if (config.Has(key)) {
      config.Fail(absl::StrFormat(
          "'%s' tells of layers without attention, but 'layer_types', which "
          "says which ones, is missing",
          key));
      return {};
    }
  }
  const auto all = static_cast<std::int64_t>(num_layers) + 1;
  if (config.Has("full_attention_interval")) {
    return Interleave(
        num_layers, {KvLayerKind::kStateless},
        config.Integer({"full_attention_interval"}, kMaxModelLayers));
  }
  if (config.Has("attention_chunk_size")) {
    return Interleave(
        num_layers, Chunked(config),
        config.IntegerOr({"no_rope_layer_interval"}, kMaxModelLayers, all));
  }
  if (config.Has("sliding_window") &&
      config.FlagOr("use_sliding_window", true)) {
    std::vector<LayerShape> shapes = Interleave(
        num_layers, Sliding(config),
        config.IntegerOr({"sliding_window_pattern"}, kMaxModelLayers, all));
    // Qwen2: the first layers are full, the others slide.
    if (config.Has("use_sliding_window") && config.Has("max_window_layers")) {
      const json& full = *config.Find("max_window_layers");
      const bool counts = full.is_number_unsigned();
      if (!counts) config.Fail("'max_window_layers' must be a whole number");
      const auto num_full = counts ? full.get<std::uint64_t>() : 0;
      for (std::size_t i = 0; i < num_layers && i < num_full; ++i) {
        shapes[i] = {};
      }
    }
    return shapes;
  }
  return std::vector<LayerShape>(num_layers);
}

std::int32_t ReadKvHeads(JsonObjectReader& config, std::int32_t query_heads) {
  // Falcon's older models name a number of KV heads that they do not use.
  if (config.FlagOr("multi_query", false) &&
      !config.FlagOr("new_decoder_architecture", false)) {
    return 1;
  }
  const auto heads = static_cast<std::int32_t>(
      config.IntegerOr({"num_key_value_heads", "num_kv_heads", "n_head_kv",
                        "kv_n_heads", "multi_query_group_num"},
                       kMaxModelSize, query_heads));
  if (query_heads % heads != 0) {
    config.Fail(absl::StrFormat(
        "'num_key_value_heads' (%d) must divide 'num_attention_heads' (%d)",
        heads, query_heads));
  }
  return heads;
}

std::int32_t ReadHeadSize(JsonObjectReader& config, std::int32_t query_heads) {
  if (config.Has("head_dim") || config.Has("kv_channels")) {
    return static_cast<std::int32_t>(
        config.Integer({"head_dim", "kv_channels"}, kMaxModelSize));
  }
  const auto hidden = static_cast<std::int32_t>(config.Integer(
      {"hidden_size", "n_embd", "n_embed", "d_model"}, kMaxModelSize));
  if (hidden % query_heads != 0) {
    config.Fail(absl::StrFormat(
        "'hidden_size' (%d) is no multiple of 'num_attention_heads' (%d), and "
        "'head_dim' is missing",
        hidden, query_heads));
  }
  return hidden / query_heads;
}

/// Gemma 3n: the last layers read the KV of the last layer before them that is
/// of their own kind.
void ShareLastLayers(JsonObjectReader& config, std::vector<KvLayer>& layers) {
  if (!config.Has("num_kv_shared_layers")) return;
  const json& shared = *config.Find("num_kv_shared_layers");
  if (!shared.is_number_unsigned() ||
      shared.get<std::uint64_t>() >= layers.size()) {
    config.Fail(
        "'num_kv_shared_layers' must be a whole number below the number of "
        "layers");
    return;
  }
  const std::size_t first = layers.size() - shared.get<std::size_t>();
  for (std::size_t i = first; i < layers.size(); ++i) {
    std::size_t source = first;
    while (source > 0 && layers[source - 1].kind != layers[i].kind) --source;
    if (source == 0) {
      config.Fail(absl::StrFormat(
          "layer %d shares KV, but no earlier layer is of its kind", i));
      return;
    }
    layers[i] = {.kind = KvLayerKind::kShared,
                 .shared_with = static_cast<std::int32_t>(source - 1)};
  }
}

}  // namespace

absl::StatusOr<KvGeometry> ModelSpec::Geometry(
    BlockSize block_size, std::optional<KvFormat> format) const {
  return KvGeometry::Create(format ? WithFormat(layers, *format) : layers,
                            block_size);
}

std::vector<KvLayer> WithFormat(std::vector<KvLayer> layers,
                                const KvFormat& format) {
  for (KvLayer& layer : layers) {
    layer.key.format = format;
    layer.value.format = format;
  }
  return layers;
}

absl::StatusOr<ModelSpec> ModelFromConfig(const json& document,
                                          const std::string& source) {
  if (!document.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: a JSON object is needed here", source));
  }
  const json flat = Flatten(document);
  JsonObjectReader config(flat, source);
  if (config.FlagOr("is_encoder_decoder", false)) {
    config.Fail("an encoder-decoder model; decoders only are known");
  }

  ModelSpec model;
  model.source = source;
  model.name = config.TextOr({"model_type"}, "unnamed");
  const auto num_layers = static_cast<std::size_t>(
      config.Integer({"num_hidden_layers", "n_layer", "n_layers", "num_layers"},
                     kMaxModelLayers));
  model.query_heads = static_cast<std::int32_t>(config.Integer(
      {"num_attention_heads", "n_head", "n_heads"}, kMaxModelSize));
  model.max_seq_len =
      TokenCount(config.IntegerOr({"max_position_embeddings", "n_positions",
                                   "n_ctx", "max_seq_len", "seq_length"},
                                  kMaxTokens, 0));

  KvLayer layer;
  layer.latent = config.Has("kv_lora_rank");
  layer.key.heads = layer.value.heads = 1;
  layer.key.format = layer.value.format = KvFormat::For(ReadDtype(config));
  const auto size = [&config](std::string_view key) {
    return static_cast<std::int32_t>(config.Integer({key}, kMaxModelSize));
  };
  if (layer.latent) {
    layer.key.head_size = size("kv_lora_rank");
    layer.value.head_size = size("qk_rope_head_dim");
    model.key_head_size = size("qk_nope_head_dim") + size("qk_rope_head_dim");
    model.value_head_size = size("v_head_dim");
  } else {
    const std::int32_t kv_heads = ReadKvHeads(config, model.query_heads);
    model.key_head_size = ReadHeadSize(config, model.query_heads);
    model.value_head_size = static_cast<std::int32_t>(
        config.IntegerOr({"v_head_dim"}, kMaxModelSize, model.key_head_size));
    layer.key.heads = layer.value.heads = kv_heads;
    layer.key.head_size = model.key_head_size;
    layer.value.head_size = model.value_head_size;
  }

  std::vector<LayerShape> shapes =
      ReadShapes(config, num_layers, KvDtypeBits(layer.key.format.dtype) / 8);
  CrossListedLayers(config, shapes);
  for (const LayerShape& shape : shapes) {
    layer.kind = shape.kind;
    layer.window = shape.window;
    layer.encoder_tokens = shape.encoder_tokens;
    layer.state = shape.state;
    model.layers.push_back(layer);
  }
  ShareLastLayers(config, model.layers);
  if (!config.status().ok()) return config.status();
  return model;
}

absl::StatusOr<ModelSpec> ParseModelConfig(std::string_view text,
                                           const std::string& source) {
  const absl::StatusOr<json> config = ParseJson(text, source);
  if (!config.ok()) return config.status();
  return ModelFromConfig(*config, source);
}

absl::StatusOr<ModelSpec> ReadModelConfig(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.eof() && file.fail()) {
    return absl::NotFoundError(absl::StrFormat(
        "%s: the file cannot be read: give a config.json of Hugging Face",
        path));
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: too large for a config.json", path));
  }
  return ParseModelConfig(text, path);
}

}  // namespace pagedkv::sim
