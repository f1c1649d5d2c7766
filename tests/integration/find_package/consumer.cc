// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "pagedkv/block_hash.h"
#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/scheduler.h"

int main() {
  auto cache = pagedkv::KvCacheManager::Create(
      {.pool = {.num_blocks = pagedkv::BlockCount(8)},
       .max_sequence_tokens = pagedkv::TokenCount(64)});
  if (!cache.ok()) return 1;
  auto scheduler = pagedkv::Scheduler::Create({}, *cache);
  if (!scheduler.ok()) return 1;
  const auto sequence = cache->AddSequence();
  if (!sequence.ok()) return 1;
  const auto appended = cache->TryAppend(*sequence, pagedkv::TokenCount(17));
  if (!appended.ok() || !*appended) return 1;
  pagedkv::BlockHasher hasher(pagedkv::BlockHashAlgorithm::kSha256Cbor, "0");
  if (hasher.Hash({}, {}).empty()) return 1;
  std::cout << "blocks:";
  for (const pagedkv::BlockId block : cache->block_table(*sequence)) {
    std::cout << ' ' << block.value();
  }
  std::cout << '\n';
}
