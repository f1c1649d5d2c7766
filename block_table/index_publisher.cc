// SPDX-License-Identifier: Apache-2.0
#include "block_table/index_publisher.h"

#include <variant>

namespace pagedkv {

void IndexPublisher::Follow(const KvEvent& event) {
  if (const auto* stored = std::get_if<BlocksStored>(&event)) {
    for (const BlockHash& hash : stored->hashes) {
      digest_->Add(stored->group, stored->tier, hash);
    }
  } else if (const auto* removed = std::get_if<BlocksRemoved>(&event)) {
    for (const BlockHash& hash : removed->hashes) {
      digest_->Remove(removed->group, removed->tier, hash);
    }
  } else {
    digest_ = IndexDigest();
  }
}

}  // namespace pagedkv
