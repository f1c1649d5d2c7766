// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_layout.h"

#include <bit>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"

#include "allocator/kv_tensor_bytes.h"

namespace pagedkv {
namespace {

constexpr std::int32_t kMaxAlignment = 4096;
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 62;

bool IsMetadataWidth(std::int32_t bits) {
  return bits == 0 || bits == 16 || bits == 32;
}

// Names what storages and kernels cannot do with a tensor that the geometry
// allows; null if nothing.
const char* ProblemOf(const KvTensor& tensor) {
  const KvFormat& format = tensor.format;
  if (std::int64_t{tensor.head_size} * KvDtypeBits(format.dtype) % 8 != 0) {
    return "the elements of a head do not fill whole bytes";
  }
  if (!IsMetadataWidth(format.scale_bits) ||
      !IsMetadataWidth(format.zero_point_bits)) {
    return "scales and zero points have 0, 16 or 32 bits";
  }
  if (format.scheme != ScaleScheme::kTensor && format.scale_bits == 0) {
    return "a scale for less than the tensor needs bits";
  }
  if (format.zero_point_bits != 0 &&
      format.zero_point_bits != format.scale_bits) {
    return "a zero point has as many bits as its scale, or none";
  }
  return nullptr;
}

absl::Status CheckGroup(const KvLayoutGroup& group, std::int32_t alignment) {
  // Checks the layers, and that the bytes of a block can be counted.
  const absl::StatusOr<KvGeometry> geometry =
      KvGeometry::Create(group.layers, group.block_size);
  if (!geometry.ok()) return geometry.status();
  const auto num_tensors = 2 * static_cast<std::int64_t>(group.layers.size());
  if (geometry->bytes_per_block().value() >
      kMaxBytes - 2 * num_tensors * alignment) {
    return absl::InvalidArgumentError("a block exceeds 2^62 bytes");
  }
  for (std::size_t i = 0; i < group.layers.size(); ++i) {
    const KvLayer& layer = group.layers[i];
    const char* problem = nullptr;
    if (!layer.stores_kv()) {
      problem = "stores no keys and values";
    } else {
      problem = ProblemOf(layer.key);
      if (problem == nullptr && layer.value.heads > 0) {
        problem = ProblemOf(layer.value);
      }
    }
    if (problem != nullptr) {
      return absl::InvalidArgumentError(
          absl::StrFormat("layer %d: %s", i, problem));
    }
  }
  return absl::OkStatus();
}

// Rounds up to a power of two.
std::int64_t AlignUp(std::int64_t bytes, std::int64_t alignment) {
  return (bytes + alignment - 1) & -alignment;
}

}  // namespace

// Puts the tensors of one group one behind the other, arena by arena.
class KvLayout::GroupBuilder {
 public:
  GroupBuilder(const KvLayoutOptions& options, BlockSize block_size)
      : order_(options.order),
        alignment_(options.alignment),
        block_size_(block_size.value()) {
    storage_.block_size = block_size;
  }

  void Add(const KvLayer& layer, KvArrangement arrangement) {
    LayerPlaces places;
    const bool has_value = layer.value.heads > 0;
    places.key = Put(layer.key);
    if (arrangement == KvArrangement::kSplit && has_value) FinishArena();
    if (has_value) places.value = Put(layer.value);
    if (arrangement != KvArrangement::kBlockFirst) FinishArena();
    layers_.push_back(places);
  }

  void Finish(KvLayout& layout) {
    if (num_bytes_ > 0) FinishArena();
    layout.groups_.push_back(std::move(layers_));
    layout.storage_layout_.groups.push_back(std::move(storage_));
  }

