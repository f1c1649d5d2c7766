// SPDX-License-Identifier: Apache-2.0
#ifndef BLOCK_TABLE_SHA256_H_
#define BLOCK_TABLE_SHA256_H_

#include <cstdint>
#include <memory>
#include <span>

#include "pagedkv/block_hash.h"

// OpenSSL's EVP_MD_CTX, whose header stays out of ours.
struct evp_md_ctx_st;

namespace pagedkv::internal {

/// SHA-256 by OpenSSL, of one message after the other: looking the algorithm
/// up, as the constructor does, costs OpenSSL more than digesting a block.
/// OpenSSL 3 allocates the 112 bytes of the state anew for each message.
/// Thread-compatible.
class Sha256 {
 public:
  Sha256();
  Sha256Digest Digest(std::span<const std::uint8_t> message);

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}  // namespace pagedkv::internal

#endif  // BLOCK_TABLE_SHA256_H_
