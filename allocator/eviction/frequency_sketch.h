// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_FREQUENCY_SKETCH_H_
#define ALLOCATOR_EVICTION_FREQUENCY_SKETCH_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "allocator/eviction/content_hash.h"

namespace pagedkv {

/// How often contents were seen of late, never too low and seldom too high: a
/// count-min sketch of four rows of 4-bit counters with conservative update.
/// After 10 times as many additions as it is made for, all counters are halved.
/// The four counters of a content share a cache line. 8 to 16 bytes per content
/// that it is made for. O(1), the halving amortised. Thread-compatible.
///
/// Cormode and Muthukrishnan, "An improved data stream summary: the count-min
/// sketch", 2005; conservative update and halving: Einziger, Friedman and
/// Manes, "TinyLFU", ACM TOS 2017; 10 times: Caffeine. Not TinyLFU's
/// doorkeeper: blocks come back too often for it to save much.
class FrequencySketch {
 public:
  static constexpr std::uint64_t kMaxCount = 15;

  explicit FrequencySketch(std::int64_t num_contents)
      : lines_(std::bit_ceil((static_cast<std::size_t>(num_contents) + 7) / 8)),
        sample_size_(10 * num_contents) {}

  /// Ages as if made for so many contents, at most those that it was made for.
  void SetNumContents(std::int64_t num_contents) {
    sample_size_ = 10 * num_contents;
  }

  [[nodiscard]] std::uint64_t Estimate(std::uint64_t content) const {
    const std::uint64_t hash = ContentHash(content);
    const Line& line = lines_[LineOf(hash)];
    std::uint64_t count = kMaxCount;
    for (unsigned row = 0; row < 4; ++row) {
      const Place place = PlaceOf(hash, row);
      const std::uint64_t here = line.words[place.word] >> place.shift & 15;
      if (here < count) count = here;
    }
    return count;
  }

  void Add(std::uint64_t content) {
    const std::uint64_t count = Estimate(content);
    if (count < kMaxCount) {
      const std::uint64_t hash = ContentHash(content);
      Line& line = lines_[LineOf(hash)];
      for (unsigned row = 0; row < 4; ++row) {
        const Place place = PlaceOf(hash, row);
        std::uint64_t& word = line.words[place.word];
        if ((word >> place.shift & 15) == count) {
          word += std::uint64_t{1} << place.shift;
        }
      }
    }
    if (++additions_ >= sample_size_) Halve();
  }

 private:
  struct alignas(64) Line {
    std::array<std::uint64_t, 8> words{};  // row r has words 2 r and 2 r + 1
  };
  struct Place {
    std::size_t word;
    unsigned shift;
  };

  // The high bits choose the line, five low bits each a row's counter.
  [[nodiscard]] std::size_t LineOf(std::uint64_t hash) const {
    return (hash >> 32) & (lines_.size() - 1);
  }
  static Place PlaceOf(std::uint64_t hash, unsigned row) {
    const auto bits = static_cast<unsigned>(hash >> (5 * row)) & 31;
    return {2 * row + (bits >> 4), (bits & 15) * 4};
  }
  void Halve() {
    additions_ /= 2;
    for (Line& line : lines_) {
      for (std::uint64_t& word : line.words) {
        word = word >> 1 & 0x7777777777777777ULL;
      }
    }
  }

  std::vector<Line> lines_;
  std::int64_t sample_size_;
  std::int64_t additions_ = 0;
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_FREQUENCY_SKETCH_H_
