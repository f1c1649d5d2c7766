// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_event_encoding.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/strings/str_format.h"

#include "base/check.h"
#include "block_table/msgpack.h"

namespace pagedkv {
namespace {

using internal::MsgpackInt;
using internal::MsgpackReader;
using internal::MsgpackWriter;
using Type = MsgpackReader::Type;

constexpr std::string_view kStored = "BlockStored";
constexpr std::string_view kRemoved = "BlockRemoved";
constexpr std::string_view kCleared = "AllBlocksCleared";

// The fields of all events.
enum class Field : std::uint8_t {
  kHashes,
  kParent,
  kTokens,
  kBlockSize,
  kAdapterId,
  kTier,
  kAdapter,
  kExtraKeys,
  kGroup,
  kKind,
  kWindow,
  kReason,
  kUnknown,
};

// [Field]
constexpr std::string_view kFieldNames[] = {
    "block_hashes",
    "parent_block_hash",
    "token_ids",
    "block_size",
    "lora_id",
    "medium",
    "lora_name",
    "extra_keys",
    "group_idx",
    "kv_cache_spec_kind",
    "kv_cache_spec_sliding_window",
    "reason",
};

// The array form's order. What follows there is `locality` and younger fields.
constexpr Field kStoredFields[] = {
    Field::kHashes,    Field::kParent, Field::kTokens,  Field::kBlockSize,
    Field::kAdapterId, Field::kTier,   Field::kAdapter, Field::kExtraKeys,
    Field::kGroup,     Field::kKind,   Field::kWindow};
constexpr Field kRemovedFields[] = {Field::kHashes, Field::kTier,
                                    Field::kGroup};

constexpr std::string_view FieldName(Field field) {
  return kFieldNames[static_cast<std::size_t>(field)];
}

constexpr unsigned Bit(Field field) {
  return 1u << static_cast<unsigned>(field);
}

Field FieldOf(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kFieldNames); ++i) {
    if (kFieldNames[i] == name) return static_cast<Field>(i);
  }
  return Field::kUnknown;
}

// vLLM's KVCacheSpecKind. Each kind is written with the first name that it has;
// the others are nearer to it than to any other kind.
constexpr std::pair<std::string_view, AttentionKind> kKinds[] = {
    {"full_attention", AttentionKind::kFull},
    {"sliding_window", AttentionKind::kSlidingWindow},
    {"chunked_local_attention", AttentionKind::kChunkedLocal},
    {"mla_attention", AttentionKind::kLatent},
    {"cross_attention", AttentionKind::kCross},
    {"mamba", AttentionKind::kStateSpace},
    {"sink_full_attention", AttentionKind::kFull},
    {"sliding_window_mla", AttentionKind::kSlidingWindow},
};

std::string_view KindName(AttentionKind kind) {
  for (const auto& [name, value] : kKinds) {
    if (value == kind) return name;
  }
  PAGEDKV_CHECK(false);
}

// [RemovalReason]
constexpr std::string_view kReasons[] = {"capacity", "reset",   "evicted",
                                         "weights",  "expired", "invalid"};

class Encoder {
 public:
  Encoder(const KvEventEncodingOptions& options, std::vector<std::uint8_t>* out)
      : options_(options),
        is_map_(options.form == KvEventForm::kMap),
        out_(out) {}

  void Batch(double timestamp_seconds, std::span<const KvEvent> events,
             std::optional<std::int64_t> data_parallel_rank) {
    out_.Array(3);
    out_.Double(timestamp_seconds);
    out_.Array(events.size());
    for (const KvEvent& event : events) {
      std::visit([this](const auto& e) { Event(e); }, event);
    }
    IntOrNil(data_parallel_rank);
  }

