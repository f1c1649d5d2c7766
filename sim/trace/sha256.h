// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_SHA256_H_
#define SIM_TRACE_SHA256_H_

#include <memory>
#include <string>
#include <string_view>

namespace pagedkv::sim {

/// SHA-256 of a stream of bytes, by OpenSSL. Thread-compatible.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(std::string_view bytes);
  /// The digest in lower-case hex. No other call may follow.
  std::string Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_SHA256_H_
