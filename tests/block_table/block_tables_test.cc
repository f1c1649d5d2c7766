// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/block_tables.h"

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

void Append(BlockTables& tables, std::int32_t row,
            std::initializer_list<std::int32_t> ids) {
  const std::span<BlockId> added =
      tables.Extend(row, static_cast<std::int32_t>(ids.size()));
  std::size_t next = 0;
  for (std::int32_t id : ids) added[next++] = BlockId(id);
}

std::vector<std::int32_t> DenseRow(const BlockTables& tables,
                                   std::int32_t row) {
  const DenseBlockTables dense = tables.dense();
  const std::int32_t* begin = dense.data + row * dense.row_stride;
  return {begin, begin + dense.row_stride};
}

TEST(BlockTablesTest, RowsAreDensePaddedAndStartOnACacheLine) {
  BlockTables tables(/*blocks_per_row=*/5);
  tables.GrowTo(2);
  Append(tables, 1, {7, 1, 3});
  EXPECT_EQ(tables.dense().num_rows, 2);
  EXPECT_EQ(tables.dense().row_stride, 16);
  EXPECT_THAT(tables.row(1), ElementsAre(BlockId(7), BlockId(1), BlockId(3)));
  EXPECT_THAT(DenseRow(tables, 1),
              ElementsAre(7, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(tables.row(0), IsEmpty());
}

TEST(BlockTablesTest, AShrunkRowIsPaddedAgain) {
  BlockTables tables(4);
  tables.GrowTo(1);
  Append(tables, 0, {7, 1, 3});
  tables.Shrink(0, 1);
  EXPECT_EQ(tables.length(0), 1);
  EXPECT_EQ(DenseRow(tables, 0)[1], 0);
  EXPECT_EQ(DenseRow(tables, 0)[2], 0);
  EXPECT_TRUE(tables.CheckInvariants().ok());
}

TEST(BlockTablesTest, EachChangedRowHasOneRangeThatCoversItsChanges) {
  BlockTables tables(8);
  tables.GrowTo(3);
  Append(tables, 2, {1, 2, 3, 4});
  Append(tables, 0, {5});
  EXPECT_THAT(tables.dirty_ranges(),
              ElementsAre(DirtyRange{2, 0, 4}, DirtyRange{0, 0, 1}));
  tables.ClearDirty();
  EXPECT_THAT(tables.dirty_ranges(), IsEmpty());
  tables.Set(2, 1, BlockId(9));
  tables.Shrink(2, 3);
  EXPECT_THAT(tables.dirty_ranges(), ElementsAre(DirtyRange{2, 1, 4}));
}

TEST(BlockTablesTest, NoChangeIsNotDirty) {
  BlockTables tables(8);
  tables.GrowTo(1);
  Append(tables, 0, {});
  tables.Shrink(0, 0);
  EXPECT_THAT(tables.dirty_ranges(), IsEmpty());
}

TEST(BlockTablesTest, RowsKeepTheirTablesWhenTheMatrixGrows) {
  BlockTables tables(2);
  tables.GrowTo(1);
  Append(tables, 0, {6, 5});
  tables.GrowTo(100);
  EXPECT_THAT(tables.row(0), ElementsAre(BlockId(6), BlockId(5)));
  EXPECT_THAT(tables.row(99), IsEmpty());
  tables.GrowTo(3);  // never fewer
  EXPECT_EQ(tables.dense().num_rows, 100);
}

}  // namespace
}  // namespace pagedkv