 private:
  void Event(const BlocksStored& event) {
    const bool has_extra = !event.extra.empty();
    if (is_map_) {
      Begin(kStored, std::size_t{9} + (has_extra ? 1 : 0) +
                         (event.kind.has_value() ? 1 : 0) +
                         (event.window.has_value() ? 1 : 0));
    } else {
      Begin(kStored, 1 + std::size(kStoredFields));
    }
    Hashes(event.hashes);
    Key(Field::kParent);
    if (event.parent.empty()) {
      out_.Nil();
    } else {
      Hash(event.parent);
    }
    Key(Field::kTokens);
    out_.Array(event.tokens.size());
    for (const TokenId token : event.tokens) out_.Int(token);
    Key(Field::kBlockSize);
    out_.Int(event.block_size);
    Key(Field::kAdapterId);
    IntOrNil(event.adapter_id);
    Key(Field::kTier);
    StringOrNil(event.tier);
    Key(Field::kAdapter);
    StringOrNil(event.adapter);
    if (Optional(Field::kExtraKeys, has_extra)) {
      out_.Array(event.extra.size());
      for (const ExtraKeys& keys : event.extra) Extra(keys);
    }
    Key(Field::kGroup);
    out_.Int(event.group);
    if (Optional(Field::kKind, event.kind.has_value())) {
      out_.String(KindName(*event.kind));
    }
    if (Optional(Field::kWindow, event.window.has_value())) {
      out_.Int(*event.window);
    }
  }

  void Event(const BlocksRemoved& event) {
    Begin(kRemoved, 4 + NumReasons());
    Hashes(event.hashes);
    Key(Field::kTier);
    StringOrNil(event.tier);
    Key(Field::kGroup);
    out_.Int(event.group);
    Reason(event.reason);
  }

  void Event(const AllBlocksCleared& event) {
    Begin(kCleared, 1 + NumReasons());
    Reason(event.reason);
  }

  // `size` counts the tag.
  void Begin(std::string_view tag, std::size_t size) {
    if (is_map_) {
      out_.Map(size);
      out_.String("type");
    } else {
      out_.Array(size);
    }
    out_.String(tag);
  }

  void Key(Field field) {
    if (is_map_) out_.String(FieldName(field));
  }

  // Whether the field's value is to be written. Without one, the array form has
  // nil in its place, and the map form nothing.
  bool Optional(Field field, bool has_value) {
    if (has_value) {
      Key(field);
    } else if (!is_map_) {
      out_.Nil();
    }
    return has_value;
  }

  [[nodiscard]] std::size_t NumReasons() const {
    return is_map_ && options_.with_reasons ? 1 : 0;
  }

  void Reason(RemovalReason reason) {
    if (NumReasons() == 0) return;
    Key(Field::kReason);
    out_.String(kReasons[static_cast<std::size_t>(reason)]);
  }

  void Hashes(const std::vector<BlockHash>& hashes) {
    Key(Field::kHashes);
    out_.Array(hashes.size());
    for (const BlockHash& hash : hashes) Hash(hash);
  }

  void Hash(const BlockHash& hash) {
    if (options_.hashes == KvEventHashes::kInt64) {
      out_.Uint(hash.ToInt());
    } else {
      out_.Binary(hash.bytes());
    }
  }

  void Extra(const ExtraKeys& keys) {
    if (keys.empty()) return out_.Nil();
    out_.Array(keys.size());
    for (const ExtraKey& key : keys) {
      if (const auto* text = std::get_if<std::string>(&key)) {
        out_.String(*text);
      } else if (const auto* item = std::get_if<ItemAtOffset>(&key)) {
        out_.Array(2);
        out_.String(item->first);
        out_.Int(item->second);
      } else {
        out_.Binary(std::get<Sha256Digest>(key));
      }
    }
  }

  void IntOrNil(std::optional<std::int64_t> value) {
    value.has_value() ? out_.Int(*value) : out_.Nil();
  }

  void StringOrNil(std::string_view value) {
    value.empty() ? out_.Nil() : out_.String(value);
  }

