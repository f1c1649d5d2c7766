// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_SIM_TRACE_TRACE_TEST_SUPPORT_H_
#define TESTS_SIM_TRACE_TRACE_TEST_SUPPORT_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/trace/trace_reader.h"

namespace pagedkv::sim {

/// A file of the running test, removed with it.
class TestFile {
 public:
  explicit TestFile(std::string_view content,
                    const std::string& name = "trace") {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = ::testing::TempDir() + "pagedkv_" + test->test_suite_name() + "_" +
            test->name() + "_" + name;
    for (char& c : path_) {
      if (c == '/' && &c >= path_.data() + ::testing::TempDir().size()) c = '_';
    }
    std::ofstream out(path_, std::ios::binary);
    out.write(content.data(), static_cast<std::streamsize>(content.size()));
  }
  ~TestFile() { std::filesystem::remove(path_); }
  TestFile(const TestFile&) = delete;
  TestFile& operator=(const TestFile&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// All that a file gives: requests until the end or the first error.
struct ReadResult {
  absl::Status status;
  std::vector<TraceRequest> requests;
  TraceSummary summary;

  [[nodiscard]] std::string message() const {
    return std::string(status.message());
  }
};

inline ReadResult ReadAll(const std::string& path,
                          const TraceReaderOptions& options = {}) {
  ReadResult result;
  auto reader = TraceReader::Open(path, options);
  if (!reader.ok()) {
    result.status = reader.status();
    return result;
  }
  TraceRequest request;
  for (;;) {
    absl::StatusOr<bool> more = (*reader)->Next(request);
    result.status = more.status();
    if (!more.ok() || !*more) break;
    result.requests.push_back(request);
  }
  result.summary = (*reader)->summary();
  return result;
}

inline ReadResult ReadText(std::string_view content,
                           const TraceReaderOptions& options = {}) {
  const TestFile file(content);
  return ReadAll(file.path(), options);
}

/// Where a real trace would be; the caller skips if it is not there.
inline std::string RealTracePath(const std::string& name) {
  const char* folder = std::getenv("PAGEDKV_TRACES");
  return (folder != nullptr ? std::string(folder)
                            : PAGEDKV_SOURCE_DIR "/../shared/traces") +
         "/" + name;
}

}  // namespace pagedkv::sim

#define PAGEDKV_SKIP_WITHOUT(path)                                    \
  if (!std::filesystem::exists(path)) {                               \
    GTEST_SKIP() << "no trace " << (path)                             \
                 << "; set PAGEDKV_TRACES to the folder that has it"; \
  }

#endif  // TESTS_SIM_TRACE_TRACE_TEST_SUPPORT_H_