 private:
  Place Put(const KvTensor& tensor) {
    Place place{.storage_layer = static_cast<int>(storage_.layers.size()),
                .offset = num_bytes_,
                .view = {.tensor = tensor, .block_size = block_size_}};
    KvTensorView& view = place.view;
    const std::int64_t vector = VectorBytes(tensor);
    SetStrides(vector, block_size_, tensor.heads, view.token_stride,
               view.head_stride);
    view.scale_offset =
        AlignUp(vector * tensor.heads * block_size_, alignment_);

    std::int32_t scale_rows = block_size_;
    if (tensor.format.scheme == ScaleScheme::kChannel) {
      view.channel_run =
          tensor.format.group > 0 ? tensor.format.group : block_size_;
      scale_rows = block_size_ / view.channel_run;
    }
    const std::int64_t scales = ScalesPerVector(tensor) * view.scale_bytes();
    SetStrides(scales, scale_rows, tensor.heads, view.scale_token_stride,
               view.scale_head_stride);
    num_bytes_ += view.scale_offset +
                  AlignUp(scales * scale_rows * tensor.heads, alignment_);
    // Whether the first tokens are the first bytes.
    token_major_ = place.offset == 0 && scales == 0 &&
                   (order_ == KvOrder::kNhd || tensor.heads == 1) &&
                   num_bytes_ == vector * tensor.heads * block_size_;
    return place;
  }

  // Of `rows` x `heads` things of so many bytes.
  void SetStrides(std::int64_t bytes, std::int64_t rows, std::int64_t heads,
                  std::int64_t& row_stride, std::int64_t& head_stride) const {
    row_stride = order_ == KvOrder::kNhd ? heads * bytes : bytes;
    head_stride = order_ == KvOrder::kNhd ? bytes : rows * bytes;
  }

  void FinishArena() {
    storage_.layers.push_back(
        {.bytes_per_block = Bytes(num_bytes_), .token_major = token_major_});
    num_bytes_ = 0;
  }

  KvOrder order_;
  std::int64_t alignment_;
  std::int32_t block_size_;
  GroupLayout storage_;
  std::vector<LayerPlaces> layers_;
  std::int64_t num_bytes_ = 0;  // of a block, in the arena under way
  bool token_major_ = false;    // that arena
};

absl::StatusOr<KvLayout> KvLayout::Create(const KvLayoutOptions& options) {
  if (options.alignment < 1 || options.alignment > kMaxAlignment ||
      !std::has_single_bit(static_cast<std::uint32_t>(options.alignment))) {
    return absl::InvalidArgumentError(
        absl::StrFormat("alignment is %d; give a power of two from 1 to %d",
                        options.alignment, kMaxAlignment));
  }
  if (options.groups.empty()) {
    return absl::InvalidArgumentError("no groups; give at least one");
  }
  KvLayout layout;
  layout.storage_layout_.num_blocks = options.num_blocks;
  for (std::size_t g = 0; g < options.groups.size(); ++g) {
    const KvLayoutGroup& group = options.groups[g];
    if (absl::Status status = CheckGroup(group, options.alignment);
        !status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("group %d: %s", g, std::string(status.message())));
    }
    GroupBuilder builder(options, group.block_size);
    for (const KvLayer& layer : group.layers) {
      builder.Add(layer, options.arrangement);
    }
    builder.Finish(layout);
  }
  return layout;
}

KvTensorView KvLayout::View(std::byte* arena, int group, int layer,
                            KvRole role) const {
  const Place& where = place(group, layer, role);
  KvTensorView view = where.view;
  // A null arena has offsets, which pointers do not: added as a number.
  view.base =
      reinterpret_cast<std::byte*>(reinterpret_cast<std::uintptr_t>(arena) +
                                   static_cast<std::uintptr_t>(where.offset));
  view.block_stride = storage_layout_.groups[static_cast<std::size_t>(group)]
                          .layers[static_cast<std::size_t>(where.storage_layer)]
                          .bytes_per_block.value();
  return view;
}

KvTensorView KvLayout::View(const BlockStorage& storage, int group, int layer,
                            KvRole role) const {
  const BlockArena arena =
      storage.arena(group, place(group, layer, role).storage_layer);
  KvTensorView view = View(arena.base, group, layer, role);
  view.block_stride = arena.block_stride.value();
  return view;
}

}  // namespace pagedkv