  const KvEventEncodingOptions& options_;
  bool is_map_;
  MsgpackWriter out_;
};

// An event of which it is not known yet what it is: by name, the fields may
// come in any order, and the type last.
struct AnyEvent {
  BlocksStored fields{.tier = {}, .kind = std::nullopt};
  std::optional<RemovalReason> reason;
  unsigned seen = 0;  // bits of Field
};

class Decoder {
 public:
  explicit Decoder(std::span<const std::uint8_t> bytes) : in_(bytes) {}

  [[nodiscard]] const absl::Status& status() const { return in_.status(); }

  bool Batch(DecodedEventBatch* batch) {
    std::size_t size = 0;
    std::size_t num_events = 0;
    if (!in_.ReadArray(&size)) return false;
    if (size < 2) {
      return in_.Fail(0, "a batch is [timestamp, events, data-parallel rank]");
    }
    if (!in_.ReadNumber(&batch->timestamp_seconds) ||
        !in_.ReadArray(&num_events)) {
      return false;
    }
    for (std::size_t i = 0; i < num_events; ++i) {
      if (!Event(&batch->events)) return false;
    }
    if (size > 2 && !IntOrNil(&batch->data_parallel_rank)) return false;
    for (std::size_t i = 3; i < size; ++i) {
      if (!in_.Skip()) return false;
    }
    return in_.remaining() == 0 ||
           in_.Fail(in_.offset(), "the batch ended before this byte");
  }

 private:
  bool Event(std::vector<KvEvent>* events) {
    const std::size_t start = in_.offset();
    AnyEvent event;
    std::string_view tag;
    if (!(in_.Peek() == Type::kMap ? ByName(&tag, &event)
                                   : ByPosition(&tag, &event))) {
      return false;
    }
    BlocksStored& fields = event.fields;
    if (tag == kStored) {
      if (!Require(start, event,
                   {Field::kHashes, Field::kParent, Field::kTokens,
                    Field::kBlockSize})) {
        return false;
      }
      events->emplace_back(std::move(fields));
    } else if (tag == kRemoved) {
      if (!Require(start, event, {Field::kHashes})) return false;
      events->emplace_back(
          BlocksRemoved{.group = fields.group,
                        .hashes = std::move(fields.hashes),
                        .reason = event.reason.value_or(BlocksRemoved{}.reason),
                        .tier = std::move(fields.tier)});
    } else if (tag == kCleared) {
      events->emplace_back(AllBlocksCleared{
          .reason = event.reason.value_or(AllBlocksCleared{}.reason)});
    } else {
      return UnknownTag(start);
    }
    return true;
  }

  bool ByName(std::string_view* tag, AnyEvent* event) {
    std::size_t size = 0;
    if (!in_.ReadMap(&size)) return false;
    for (std::size_t i = 0; i < size; ++i) {
      std::string_view name;
      if (!in_.ReadString(&name)) return false;
      if (!(name == "type" ? in_.ReadString(tag)
                           : Value(FieldOf(name), event))) {
        return false;
      }
    }
    return true;
  }

  bool ByPosition(std::string_view* tag, AnyEvent* event) {
    const std::size_t start = in_.offset();
    std::size_t size = 0;
    if (!in_.ReadArray(&size)) return false;
    if (size == 0) return in_.Fail(start, "an event has no type");
    if (!in_.ReadString(tag)) return false;
    std::span<const Field> fields;
    if (*tag == kStored) {
      fields = kStoredFields;
    } else if (*tag == kRemoved) {
      fields = kRemovedFields;
    } else if (*tag != kCleared) {
      return UnknownTag(start);
    }
    for (std::size_t i = 0; i < size - 1; ++i) {
      if (!Value(i < fields.size() ? fields[i] : Field::kUnknown, event)) {
        return false;
      }
    }
    return true;
  }

