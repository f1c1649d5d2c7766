// SPDX-License-Identifier: Apache-2.0
#include "sim/report/memory_map.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"

namespace pagedkv::sim {
namespace {

using Cell = MemoryMapRecorder::Cell;
using Frame = MemoryMapRecorder::Frame;

Sample SampleAt(std::int64_t begin_ns, std::int64_t capacity) {
  Sample sample;
  sample.begin_ns = begin_ns;
  sample.slots[Cause::kIdle] = capacity;
  sample.running = 1;
  return sample;
}

/// What `EncodeFrames` promises, read back.
std::vector<std::vector<std::uint64_t>> Decode(const std::string& text,
                                               std::size_t num_frames,
                                               std::size_t num_cells) {
  std::string bytes;
  EXPECT_TRUE(absl::Base64Unescape(text, &bytes));
  std::size_t at = 0;
  const auto next = [&] {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes.at(at++));
      value |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
  };
  std::vector<std::uint64_t> cells(num_cells,
                                   static_cast<std::uint64_t>(SlotUse::kFree));
  std::vector<std::vector<std::uint64_t>> frames;
  for (std::size_t i = 0; i < num_frames; ++i) {
    std::size_t cell = 0;
    for (std::uint64_t changes = next(); changes > 0; --changes) {
      cell += next();
      const std::uint64_t length = next();
      const std::uint64_t symbol = next();
      for (std::uint64_t j = 0; j < length; ++j) cells.at(cell++) = symbol;
    }
    frames.push_back(cells);
  }
  EXPECT_EQ(at, bytes.size());
  return frames;
}

TEST(MemoryMapRecorderTest, CutsThePoolIntoCellsOfAPowerOfTwo) {
  MemoryMapRecorder recorder({.max_cells = 4});
  ASSERT_TRUE(recorder.Wants(SampleAt(0, 17)));
  recorder.OnRun({.begin = 0, .slots = 17, .use = SlotUse::kToken, .owner = 3});
  EXPECT_EQ(recorder.cell_slots(), 8);
  ASSERT_EQ(recorder.Frames().size(), 1);
  // The last cell has one slot, and it is used.
  EXPECT_EQ(recorder.Frames()[0].cells,
            std::vector<Cell>(3, {SlotUse::kToken, 3}));
}

TEST(MemoryMapRecorderTest, ShowsWhatMostSlotsOfACellAreUsedFor) {
  MemoryMapRecorder recorder({.max_cells = 3});
  ASSERT_TRUE(recorder.Wants(SampleAt(0, 24)));
  ASSERT_EQ(recorder.cell_slots(), 8);
  // First cell: 3 tokens in two runs, 2 reserved, 3 free: tokens are first.
  recorder.OnRun({.begin = 0, .slots = 1, .use = SlotUse::kToken, .owner = 1});
  recorder.OnRun({.begin = 1, .slots = 2, .use = SlotUse::kToken, .owner = 2});
  recorder.OnRun(
      {.begin = 3, .slots = 2, .use = SlotUse::kReserved, .owner = 2});
  // Second: 4 free, 4 internal. Third: 5 free.
  recorder.OnRun(
      {.begin = 12, .slots = 7, .use = SlotUse::kInternal, .owner = 5});
  EXPECT_EQ(recorder.Frames().at(0).cells,
            (std::vector<Cell>{{SlotUse::kToken, 2},
                               {SlotUse::kInternal, 5},
                               {SlotUse::kFree, -1}}));
}

TEST(MemoryMapRecorderTest, KeepsEverySecondFrameOfALongRun) {
  MemoryMapRecorder recorder({.max_frames = 4, .max_cells = 8});
  for (std::int64_t i = 0; i < 23; ++i) {
    if (!recorder.Wants(SampleAt(i, 8))) continue;
    recorder.OnRun(
        {.begin = 0, .slots = 1, .use = SlotUse::kToken, .owner = i});
  }
  std::vector<std::int64_t> owners;
  for (const Frame& frame : recorder.Frames()) {
    EXPECT_EQ(frame.cells[0].owner, frame.sample.begin_ns);
    owners.push_back(frame.cells[0].owner);
  }
  EXPECT_EQ(owners, (std::vector<std::int64_t>{0, 8, 16}));
}

TEST(MemoryMapRecorderTest, LooksWhereItWasTold) {
  MemoryMapRecorder recorder(
      {.from_ns = 10, .until_ns = 20, .max_samples = 3, .max_cells = 8});
  std::vector<std::int64_t> looked;
  for (std::int64_t i = 0; i < 30; ++i) {
    if (recorder.Wants(SampleAt(i, 8))) looked.push_back(i);
  }
  EXPECT_EQ(looked, (std::vector<std::int64_t>{10, 11, 12}));
}

TEST(MemoryMapRecorderTest, HasNoFramesOfAPolicyThatShowsNothing) {
  MemoryMapRecorder recorder({});
  EXPECT_TRUE(recorder.Wants(SampleAt(0, 8)));
  EXPECT_TRUE(recorder.Frames().empty());
}

TEST(MemoryMapTest, EncodedFramesCanBeReadBack) {
  constexpr std::uint64_t kSeed = 7;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  std::vector<Frame> frames(20);
  std::vector<Cell> cells(50);
  for (Frame& frame : frames) {
    for (std::uint64_t changes = random() % 5; changes > 0; --changes) {
      const Cell cell{static_cast<SlotUse>(random() % kNumSlotUses),
                      static_cast<std::int64_t>(random() % 100'000) - 1};
      const std::size_t first = random() % cells.size();
      const std::size_t end =
          std::min<std::size_t>(cells.size(), first + random() % 20);
      for (std::size_t i = first; i < end; ++i) cells[i] = cell;
    }
    frame.cells = cells;
  }
  const auto decoded = Decode(EncodeFrames(frames), frames.size(), 50);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    for (std::size_t j = 0; j < 50; ++j) {
      const Cell& cell = frames[i].cells[j];
      ASSERT_EQ(decoded[i][j], 8 * static_cast<std::uint64_t>(cell.owner + 1) +
                                   static_cast<std::uint64_t>(cell.use));
    }
  }
}

TEST(MemoryMapTest, WhatStaysTheSameCostsOneByteAFrame) {
  std::vector<Frame> frames(100);
  for (Frame& frame : frames) frame.cells.resize(1'000);
  std::string bytes;
  ASSERT_TRUE(absl::Base64Unescape(EncodeFrames(frames), &bytes));
  EXPECT_EQ(bytes.size(), 100);
}

}  // namespace
}  // namespace pagedkv::sim
