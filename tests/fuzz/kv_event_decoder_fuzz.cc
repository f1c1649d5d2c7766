// SPDX-License-Identifier: Apache-2.0
//
// Bytes of events from anywhere: an error names a byte of the input, and what
// decodes is the same again after encoding it. A view that follows the events
// keeps its invariants, whether it takes them or refuses them.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"

#include "base/check.h"
#include "pagedkv/kv_event_encoding.h"
#include "pagedkv/kv_index_view.h"
#include "tests/fuzz/fuzz_target.h"

namespace pagedkv {
namespace {

// Nothing is lost in this form.
constexpr KvEventEncodingOptions kComplete{.hashes = KvEventHashes::kBytes,
                                           .with_reasons = true};

void CheckNamesAByte(const std::string& message, std::size_t size) {
  PAGEDKV_CHECK(message.starts_with("byte "));
  const std::size_t colon = message.find(':');
  PAGEDKV_CHECK(colon != std::string::npos);
  std::uint64_t offset = 0;
  PAGEDKV_CHECK(absl::SimpleAtoi(message.substr(5, colon - 5), &offset));
  PAGEDKV_CHECK(offset <= size);
}

void CheckComesBack(const DecodedEventBatch& batch) {
  for (const KvEventForm form : {KvEventForm::kMap, KvEventForm::kArray}) {
    KvEventEncodingOptions options = kComplete;
    options.form = form;
    const auto again =
        DecodeEventBatch(EncodeEventBatch(batch.timestamp_seconds, batch.events,
                                          batch.data_parallel_rank, options));
    PAGEDKV_CHECK(again.ok());
    // Bits, since a timestamp may be no number.
    PAGEDKV_CHECK(std::bit_cast<std::uint64_t>(again->timestamp_seconds) ==
                  std::bit_cast<std::uint64_t>(batch.timestamp_seconds));
    PAGEDKV_CHECK(again->data_parallel_rank == batch.data_parallel_rank);
    PAGEDKV_CHECK(again->events.size() == batch.events.size());
    // The array form has no reasons.
    PAGEDKV_CHECK(form == KvEventForm::kArray || again->events == batch.events);
  }
}

}  // namespace

std::vector<std::vector<std::uint8_t>> FuzzSeeds() {
  std::array<std::uint8_t, 32> digest;
  digest.fill(0xab);
  const BlockHash hash(digest);
  const std::vector<KvEvent> events = {
      BlocksStored{.group = 1,
                   .hashes = {hash, hash},
                   .parent = hash,
                   .tokens = {1, -200, 70000, 3},
                   .block_size = 2,
                   .extra = {{"lora", ItemAtOffset("image", -3)}, {digest}},
                   .adapter_id = 300,
                   .adapter = "lora",
                   .kind = AttentionKind::kSlidingWindow,
                   .window = 128},
      BlocksRemoved{
          .group = 1, .hashes = {hash}, .reason = RemovalReason::kExpired},
      AllBlocksCleared{}};
  std::vector<std::vector<std::uint8_t>> seeds;
  for (const KvEventForm form : {KvEventForm::kMap, KvEventForm::kArray}) {
    for (const KvEventHashes hashes :
         {KvEventHashes::kInt64, KvEventHashes::kBytes}) {
      seeds.push_back(EncodeEventBatch(
          1700000000.125, events, 3,
          {.form = form, .hashes = hashes, .with_reasons = true}));
    }
  }
  seeds.push_back(EncodeEventBatch(0, {}, std::nullopt));
  return seeds;
}

}  // namespace pagedkv

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const auto batch = pagedkv::DecodeEventBatch(std::span(data, size));
  if (!batch.ok()) {
    PAGEDKV_CHECK(batch.status().code() == absl::StatusCode::kInvalidArgument);
    pagedkv::CheckNamesAByte(std::string(batch.status().message()), size);
    return 0;
  }
  pagedkv::CheckComesBack(*batch);
  pagedkv::KvIndexView view;
  const bool taken = view.Apply({0, batch->events}).ok();
  view.CheckInvariants();
  PAGEDKV_CHECK(view.next_sequence() == (taken ? batch->events.size() : 0));
  PAGEDKV_CHECK(taken || view.num_blocks() == 0);
  PAGEDKV_CHECK(pagedkv::KvIndexView::Create(view.Snapshot()).ok());
  return 0;
}
