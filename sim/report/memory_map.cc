// SPDX-License-Identifier: Apache-2.0
#include "sim/report/memory_map.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"

namespace pagedkv::sim {
namespace {

using Cell = MemoryMapRecorder::Cell;

void AppendNumber(std::uint64_t number, std::string& bytes) {
  constexpr std::uint64_t kMore = 0x80;
  while (number >= kMore) {
    bytes += static_cast<char>(number % kMore | kMore);
    number /= kMore;
  }
  bytes += static_cast<char>(number);
}

std::uint64_t SymbolOf(const Cell& cell) {
  return kNumSlotUses * static_cast<std::uint64_t>(cell.owner + 1) +
         static_cast<std::uint64_t>(cell.use);
}

// The cells from `first` on that equal it and differ from those `before`.
std::size_t LengthOfChange(const std::vector<Cell>& cells,
                           const std::vector<Cell>& before, std::size_t first) {
  std::size_t end = first;
  while (end < cells.size() && cells[end] == cells[first] &&
         cells[end] != before[end]) {
    ++end;
  }
  return end - first;
}

void AppendChanges(const std::vector<Cell>& cells,
                   const std::vector<Cell>& before, std::string& bytes) {
  std::string changes;
  std::uint64_t num_changes = 0;
  std::size_t end_of_last = 0;
  for (std::size_t i = 0; i < cells.size();) {
    const std::size_t length = LengthOfChange(cells, before, i);
    if (length == 0) {
      ++i;
      continue;
    }
    ++num_changes;
    AppendNumber(i - end_of_last, changes);
    AppendNumber(length, changes);
    AppendNumber(SymbolOf(cells[i]), changes);
    i += length;
    end_of_last = i;
  }
  AppendNumber(num_changes, bytes);
  bytes += changes;
}

}  // namespace

bool MemoryMapRecorder::Wants(const Sample& sample) {
  if (sample.begin_ns < options_.from_ns ||
      sample.begin_ns >= options_.until_ns ||
      num_samples_ >= options_.max_samples) {
    return false;
  }
  FinishFrame();
  if (num_samples_++ % stride_ != 0) return false;
  if (frames_.size() == options_.max_frames) {
    for (std::size_t i = 1; i < frames_.size() / 2; ++i) {
      frames_[i] = std::move(frames_[2 * i]);
    }
    frames_.resize(frames_.size() / 2);
    stride_ *= 2;
    // max_frames is even: this sample is one that the new stride takes, too.
  }
  if (capacity_ == 0) SetUp(sample.slots.total());
  std::ranges::fill(mixtures_, Mixture{});
  open_ = true;
  open_sample_ = sample;
  return true;
}

void MemoryMapRecorder::SetUp(std::int64_t capacity) {
  capacity_ = capacity;
  const auto max_cells = static_cast<std::int64_t>(options_.max_cells);
  while ((capacity + cell_slots_ - 1) / cell_slots_ > max_cells) {
    cell_slots_ *= 2;
  }
  mixtures_.resize(
      static_cast<std::size_t>((capacity + cell_slots_ - 1) / cell_slots_));
}

void MemoryMapRecorder::OnRun(const SlotRun& run) {
  ever_shown_ = true;
  const auto use = static_cast<std::size_t>(run.use);
  const std::int64_t end = std::min(run.begin + run.slots, capacity_);
  for (std::int64_t begin = run.begin; begin < end;) {
    const std::int64_t cell = begin / cell_slots_;
    const std::int64_t until = std::min(end, (cell + 1) * cell_slots_);
    Mixture& mixture = mixtures_[static_cast<std::size_t>(cell)];
    mixture.slots[use] += until - begin;
    if (until - begin > mixture.longest[use]) {
      mixture.longest[use] = until - begin;
      mixture.owner[use] = run.owner;
    }
    begin = until;
  }
}

MemoryMapRecorder::Cell MemoryMapRecorder::CellOf(std::size_t index) const {
  const Mixture& mixture = mixtures_[index];
  const std::int64_t begin = static_cast<std::int64_t>(index) * cell_slots_;
  std::int64_t free = std::min(cell_slots_, capacity_ - begin);
  std::size_t most = 0;
  for (std::size_t use = 0; use < kNumSlotUses; ++use) {
    free -= mixture.slots[use];
    if (mixture.slots[use] > mixture.slots[most]) most = use;
  }
  if (free > mixture.slots[most]) return {};
  return {static_cast<SlotUse>(most), mixture.owner[most]};
}

void MemoryMapRecorder::FinishFrame() {
  if (!std::exchange(open_, false)) return;
  Frame& frame = frames_.emplace_back();
  frame.sample = open_sample_;
  frame.cells.reserve(mixtures_.size());
  for (std::size_t i = 0; i < mixtures_.size(); ++i) {
    frame.cells.push_back(CellOf(i));
  }
}

const std::vector<MemoryMapRecorder::Frame>& MemoryMapRecorder::Frames() {
  FinishFrame();
  // A policy that places memory shows something as soon as a sequence runs.
  if (!ever_shown_) frames_.clear();
  return frames_;
}

std::string EncodeFrames(const std::vector<MemoryMapRecorder::Frame>& frames) {
  std::string bytes;
  const std::vector<Cell>* before = nullptr;
  std::vector<Cell> all_free;
  for (const MemoryMapRecorder::Frame& frame : frames) {
    if (before == nullptr) {
      all_free.resize(frame.cells.size());
      before = &all_free;
    }
    AppendChanges(frame.cells, *before, bytes);
    before = &frame.cells;
  }
  return absl::Base64Escape(bytes);
}

}  // namespace pagedkv::sim
