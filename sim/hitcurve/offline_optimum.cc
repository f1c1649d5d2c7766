// SPDX-License-Identifier: Apache-2.0
#include "sim/hitcurve/offline_optimum.h"

#include <algorithm>
#include <cstddef>
#include <tuple>

namespace pagedkv::sim {
namespace {

/// The cached contents, the one to give up first on top.
class FarthestFirst {
 public:
  explicit FarthestFirst(BlockCount num_contents)
      : next_use_(static_cast<std::size_t>(num_contents.value()), kNotCached) {}

  [[nodiscard]] bool Contains(std::uint32_t content) const {
    return next_use_[content] != kNotCached;
  }
  [[nodiscard]] std::int64_t size() const { return size_; }

  /// `request` refers to the content at `position`, and `next_use` does next.
  void Refer(std::uint32_t content, std::uint32_t position,
             std::uint32_t request, std::uint32_t next_use) {
    // The same request referred to it before, nearer to its beginning.
    if (next_use_[content] > request) return;
    if (next_use == kNeverUsedAgain) {
      if (Contains(content)) Remove(content);
      return;
    }
    if (!Contains(content)) ++size_;
    next_use_[content] = next_use;
    heap_.push_back({next_use, position, content});
    std::push_heap(heap_.begin(), heap_.end());
    DropStale();
  }

  /// REQUIRES: size() > 0.
  void RemoveFarthest() {
    for (;;) {
      const Entry top = heap_.front();
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.pop_back();
      if (next_use_[top.content] == top.next_use) {
        Remove(top.content);
        return;
      }
    }
  }

 private:
  // No request is before the first, so none has it as its next use.
  static constexpr std::uint32_t kNotCached = 0;

  struct Entry {
    std::uint32_t next_use;
    std::uint32_t position;
    std::uint32_t content;
    bool operator<(const Entry& other) const {
      return std::tie(next_use, position, content) <
             std::tie(other.next_use, other.position, other.content);
    }
  };

  void Remove(std::uint32_t content) {
    next_use_[content] = kNotCached;
    --size_;
  }

  /// Entries of uses that have passed would never come to the top again.
  void DropStale() {
    constexpr std::size_t kSlack = 1024;
    if (heap_.size() <= 2 * static_cast<std::size_t>(size_) + kSlack) return;
    std::erase_if(heap_, [this](const Entry& entry) {
      return next_use_[entry.content] != entry.next_use;
    });
    std::make_heap(heap_.begin(), heap_.end());
  }

  std::vector<std::uint32_t> next_use_;  // by content
  std::vector<Entry> heap_;              // and entries that are out of date
  std::int64_t size_ = 0;
};

}  // namespace

std::vector<std::uint32_t> NextUses(const BlockTrace& trace) {
  std::vector<std::uint32_t> next_uses(
      static_cast<std::size_t>(trace.num_references()));
  std::vector<std::uint32_t> next_of_content(
      static_cast<std::size_t>(trace.num_contents().value()), kNeverUsedAgain);
  for (std::size_t request = trace.num_requests(); request-- > 0;) {
    const std::span<const std::uint32_t> contents = trace.contents(request);
    const std::size_t first = trace.first_reference(request);
    for (std::size_t i = 0; i < contents.size(); ++i) {
      next_uses[first + i] = next_of_content[contents[i]];
    }
    for (const std::uint32_t content : contents) {
      next_of_content[content] = static_cast<std::uint32_t>(request);
    }
  }
  return next_uses;
}

HitCounts SimulateOfflineOptimum(const BlockTrace& trace,
                                 std::span<const std::uint32_t> next_uses,
                                 BlockCount capacity) {
  HitCounts counts;
  FarthestFirst cache(trace.num_contents());
  for (std::size_t request = 0; request < trace.num_requests(); ++request) {
    const std::span<const std::uint32_t> contents = trace.contents(request);
    const TokenCount prompt = trace.prompt(request);
    counts.AddRequest(static_cast<std::int64_t>(contents.size()), prompt);
    const auto miss = std::find_if(
        contents.begin(), contents.end(),
        [&](std::uint32_t content) { return !cache.Contains(content); });
    counts.AddHits(miss - contents.begin(), trace.block_size(), prompt);
    const std::size_t first = trace.first_reference(request);
    for (std::size_t i = 0; i < contents.size(); ++i) {
      cache.Refer(contents[i], static_cast<std::uint32_t>(i),
                  static_cast<std::uint32_t>(request), next_uses[first + i]);
    }
    while (cache.size() > capacity.value()) cache.RemoveFarthest();
  }
  return counts;
}

}  // namespace pagedkv::sim
