// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/calc_report.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "nlohmann/json.hpp"

#include "pagedkv/kv_cache_plan.h"
#include "pagedkv/kv_geometry.h"
#include "pagedkv/types.h"
#include "sim/report/decimal.h"
#include "sim/report/kv_group_use.h"
#include "sim/study/units.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

// ---- Words ----

std::string_view KindName(KvLayerKind kind) {
  switch (kind) {
    case KvLayerKind::kFull:
      return "full";
    case KvLayerKind::kSlidingWindow:
      return "sliding_window";
    case KvLayerKind::kChunked:
      return "chunked";
    case KvLayerKind::kCross:
      return "cross";
    case KvLayerKind::kStateSpace:
      return "state_space";
    case KvLayerKind::kShared:
      return "shared";
    case KvLayerKind::kStateless:
      return "stateless";
  }
  return "unknown";
}

std::string_view SchemeName(ScaleScheme scheme) {
  switch (scheme) {
    case ScaleScheme::kTensor:
      return "tensor";
    case ScaleScheme::kToken:
      return "token";
    case ScaleScheme::kChannel:
      return "channel";
    case ScaleScheme::kGroup:
      return "group";
  }
  return "unknown";
}

/// Equal layers, counted together, in order of their first one.
struct LayerGroup {
  KvLayer layer;
  std::int64_t count = 0;
};

std::vector<LayerGroup> GroupLayers(const std::vector<KvLayer>& layers) {
  std::vector<LayerGroup> groups;
  for (const KvLayer& layer : layers) {
    const auto same = std::find_if(
        groups.begin(), groups.end(), [&](const LayerGroup& group) {
          return group.layer == layer ||
                 (group.layer.kind == layer.kind && !layer.takes_memory());
        });
    if (same == groups.end()) {
      groups.push_back({layer, 1});
    } else {
      ++same->count;
    }
  }
  return groups;
}

/// One K or V vector of one head as a product: "128 x 2 B (fp16)".
std::string VectorFormula(const KvTensor& tensor, BlockSize block_size) {
  const KvFormat& format = tensor.format;
  const std::int32_t bits = KvDtypeBits(format.dtype);
  const std::int32_t scale_bits = format.scale_bits + format.zero_point_bits;
  const std::string name(KvDtypeName(format.dtype));
  switch (format.scheme) {
    case ScaleScheme::kTensor:
      if (bits % 8 != 0) break;
      return absl::StrFormat("%d x %d B (%s)", tensor.head_size, bits / 8,
                             name);
    case ScaleScheme::kToken:
      return absl::StrFormat("(%d x %d bit (%s) + %d bit scale)",
                             tensor.head_size, bits, name, scale_bits);
    case ScaleScheme::kChannel:
      return absl::StrFormat(
          "%d x (%d bit (%s) + %d bit scale per %d tokens)", tensor.head_size,
          bits, name, scale_bits,
          format.group > 0 ? format.group : block_size.value());
    case ScaleScheme::kGroup:
      return absl::StrFormat(
          "(%d x %d bit (%s) + %d x %d bit scale)", tensor.head_size, bits,
          name, (tensor.head_size + format.group - 1) / format.group,
          scale_bits);
  }
  return absl::StrFormat("%d x %d bit (%s)", tensor.head_size, bits, name);
}

std::string HeadsLabel(const KvTensor& tensor) {
  return absl::StrFormat("%d KV head%s", tensor.heads,
                         tensor.heads == 1 ? "" : "s");
}

std::string TensorFormula(const KvTensor& tensor, BlockSize block_size) {
  return HeadsLabel(tensor) + " x " + VectorFormula(tensor, block_size);
}

