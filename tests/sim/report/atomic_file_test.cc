// SPDX-License-Identifier: Apache-2.0
#include "sim/report/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace pagedkv::sim {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public ::testing::Test {
 protected:
  AtomicFileTest() {
    std::string pattern = ::testing::TempDir() + "atomic_file_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~AtomicFileTest() override { fs::remove_all(folder_); }

  static std::string Contents(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::size_t NumFiles() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_), {}));
  }

  fs::path folder_;
};

TEST_F(AtomicFileTest, AppearsInFullWhenItIsCommitted) {
  const fs::path path = folder_ / "report.json";
  {
    absl::StatusOr<AtomicFile> file = AtomicFile::Create(path);
    ASSERT_TRUE(file.ok()) << file.status();
    file->Append("one ");
    file->Append("two");
    EXPECT_FALSE(fs::exists(path));
    ASSERT_TRUE(file->Commit().ok());
  }
  EXPECT_EQ(Contents(path), "one two");
  EXPECT_EQ(NumFiles(), 1u);
}

TEST_F(AtomicFileTest, LeavesTheOlderFileAndNothingElseWithoutACommit) {
  const fs::path path = folder_ / "report.json";
  std::ofstream(path) << "older";
  {
    absl::StatusOr<AtomicFile> file = AtomicFile::Create(path);
    ASSERT_TRUE(file.ok()) << file.status();
    file->Append("newer");
    const AtomicFile moved = *std::move(file);
    EXPECT_EQ(NumFiles(), 2u);
  }
  EXPECT_EQ(Contents(path), "older");
  EXPECT_EQ(NumFiles(), 1u);
}

TEST_F(AtomicFileTest, AppendsWhatAnotherFileHolds) {
  // Longer than a copy buffer, so that it takes several.
  const std::string rows(200'000, 'x');
  const fs::path path = folder_ / "requests.csv";
  absl::StatusOr<AtomicFile> file = AtomicFile::Create(path);
  ASSERT_TRUE(file.ok()) << file.status();
  file->Append("head\n");
  {
    absl::StatusOr<AtomicFile> part = AtomicFile::Create(folder_ / "part");
    ASSERT_TRUE(part.ok()) << part.status();
    part->Append(rows);
    ASSERT_TRUE(file->Append(*part).ok());
  }
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(Contents(path), "head\n" + rows);
  EXPECT_EQ(NumFiles(), 1u);
}

TEST_F(AtomicFileTest, NamesThePathAndTheReasonWhenItCanNotBeWritten) {
  const fs::path path = folder_ / "missing" / "report.json";
  const absl::StatusOr<AtomicFile> file = AtomicFile::Create(path);
  ASSERT_FALSE(file.ok());
  EXPECT_THAT(std::string(file.status().message()),
              ::testing::AllOf(::testing::HasSubstr(path.string()),
                               ::testing::HasSubstr("No such file")));
}

TEST_F(AtomicFileTest, RefusesToReplaceAFolder) {
  EXPECT_FALSE(AtomicFile::Create(folder_).ok());
  EXPECT_EQ(NumFiles(), 0u);
}

}  // namespace
}  // namespace pagedkv::sim
