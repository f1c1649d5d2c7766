// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_ID_LIST_H_
#define ALLOCATOR_EVICTION_ID_LIST_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pagedkv/types.h"

namespace pagedkv {

/// The ends and the length of a list whose links are in an `IdLinks`. Policies
/// keep what goes first in front, and what was used last at the back.
template <typename IdType>
struct IdList {
  IdType front{};
  IdType back{};
  std::int64_t size = 0;
};

/// Doubly linked lists over ids 1 .. n - 1, each id in one list at most; id 0
/// marks the ends. All operations cost O(1); 8 bytes per id. Thread-compatible.
template <typename IdType>
class IdLinks {
 public:
  using List = IdList<IdType>;

  explicit IdLinks(std::int64_t n) : links_(static_cast<std::size_t>(n)) {}

  /// REQUIRES: `id` is in no list.
  void PushBack(List& list, IdType id) {
    At(id) = {list.back, IdType{}};
    (list.back == IdType{} ? list.front : At(list.back).next) = id;
    list.back = id;
    ++list.size;
  }
  /// REQUIRES: `id` is in no list.
  void PushFront(List& list, IdType id) {
    At(id) = {IdType{}, list.front};
    (list.front == IdType{} ? list.back : At(list.front).prev) = id;
    list.front = id;
    ++list.size;
  }
  /// REQUIRES: `id` is in `list`.
  void Remove(List& list, IdType id) {
    const Link link = At(id);
    (link.prev == IdType{} ? list.front : At(link.prev).next) = link.next;
    (link.next == IdType{} ? list.back : At(link.next).prev) = link.prev;
    --list.size;
  }
  void MoveToBack(List& list, IdType id) {
    if (list.back == id) return;
    Remove(list, id);
    PushBack(list, id);
  }
  /// The id behind `id` in its list, or 0.
  [[nodiscard]] IdType next(IdType id) const {
    return links_[static_cast<std::size_t>(id.value())].next;
  }

  /// From front to back; less than `size` ids if the links are not those of
  /// such a list. O(size).
  [[nodiscard]] std::vector<IdType> ToVector(const List& list) const {
    std::vector<IdType> ids;
    IdType before{};
    for (IdType id = list.front; id != IdType{}; id = next(id)) {
      const bool linked =
          links_[static_cast<std::size_t>(id.value())].prev == before;
      if (!linked || std::ssize(ids) == list.size) return {};
      ids.push_back(before = id);
    }
    return before == list.back ? ids : std::vector<IdType>{};
  }

 private:
  struct Link {
    IdType prev;
    IdType next;
  };
  Link& At(IdType id) { return links_[static_cast<std::size_t>(id.value())]; }

  std::vector<Link> links_;
};

using BlockList = IdList<BlockId>;
using BlockLinks = IdLinks<BlockId>;

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_ID_LIST_H_