/// What the layers of a group add to each token, as a product.
std::string GroupFormula(const LayerGroup& group, BlockSize block_size) {
  const KvLayer& layer = group.layer;
  if (!layer.stores_kv()) {
    std::string formula = absl::StrFormat("%d layers x 0", group.count);
    if (layer.kind == KvLayerKind::kStateSpace) {
      formula += absl::StrFormat(", and a state of %s B per sequence in each",
                                 Grouped(layer.state.value()));
    }
    return formula;
  }
  if (layer.latent) {
    return absl::StrFormat("%d layers x (latent %s + rotary %s)", group.count,
                           VectorFormula(layer.key, block_size),
                           VectorFormula(layer.value, block_size));
  }
  if (layer.key == layer.value) {
    return absl::StrFormat("2 (K, V) x %d layers x %s", group.count,
                           TensorFormula(layer.key, block_size));
  }
  return absl::StrFormat("%d layers x (K: %s + V: %s)", group.count,
                         TensorFormula(layer.key, block_size),
                         TensorFormula(layer.value, block_size));
}

/// Bytes that a group adds to each token.
Bytes GroupBytes(const LayerGroup& group, BlockSize block_size) {
  if (!group.layer.stores_kv()) return Bytes(0);
  const absl::StatusOr<KvGeometry> geometry = KvGeometry::Create(
      std::vector<KvLayer>(static_cast<std::size_t>(group.count), group.layer),
      block_size);
  // The whole model has such a geometry, and this is a part of it.
  return geometry.ok() ? geometry->bytes_per_token() : Bytes(0);
}

bool WindowsMatter(const CalcResult& result) {
  return result.size.sequence != result.size.sequence_unwindowed;
}

double ToSixDecimals(double value) { return std::round(value * 1e6) / 1e6; }

/// How many times the model's own total, to six decimals.
double Ratio(const CalcSize& size, const CalcResult& result) {
  return ToSixDecimals(static_cast<double>(size.total.value()) /
                       static_cast<double>(result.size.total.value()));
}

std::string FormatLabel(const KvFormat& format) {
  if (format.scheme == ScaleScheme::kTensor) {
    return std::string(KvDtypeName(format.dtype));
  }
  std::string label = absl::StrFormat(
      "%s, scale per %s", KvDtypeName(format.dtype), SchemeName(format.scheme));
  if (format.group > 0) label += absl::StrFormat(" of %d", format.group);
  return label;
}

// ---- JSON ----

void AddBytes(const std::string& name, Bytes bytes, json& object) {
  object[name + "_bytes"] = bytes.value();
  object[name + "_gb"] = ToGb(bytes);
  object[name + "_gib"] = ToGib(bytes);
}

void AddSize(const CalcSize& size, json& object) {
  object["kv_bytes_per_token"] = size.token.value();
  object["kv_bytes_per_block"] = size.block.value();
  AddBytes("sequence", size.sequence, object);
  AddBytes("sequence_in_blocks", size.sequence_blocks, object);
  AddBytes("sequence_without_windows", size.sequence_unwindowed, object);
  AddBytes("total", size.total, object);
  AddBytes("total_in_blocks", size.total_blocks, object);
  AddBytes("total_without_windows", size.total_unwindowed, object);
}

json FormatJson(const KvFormat& format) {
  return {{"dtype", KvDtypeName(format.dtype)},
          {"bits_per_element", KvDtypeBits(format.dtype)},
          {"scale_per", SchemeName(format.scheme)},
          {"scale_group", format.group},
          {"scale_bits", format.scale_bits},
          {"zero_point_bits", format.zero_point_bits}};
}

json TensorJson(const KvTensor& tensor) {
  return {{"heads", tensor.heads},
          {"head_size", tensor.head_size},
          {"format", FormatJson(tensor.format)}};
}

json LayerGroupJson(const LayerGroup& group, const CalcResult& result) {
  const KvLayer& layer = group.layer;
  json object = {
      {"layers", group.count},
      {"kind", KindName(layer.kind)},
      {"formula", GroupFormula(group, result.block_size)},
      {"kv_bytes_per_token", GroupBytes(group, result.block_size).value()}};
  if (layer.has_window()) object["window_tokens"] = layer.window.value();
  if (layer.kind == KvLayerKind::kStateSpace) {
    object["state_bytes"] = layer.state.value();
  }
  if (layer.kind == KvLayerKind::kCross) {
    object["encoder_tokens"] = layer.encoder_tokens.value();
  }
  if (layer.stores_kv()) {
    object["key"] = TensorJson(layer.key);
    object["value"] = TensorJson(layer.value);
  }
  return object;
}

