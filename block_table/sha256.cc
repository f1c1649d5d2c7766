// SPDX-License-Identifier: Apache-2.0
#include "block_table/sha256.h"

#include <openssl/evp.h>

#include "base/check.h"

namespace pagedkv::internal {

// OpenSSL fails here only without memory or without its own default provider.
Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  PAGEDKV_CHECK(context_ != nullptr);
  PAGEDKV_CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

Sha256Digest Sha256::Digest(std::span<const std::uint8_t> message) {
  Sha256Digest digest;
  EVP_MD_CTX* const context = context_.get();
  // Without a type the context keeps the one that it has.
  PAGEDKV_CHECK(EVP_DigestInit_ex(context, nullptr, nullptr) == 1);
  PAGEDKV_CHECK(EVP_DigestUpdate(context, message.data(), message.size()) == 1);
  PAGEDKV_CHECK(EVP_DigestFinal_ex(context, digest.data(), nullptr) == 1);
  return digest;
}

void Sha256::Free::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

}  // namespace pagedkv::internal
