// SPDX-License-Identifier: Apache-2.0
//
// A publisher for kv_event_subscriber_test.py:
//
//   publish_events ENDPOINT REPLAY_ENDPOINT RANK TOPIC map|array MAX_REPLAY
//
// Prints the two endpoints. Each line of its input is a batch, each word of it
// an event: `stored:5`, `removed:5`, `cleared`. It prints the batch's number.

#include <array>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "backends/zmq/kv_event_publisher.h"
#include "pagedkv/kv_event_encoding.h"
#include "pagedkv/kv_events.h"

namespace {

std::vector<pagedkv::KvEvent> ParseEvents(const std::string& line) {
  std::vector<pagedkv::KvEvent> events;
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    const std::size_t colon = word.find(':');
    if (colon == std::string::npos) {
      events.emplace_back(pagedkv::AllBlocksCleared{});
      continue;
    }
    std::array<std::uint8_t, 32> digest{};
    digest[31] = static_cast<std::uint8_t>(std::atoi(word.c_str() + colon + 1));
    const pagedkv::BlockHash hash(digest);
    if (word.starts_with("stored")) {
      events.emplace_back(
          pagedkv::BlocksStored{.group = 1,
                                .hashes = {hash},
                                .tokens = {1, 2},
                                .block_size = 2,
                                .extra = {{"lora", "salt"}},
                                .adapter = "lora",
                                .kind = pagedkv::AttentionKind::kSlidingWindow,
                                .window = 128});
    } else {
      events.emplace_back(
          pagedkv::BlocksRemoved{.group = 1,
                                 .hashes = {hash},
                                 .reason = pagedkv::RemovalReason::kExpired});
    }
  }
  return events;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  const int rank = std::atoi(argv[3]);
  const auto publisher = pagedkv::KvEventPublisher::Create(
      {.endpoint = argv[1],
       .replay_endpoint = argv[2],
       .topic = argv[4],
       .data_parallel_rank = rank,
       .max_replay_batches = static_cast<std::size_t>(std::atoi(argv[6]))});
  if (!publisher.ok()) {
    std::cerr << publisher.status() << '\n';
    return 1;
  }
  // With reasons, which subscribers of vLLM's do not know.
  const pagedkv::KvEventEncodingOptions options{
      .form = std::string(argv[5]) == "map" ? pagedkv::KvEventForm::kMap
                                            : pagedkv::KvEventForm::kArray,
      .with_reasons = true};
  std::cout << (*publisher)->endpoint() << '\n'
            << (*publisher)->replay_endpoint() << '\n'
            << std::flush;
  for (std::string line; std::getline(std::cin, line);) {
    const auto number = (*publisher)
                            ->Publish(pagedkv::EncodeEventBatch(
                                1.5, ParseEvents(line), rank, options));
    if (!number.ok()) return 1;
    std::cout << *number << '\n' << std::flush;
  }
}
