// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_MEMORY_MAP_H_
#define SIM_REPORT_MEMORY_MAP_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "sim/replay/memory_visitor.h"
#include "sim/replay/simulation.h"

namespace pagedkv::sim {

struct MemoryMapOptions {
  /// Samples that begin in [from_ns, until_ns) are looked at, at most
  /// `max_samples` of them.
  std::int64_t from_ns = 0;
  std::int64_t until_ns = std::numeric_limits<std::int64_t>::max();
  std::int64_t max_samples = std::numeric_limits<std::int64_t>::max();
  std::size_t max_frames = 240;  ///< even
  std::size_t max_cells = 4096;
};

/// Records who holds which part of the memory over time, in memory that depends
/// on neither the pool nor the run: the pool is cut into equal cells, each of a
/// power of two of slots, and every second frame is dropped, and from then on
/// every second sample skipped, when there would be too many frames.
///
/// A cell shows what most of its slots are used for (of equal uses the first of
/// `SlotUse`), and of these the owner with the longest run. Thread-compatible.
class MemoryMapRecorder : public MemoryVisitor {
 public:
  /// What a cell shows; two cells are equal if their symbols are.
  struct Cell {
    SlotUse use = SlotUse::kFree;
    std::int64_t owner = -1;
    friend bool operator==(const Cell&, const Cell&) = default;
  };
  struct Frame {
    Sample sample;
    std::vector<Cell> cells;
  };

  explicit MemoryMapRecorder(const MemoryMapOptions& options)
      : options_(options) {}

  /// Whether the sample becomes a frame, whose runs are to follow then.
  bool Wants(const Sample& sample);
  void OnRun(const SlotRun& run) override;

  /// The frames so far; none of a policy that shows no memory.
  [[nodiscard]] const std::vector<Frame>& Frames();
  [[nodiscard]] std::int64_t capacity() const { return capacity_; }
  [[nodiscard]] std::int64_t cell_slots() const { return cell_slots_; }

 private:
  // What was shown of a cell's slots so far.
  struct Mixture {
    std::array<std::int64_t, kNumSlotUses> slots{};
    std::array<std::int64_t, kNumSlotUses> owner{};
    std::array<std::int64_t, kNumSlotUses> longest{};
  };

  void SetUp(std::int64_t capacity);
  void FinishFrame();
  [[nodiscard]] Cell CellOf(std::size_t index) const;

  MemoryMapOptions options_;
  std::int64_t capacity_ = 0;
  std::int64_t cell_slots_ = 1;
  std::int64_t stride_ = 1;  // every so many samples are a frame
  std::int64_t num_samples_ = 0;
  bool ever_shown_ = false;  // some frame had runs
  bool open_ = false;
  Sample open_sample_;
  std::vector<Mixture> mixtures_;
  std::vector<Frame> frames_;
};

/// The frames' cells in one text, which does not grow with what stays the same:
/// base64 of unsigned LEB128 numbers. For each frame: the number of changes
/// against the frame before (against free memory for the first), then for each
/// the cells skipped, the cells that changed, and their symbol,
/// 8 * (owner + 1) + use.
std::string EncodeFrames(const std::vector<MemoryMapRecorder::Frame>& frames);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_MEMORY_MAP_H_