  bool UnknownTag(std::size_t start) {
    return in_.Fail(start,
                    absl::StrFormat("the type of an event must be %s, "
                                    "%s or %s",
                                    std::string(kStored), std::string(kRemoved),
                                    std::string(kCleared)));
  }

  bool Require(std::size_t start, const AnyEvent& event,
               std::initializer_list<Field> fields) {
    for (const Field field : fields) {
      if ((event.seen & Bit(field)) == 0) {
        return in_.Fail(start, absl::StrFormat("the event has no %s",
                                               std::string(FieldName(field))));
      }
    }
    return true;
  }

  bool Value(Field field, AnyEvent* event) {
    constexpr std::int64_t kMaxInt = std::numeric_limits<std::int32_t>::max();
    BlocksStored& fields = event->fields;
    std::int64_t number = 0;
    event->seen |= Bit(field);
    switch (field) {
      case Field::kHashes:
        return Hashes(&fields.hashes);
      case Field::kParent:
        fields.parent = BlockHash();
        return TryNil() || Hash(&fields.parent);
      case Field::kTokens:
        return Tokens(&fields.tokens);
      case Field::kBlockSize:
        if (!in_.ReadInt(1, kMaxInt, &number)) return false;
        fields.block_size = static_cast<std::int32_t>(number);
        return true;
      case Field::kAdapterId:
        return IntOrNil(&fields.adapter_id);
      case Field::kTier:
        return StringOrNil(&fields.tier);
      case Field::kAdapter:
        return StringOrNil(&fields.adapter);
      case Field::kExtraKeys:
        return Extra(&fields.extra);
      case Field::kGroup:
        if (!TryNil() && !in_.ReadInt(0, kMaxInt, &number)) return false;
        fields.group = static_cast<int>(number);
        return true;
      case Field::kKind:
        return Kind(&fields.kind);
      case Field::kWindow:
        return IntOrNil(&fields.window);
      case Field::kReason:
        return Reason(&event->reason);
      case Field::kUnknown:
        return in_.Skip();
    }
    return false;
  }

  bool TryNil() { return in_.TryNil(); }

  bool IntOrNil(std::optional<std::int64_t>* value) {
    value->reset();
    return TryNil() || in_.ReadInt(std::numeric_limits<std::int64_t>::min(),
                                   std::numeric_limits<std::int64_t>::max(),
                                   &value->emplace());
  }

  bool StringOrNil(std::string* value) {
    value->clear();
    std::string_view text;
    if (TryNil()) return true;
    if (!in_.ReadString(&text)) return false;
    value->assign(text);
    return true;
  }

  bool Hash(BlockHash* hash) {
    const std::size_t start = in_.offset();
    if (in_.Peek() == Type::kBinary) {
      std::span<const std::uint8_t> bytes;
      if (!in_.ReadBinary(&bytes)) return false;
      if (bytes.empty() || bytes.size() > std::tuple_size_v<Sha256Digest>) {
        return in_.Fail(start, "a hash has 1 to 32 bytes");
      }
      *hash = BlockHash(bytes);
      return true;
    }
    // Versions of vLLM that hashed with Python's hash() sent negative ones.
    MsgpackInt number;
    if (!in_.ReadInt(&number)) return false;
    std::array<std::uint8_t, 8> bytes;
    for (int i = 0; i < 8; ++i) {
      bytes[static_cast<std::size_t>(i)] =
          static_cast<std::uint8_t>(number.bits >> (56 - 8 * i));
    }
    *hash = BlockHash(bytes);
    return true;
  }

  bool Hashes(std::vector<BlockHash>* hashes) {
    std::size_t size = 0;
    if (!in_.ReadArray(&size)) return false;
    hashes->clear();
    for (std::size_t i = 0; i < size; ++i) {
      if (!Hash(&hashes->emplace_back())) return false;
    }
    return true;
  }

