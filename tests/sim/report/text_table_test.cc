// SPDX-License-Identifier: Apache-2.0
#include "sim/report/text_table.h"

#include <gtest/gtest.h>

namespace pagedkv::sim {
namespace {

TextTable Example() {
  return {{"name", "n"}, {{"a,b", "1"}, {"c|d \"e\"", "23"}}, 1};
}

TEST(TextTableTest, NamesAreToTheLeftAndFiguresToTheRight) {
  EXPECT_EQ(TableToText(Example()),
            "name    |  n\n"
            "a,b     |  1\n"
            "c|d \"e\" | 23\n");
}

TEST(TextTableTest, MarkdownEscapesBars) {
  EXPECT_EQ(TableToMarkdown(Example()),
            "| name | n |\n"
            "|---|---:|\n"
            "| a,b | 1 |\n"
            "| c\\|d \"e\" | 23 |\n");
}

TEST(TextTableTest, CsvQuotesWhatNeedsIt) {
  EXPECT_EQ(TableToCsv(Example()),
            "name,n\n"
            "\"a,b\",1\n"
            "\"c|d \"\"e\"\"\",23\n");
}

}  // namespace
}  // namespace pagedkv::sim
