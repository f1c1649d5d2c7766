// SPDX-License-Identifier: Apache-2.0
//
// replay_policy POLICY CAPACITY < IDS
//
// Replays a stream of content ids, separated by white space, through a cache of
// so many blocks in the textbook manner, and prints the number of hits.

#include <charconv>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string_view>

#include "pagedkv/eviction_policy.h"
#include "tests/support/cache_simulator.h"

int main(int argc, char** argv) {
  std::int32_t capacity = 0;
  const std::string_view number = argc == 3 ? argv[2] : "";
  if (std::from_chars(number.data(), number.data() + number.size(), capacity)
          .ec != std::errc()) {
    std::cerr << "usage: replay_policy POLICY CAPACITY < IDS\n";
    return 2;
  }
  const auto policy = pagedkv::CreateEvictionPolicy(
      argv[1], pagedkv::BlockCount(std::int64_t{capacity} + 1));
  if (!policy.ok()) {
    std::cerr << "replay_policy: " << policy.status() << '\n';
    return 2;
  }
  pagedkv::CacheSimulator cache(**policy, capacity);
  std::int64_t hits = 0;
  for (std::uint64_t content = 0; std::cin >> content;) {
    hits += cache.Access(content) ? 1 : 0;
  }
  if (const absl::Status status = (*policy)->CheckInvariants(); !status.ok()) {
    std::cerr << "replay_policy: " << status << '\n';
    return 1;
  }
  std::cout << hits << '\n';
  return 0;
}