  bool Tokens(std::vector<TokenId>* tokens) {
    std::size_t size = 0;
    if (!in_.ReadArray(&size)) return false;
    tokens->clear();
    tokens->reserve(size);
    for (std::size_t i = 0; i < size; ++i) {
      std::int64_t token = 0;
      if (!in_.ReadInt(std::numeric_limits<TokenId>::min(),
                       std::numeric_limits<TokenId>::max(), &token)) {
        return false;
      }
      tokens->push_back(static_cast<TokenId>(token));
    }
    return true;
  }

  bool Extra(std::vector<ExtraKeys>* extra) {
    std::size_t size = 0;
    extra->clear();
    if (TryNil()) return true;
    if (!in_.ReadArray(&size)) return false;
    for (std::size_t i = 0; i < size; ++i) {
      ExtraKeys& keys = extra->emplace_back();
      std::size_t num_keys = 0;
      if (TryNil()) continue;
      if (!in_.ReadArray(&num_keys)) return false;
      for (std::size_t j = 0; j < num_keys; ++j) {
        if (!Key(&keys.emplace_back())) return false;
      }
    }
    return true;
  }

  bool Key(ExtraKey* key) {
    const std::size_t start = in_.offset();
    std::string_view text;
    if (in_.Peek() == Type::kString) {
      if (!in_.ReadString(&text)) return false;
      key->emplace<std::string>(text);
      return true;
    }
    if (in_.Peek() == Type::kBinary) {
      std::span<const std::uint8_t> bytes;
      if (!in_.ReadBinary(&bytes)) return false;
      auto& digest = key->emplace<Sha256Digest>();
      if (bytes.size() != digest.size()) {
        return in_.Fail(start, "the digest of embeddings has 32 bytes");
      }
      std::copy(bytes.begin(), bytes.end(), digest.begin());
      return true;
    }
    std::size_t size = 0;
    if (in_.Peek() != Type::kArray) {
      return in_.Fail(start, "an extra key is a string, a pair or a digest");
    }
    if (!in_.ReadArray(&size)) return false;
    if (size != 2) return in_.Fail(start, "an item is [identifier, offset]");
    auto& item = key->emplace<ItemAtOffset>();
    if (!in_.ReadString(&text)) return false;
    item.first.assign(text);
    return in_.ReadInt(std::numeric_limits<std::int64_t>::min(),
                       std::numeric_limits<std::int64_t>::max(), &item.second);
  }

  bool Kind(std::optional<AttentionKind>* kind) {
    kind->reset();
    std::string_view text;
    if (TryNil()) return true;
    if (!in_.ReadString(&text)) return false;
    for (const auto& [name, value] : kKinds) {
      if (name == text) *kind = value;
    }
    return true;
  }

  // A younger version may know more reasons: those are none.
  bool Reason(std::optional<RemovalReason>* reason) {
    reason->reset();
    std::string_view text;
    if (TryNil()) return true;
    if (!in_.ReadString(&text)) return false;
    for (std::size_t i = 0; i < std::size(kReasons); ++i) {
      if (kReasons[i] == text) *reason = static_cast<RemovalReason>(i);
    }
    return true;
  }

  MsgpackReader in_;
};

}  // namespace

std::vector<std::uint8_t> EncodeEventBatch(
    double timestamp_seconds, std::span<const KvEvent> events,
    std::optional<std::int64_t> data_parallel_rank,
    const KvEventEncodingOptions& options) {
  std::vector<std::uint8_t> out;
  Encoder(options, &out).Batch(timestamp_seconds, events, data_parallel_rank);
  return out;
}

absl::StatusOr<DecodedEventBatch> DecodeEventBatch(
    std::span<const std::uint8_t> bytes) {
  if (bytes.size() > kMaxEventBatchBytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "byte %d: a batch has no more bytes than that", kMaxEventBatchBytes));
  }
  Decoder decoder(bytes);
  DecodedEventBatch batch;
  if (!decoder.Batch(&batch)) return decoder.status();
  return batch;
}

}  // namespace pagedkv
