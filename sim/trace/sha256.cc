// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/sha256.h"

#include <openssl/evp.h>

#include <array>
#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"

namespace pagedkv::sim {

struct Sha256::Context {
  EVP_MD_CTX* digest = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(digest); }
};

namespace {

// OpenSSL fails here only without memory or without its own default provider.
void Check(bool ok) {
  if (!ok) std::abort();
}

}  // namespace

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  Check(context_->digest != nullptr);
  Check(EVP_DigestInit_ex(context_->digest, EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() = default;

void Sha256::Update(std::string_view bytes) {
  Check(EVP_DigestUpdate(context_->digest, bytes.data(), bytes.size()) == 1);
}

std::string Sha256::Finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  Check(EVP_DigestFinal_ex(context_->digest, digest.data(), &size) == 1);
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(digest.data()), std::size_t{size}));
}

}  // namespace pagedkv::sim