void AddCapacity(const CalcCapacity& capacity, json& object) {
  object["num_blocks"] = capacity.blocks.value();
  object["num_slots_in_blocks"] = capacity.block_slots.value();
  object["num_slots"] = capacity.slots.value();
  object["max_batch"] = capacity.max_batch;
  AddBytes("pool", capacity.pool, object);
}

json FitJson(const CalcFit& fit, const CalcResult& result) {
  json object = {{"gpu", nullptr}};
  AddCapacity(fit, object);
  AddBytes("kv_memory", fit.kv_memory, object);
  if (!fit.gpu) return object;
  object["gpu"] = {{"name", fit.gpu->name},
                   {"source", fit.gpu->source},
                   {"bandwidth_bytes_per_s", fit.gpu->bandwidth_bytes_per_s},
                   {"bf16_flops_per_s", fit.gpu->bf16_flops_per_s}};
  AddBytes("memory", fit.gpu->memory, object["gpu"]);
  object["gpu_memory_utilization"] = result.gpu_memory_utilization;
  AddBytes("weights", fit.weights, object);
  AddBytes("activations", fit.activations, object);
  return object;
}

void AddUse(const KvCacheUse& use, json& object) {
  object["held_bytes"] = use.held.value();
  object["needed_bytes"] = use.needed.value();
  object["wasted_bytes"] = use.wasted().value();
  object["wasted_percent"] = ToSixDecimals(use.wasted_percent());
}

json CacheGroupJson(const KvCacheGroup& group, const KvCacheUse& use) {
  json object = {{"attention", KvGroupKindName(group.attention)},
                 {"block_size_tokens", group.block_size.value()},
                 {"page_bytes", group.layers.front().page.value()},
                 {"page_padding_bytes", group.page_padding.value()},
                 {"missing_layers", group.missing_layers}};
  if (group.window > TokenCount(0)) {
    object["window_tokens"] = group.window.value();
  }
  if (group.encoder_tokens > TokenCount(0)) {
    object["encoder_tokens"] = group.encoder_tokens.value();
  }
  for (const KvCacheGroupLayer& layer : group.layers) {
    object["layers"].push_back(layer.index);
  }
  AddUse(use, object["sequence"]);
  return object;
}

json CacheGroupsJson(const CalcGroups& groups) {
  json object = {{"layers_per_group", groups.plan.layers_per_group},
                 {"kv_bytes_per_block", groups.plan.bytes_per_block.value()}};
  for (std::size_t i = 0; i < groups.uses.size(); ++i) {
    object["groups"].push_back(
        CacheGroupJson(groups.plan.groups[i], groups.uses[i]));
  }
  AddUse(groups.all, object["sequence"]);
  AddUse(groups.uniform, object["sequence_in_uniform_blocks"]);
  return object;
}

json ToJson(const CalcResult& result) {
  const ModelSpec& model = result.model;
  json object = {
      {"schema", "pagedkv.calc/1"},
      {"seq_len_tokens", result.seq_len.value()},
      {"batch", result.batch},
      {"block_size_tokens", result.block_size.value()},
      {"tensor_parallel", result.tensor_parallel},
      {"pipeline_parallel", result.pipeline_parallel},
      {"model",
       {{"name", model.name},
        {"source", model.source},
        {"attention", AttentionName(result.attention)},
        {"layers", model.layers.size()},
        {"query_heads", model.query_heads},
        {"max_seq_len_tokens", model.max_seq_len.value()},
        {"parameters", model.parameters},
        {"weights_bytes", model.weights.value()}}},
      {"work",
       {{"projections_without_cache", result.projections_without_cache},
        {"projections_with_cache", result.projections_with_cache}}}};
  AddSize(result.size, object);
  for (const LayerGroup& group : GroupLayers(result.layers)) {
    object["factors"].push_back(LayerGroupJson(group, result));
  }
  if (result.groups)
    object["kv_cache_groups"] = CacheGroupsJson(*result.groups);
  object["fits"] = json::array();
  for (const CalcFit& fit : result.fits) {
    object["fits"].push_back(FitJson(fit, result));
  }
  for (const CalcAttention& other : result.attentions) {
    json row = {{"attention", AttentionName(other.kind)},
                {"key", TensorJson(other.key)},
                {"value", TensorJson(other.value)},
                {"ratio", Ratio(other.size, result)}};
    AddSize(other.size, row);
    object["attentions"].push_back(std::move(row));
  }
  for (const CalcDtype& other : result.dtypes) {
    json row = FormatJson(other.format);
    row["ratio"] = Ratio(other.size, result);
    AddSize(other.size, row);
    row["fit"] = nullptr;
    if (other.capacity) {
      row["fit"] = json::object();
      AddCapacity(*other.capacity, row["fit"]);
    }
    object["dtypes"].push_back(std::move(row));
  }
  for (const CalcStage& stage : result.stages) {
    json row = {{"layers", stage.layers}};
    AddSize(stage.size, row);
    object["stages"].push_back(std::move(row));
  }
  return object;
}

/// One line per value: "dtypes/0/dtype,fp32".
std::string ToCsv(const json& object) {
  std::string text = "key,value\n";
  const json flat = object.flatten();
  for (const auto& [path, value] : flat.items()) {
    // JSON quotes a string by \", CSV by "".
    const std::string field =
        value.is_string()
            ? absl::StrFormat("\"%s\"",
                              absl::StrReplaceAll(value.get<std::string>(),
                                                  {{"\"", "\"\""}}))
            : value.dump();
    text += absl::StrFormat("%s,%s\n", path.substr(1), field);
  }
  return text;
}

// ---- Tables ----

/// A titled table: its first column holds words, the others numbers.
struct Section {
  std::string title;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

std::vector<std::string> SizeRow(std::string label, Bytes bytes) {
  return {std::move(label), Grouped(bytes.value()), FormatGb(bytes),
          FormatGib(bytes)};
}

Section FactorSection(const CalcResult& result) {
  Section section{"Bytes per token", {"layers", "B per token"}, {}};
  for (const LayerGroup& group : GroupLayers(result.layers)) {
    std::string label(KindName(group.layer.kind));
    if (group.layer.has_window()) {
      label += absl::StrFormat(" %d", group.layer.window.value());
    }
    if (group.layer.kind == KvLayerKind::kCross) {
      label += absl::StrFormat(" %d", group.layer.encoder_tokens.value());
    }
    label += ": " + GroupFormula(group, result.block_size);
    section.rows.push_back(
        {label, Grouped(GroupBytes(group, result.block_size).value())});
  }
  section.rows.push_back({"all", Grouped(result.size.token.value())});
  return section;
}

Section SizeSection(const CalcResult& result) {
  const CalcSize& size = result.size;
  const std::string sequence =
      absl::StrFormat("sequence of %s tokens", Grouped(result.seq_len.value()));
  const std::string batch =
      absl::StrFormat("batch of %s such", Grouped(result.batch));
  Section section{"KV cache", {"what", "bytes", "GB", "GiB"}, {}};
  section.rows.push_back(SizeRow("token", size.token));
  section.rows.push_back(
      SizeRow(absl::StrFormat("block of %d tokens", result.block_size.value()),
              size.block));
  section.rows.push_back(SizeRow(sequence, size.sequence));
  section.rows.push_back(SizeRow(batch, size.total));
  section.rows.push_back(SizeRow(batch + ", in blocks", size.total_blocks));
  if (WindowsMatter(result)) {
    section.rows.push_back(
        SizeRow(sequence + ", windows ignored", size.sequence_unwindowed));
    section.rows.push_back(
        SizeRow(batch + ", windows ignored", size.total_unwindowed));
  }
  return section;
}

Section CacheGroupSection(const CalcGroups& groups, TokenCount length) {
  Section section{
      absl::StrFormat(
          "KV cache groups: blocks of %s B, for %d layers each, and "
          "a sequence of %s tokens",
          Grouped(groups.plan.bytes_per_block.value()),
          groups.plan.layers_per_group, Grouped(length.value())),
      {"group", "tokens per block", "B per page", "padding B", "held B",
       "needed B", "wasted %"},
      {}};
  const auto add = [&section](std::string label, std::string tokens,
                              std::string page, std::string padding,
                              const KvCacheUse& use) {
    section.rows.push_back({std::move(label), std::move(tokens),
                            std::move(page), std::move(padding),
                            Grouped(use.held.value()),
                            Grouped(use.needed.value()),
                            absl::StrFormat("%.2f", use.wasted_percent())});
  };
  for (std::size_t i = 0; i < groups.uses.size(); ++i) {
    const KvCacheGroup& group = groups.plan.groups[i];
    add(KvGroupLabel(group), Grouped(group.block_size.value()),
        Grouped(group.layers.front().page.value()),
        Grouped(group.page_padding.value()), groups.uses[i]);
  }
  add("all", "", "", "", groups.all);
  add("without groups, windows ignored", "", "", "", groups.uniform);
  return section;
}

Section StageSection(const CalcResult& result) {
  Section section{
      absl::StrFormat("Each of %d ranks of a stage", result.tensor_parallel),
      {"stage", "layers", "B per token", "B per block", "batch GB",
       "batch GiB"},
      {}};
  for (const CalcStage& stage : result.stages) {
    section.rows.push_back(
        {absl::StrFormat("%d", section.rows.size()),
         absl::StrFormat("%d", stage.layers), Grouped(stage.size.token.value()),
         Grouped(stage.size.block.value()), FormatGb(stage.size.total),
         FormatGib(stage.size.total)});
  }
  return section;
}

Section FitSection(const CalcResult& result) {
  Section section{
      absl::StrFormat("What fits on each GPU (%.0f %% of it, less weights and "
                      "activations)",
                      result.gpu_memory_utilization * 100),
      {"gpu", "memory GB", "weights GB", "KV GB", "KV GiB", "blocks", "slots",
       absl::StrFormat("largest batch at %s", Grouped(result.seq_len.value()))},
      {}};
  for (const CalcFit& fit : result.fits) {
    section.rows.push_back(
        {fit.gpu ? fit.gpu->name : "given",
         fit.gpu ? FormatGb(fit.gpu->memory) : "-",
         fit.gpu ? FormatGb(fit.weights) : "-", FormatGb(fit.kv_memory),
         FormatGib(fit.kv_memory), Grouped(fit.blocks.value()),
         Grouped(fit.slots.value()), Grouped(fit.max_batch)});
  }
  if (!result.fits.front().gpu) section.title = "What fits in that memory";
  return section;
}

void AddComparison(std::string label, const CalcSize& size,
                   const CalcResult& result, Section& section) {
  section.rows.push_back({std::move(label), Grouped(size.token.value()),
                          Grouped(size.total.value()), FormatGb(size.total),
                          FormatGib(size.total),
                          absl::StrFormat("%.3f", Ratio(size, result))});
}

std::vector<Section> ToSections(const CalcResult& result) {
  std::vector<Section> sections = {FactorSection(result), SizeSection(result)};
  if (result.groups) {
    sections.push_back(CacheGroupSection(*result.groups, result.seq_len));
  }
  if (result.tensor_parallel > 1 || result.pipeline_parallel > 1) {
    sections.push_back(StageSection(result));
  }
  if (!result.fits.empty()) sections.push_back(FitSection(result));

  const std::vector<std::string> header = {"B per token", "batch bytes",
                                           "batch GB", "batch GiB", "ratio"};
  Section attentions{"The same model with other attention", {"attention"}, {}};
  attentions.header.insert(attentions.header.end(), header.begin(),
                           header.end());
  for (const CalcAttention& other : result.attentions) {
    std::string label =
        absl::AsciiStrToUpper(std::string(AttentionName(other.kind)));
    label += other.kind == AttentionKind::kMla
                 ? absl::StrFormat(" (%d + %d)", other.key.head_size,
                                   other.value.head_size)
                 : " (" + HeadsLabel(other.key) + ")";
    AddComparison(std::move(label), other.size, result, attentions);
  }
  Section dtypes{"The same model in other dtypes", {"dtype"}, {}};
  dtypes.header.insert(dtypes.header.end(), header.begin(), header.end());
  const bool has_memory = result.fits.size() == 1;
  if (has_memory) {
    dtypes.header.insert(dtypes.header.end(),
                         {"blocks", "slots",
                          absl::StrFormat("largest batch at %s",
                                          Grouped(result.seq_len.value()))});
  }
  for (const CalcDtype& other : result.dtypes) {
    AddComparison(FormatLabel(other.format), other.size, result, dtypes);
    if (!other.capacity) continue;
    std::vector<std::string>& row = dtypes.rows.back();
    row.push_back(Grouped(other.capacity->blocks.value()));
    row.push_back(Grouped(other.capacity->slots.value()));
    row.push_back(Grouped(other.capacity->max_batch));
  }
  sections.push_back(std::move(attentions));
  sections.push_back(std::move(dtypes));
  sections.push_back(
      {"Keys to project, per layer and sequence (and as many values)",
       {"without a cache: n(n+1)/2", "with it: n"},
       {{Grouped(result.projections_without_cache),
         Grouped(result.projections_with_cache)}}});
  return sections;
}

std::string Title(const CalcResult& result) {
  const ModelSpec& model = result.model;
  std::string title = absl::StrFormat(
      "%s: %s, %d layers, %d query heads", model.name,
      absl::AsciiStrToUpper(std::string(AttentionName(result.attention))),
      model.layers.size(), model.query_heads);
  if (model.max_seq_len > TokenCount(0)) {
    title += absl::StrFormat(", up to %s tokens",
                             Grouped(model.max_seq_len.value()));
  }
  if (model.parameters > 0) {
    title += absl::StrFormat(", %s parameters", Grouped(model.parameters));
  }
  return title + absl::StrFormat(" (%s)", model.source);
}

std::string ToTable(const CalcResult& result) {
  std::string text = Title(result) + "\n";
  for (const Section& section : ToSections(result)) {
    std::vector<std::vector<std::string>> lines = {section.header};
    lines.insert(lines.end(), section.rows.begin(), section.rows.end());
    std::vector<std::size_t> widths(section.header.size(), 0);
    for (const auto& line : lines) {
      for (std::size_t i = 0; i < line.size(); ++i) {
        widths[i] = std::max(widths[i], line[i].size());
      }
    }
    text += absl::StrFormat("\n%s\n", section.title);
    for (const auto& line : lines) {
      for (std::size_t i = 0; i < line.size(); ++i) {
        const int width = static_cast<int>(widths[i]);
        text += absl::StrFormat("  %*s", i == 0 ? -width : width, line[i]);
      }
      text += '\n';
    }
  }
  return text;
}

std::string ToMarkdown(const CalcResult& result) {
  std::string text = absl::StrFormat("# %s\n", Title(result));
  for (const Section& section : ToSections(result)) {
    text += absl::StrFormat("\n## %s\n\n", section.title);
    std::string rule = "|";
    for (std::size_t i = 0; i < section.header.size(); ++i) {
      rule += i == 0 ? "---|" : "---:|";
    }
    const auto add = [&text](const std::vector<std::string>& cells) {
      text += '|';
      for (const std::string& cell : cells) text += " " + cell + " |";
      text += '\n';
    };
    add(section.header);
    text += rule + "\n";
    for (const auto& row : section.rows) add(row);
  }
  return text;
}

}  // namespace

std::string RenderCalc(const CalcResult& result, CalcFormat format) {
  switch (format) {
    case CalcFormat::kJson:
      // A name from a file may hold bytes that are not UTF-8.
      return ToJson(result).dump(2, ' ', false,
                                 json::error_handler_t::replace) +
             "\n";
    case CalcFormat::kCsv:
      return ToCsv(ToJson(result));
    case CalcFormat::kMarkdown:
      return ToMarkdown(result);
    case CalcFormat::kTable:
      break;
  }
  return ToTable(result);
}

}  // namespace pagedkv::sim
