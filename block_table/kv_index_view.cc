// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_index_view.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <variant>

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kMaxCount = std::int64_t{1} << 31;

}  // namespace

// Follows events, and takes it all back unless told that they were good.
class KvIndexView::Transaction {
 public:
  explicit Transaction(KvIndexView* view)
      : view_(*view), num_blocks_(view->num_blocks_), digest_(view->digest_) {}
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  ~Transaction() {
    if (committed_) return;
    if (before_clear_.has_value()) view_.tiers_ = *std::move(before_clear_);
    for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
      Change(*change->tier, change->block, -change->difference);
    }
    view_.num_blocks_ = num_blocks_;
    view_.digest_ = digest_;
  }

  void Commit() { committed_ = true; }

  absl::Status Follow(const BlocksStored& event) {
    if (event.hashes.empty()) return absl::OkStatus();
    const std::string* tier =
        &view_.tiers_.try_emplace(event.tier).first->first;
    for (const BlockHash& hash : event.hashes) {
      Put(tier, {event.group, hash.ToInt()}, 1);
      view_.digest_.Add(event.group, event.tier, hash);
    }
    return absl::OkStatus();
  }

  absl::Status Follow(const BlocksRemoved& event) {
    const auto tier = view_.tiers_.find(event.tier);
    for (const BlockHash& hash : event.hashes) {
      const Block block(event.group, hash.ToInt());
      if (tier == view_.tiers_.end() || !tier->second.contains(block)) {
        return absl::FailedPreconditionError(absl::StrFormat(
            "it removes block %016x of group %d from tier \"%s\", which is not "
            "there",
            block.second, event.group, event.tier));
      }
      Put(&tier->first, block, -1);
      view_.digest_.Remove(event.group, event.tier, hash);
    }
    return absl::OkStatus();
  }

  absl::Status Follow(const AllBlocksCleared& /*event*/) {
    if (!before_clear_.has_value()) before_clear_ = std::move(view_.tiers_);
    view_.tiers_.clear();
    view_.num_blocks_ = 0;
    view_.digest_ = {};
    return absl::OkStatus();
  }

 private:
  struct Difference {
    const std::string* tier;
    Block block;
    std::int64_t difference;
  };

  void Put(const std::string* tier, Block block, std::int64_t difference) {
    Change(*tier, block, difference);
    view_.num_blocks_ += difference;
    // What came after a clear goes with the map that it is in.
    if (!before_clear_.has_value()) {
      changes_.push_back({tier, block, difference});
    }
  }

  void Change(const std::string& tier, Block block, std::int64_t difference) {
    auto& counts = view_.tiers_.find(tier)->second;
    const auto count = counts.try_emplace(block, 0).first;
    count->second += difference;
    if (count->second == 0) counts.erase(count);
  }

  KvIndexView& view_;
  const std::int64_t num_blocks_;
  const IndexDigest digest_;
  // What was there before the first clear, and the changes up to it. Keys of a
  // std::map stay where they are when it is moved.
  std::optional<Tiers> before_clear_;
  std::vector<Difference> changes_;
  bool committed_ = false;
};

absl::StatusOr<KvIndexView> KvIndexView::Create(
    const KvIndexSnapshot& snapshot) {
  KvIndexView view;
  view.next_sequence_ = snapshot.next_sequence;
  const KvIndexEntry* last = nullptr;
  for (const KvIndexEntry& entry : snapshot.entries) {
    const auto index = static_cast<std::size_t>(&entry - &snapshot.entries[0]);
    if (entry.group < 0 || entry.count < 1 || entry.count > kMaxCount) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "entry %d has group %d and count %d; they must be at least 0, and "
          "from 1 to %d",
          index, entry.group, entry.count, kMaxCount));
    }
    if (last != nullptr && std::tie(entry.group, entry.tier, entry.hash) <=
                               std::tie(last->group, last->tier, last->hash)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "entry %d does not come after the one before it; entries ascend by "
          "group, tier and hash",
          index));
    }
    last = &entry;
    view.tiers_[entry.tier][Block(entry.group, entry.hash)] = entry.count;
    view.num_blocks_ += entry.count;
    view.digest_.Add(entry.group, entry.tier, entry.hash,
                     static_cast<std::uint64_t>(entry.count));
  }
  if (view.digest_ != snapshot.digest) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the digest of the entries is %s, the snapshot's is %s; some are lost "
        "or altered",
        view.digest_.ToHex(), snapshot.digest.ToHex()));
  }
  return view;
}

absl::Status KvIndexView::Apply(const KvEventBatch& batch) {
  if (batch.first_sequence != next_sequence_) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "expected event %d, found event %d; get the events between, or a "
        "snapshot",
        next_sequence_, batch.first_sequence));
  }
  Transaction transaction(this);
  for (const KvEvent& event : batch.events) {
    const absl::Status status = std::visit(
        [&transaction](const auto& e) { return transaction.Follow(e); }, event);
    if (!status.ok()) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "event %d: %s",
          batch.first_sequence +
              static_cast<std::uint64_t>(&event - &batch.events[0]),
          std::string(status.message())));
    }
  }
  transaction.Commit();
  next_sequence_ += batch.events.size();
  return absl::OkStatus();
}

std::int64_t KvIndexView::Count(int group, std::string_view tier,
                                std::uint64_t hash) const {
  const auto blocks = tiers_.find(tier);
  if (blocks == tiers_.end()) return 0;
  const auto count = blocks->second.find(Block(group, hash));
  return count == blocks->second.end() ? 0 : count->second;
}

KvIndexSnapshot KvIndexView::Snapshot() const {
  KvIndexSnapshot snapshot{.next_sequence = next_sequence_, .digest = digest_};
  for (const auto& [tier, blocks] : tiers_) {
    for (const auto& [block, count] : blocks) {
      snapshot.entries.push_back({block.first, tier, block.second, count});
    }
  }
  std::sort(snapshot.entries.begin(), snapshot.entries.end());
  return snapshot;
}

void KvIndexView::CheckInvariants() const {
  std::int64_t num_blocks = 0;
  IndexDigest digest;
  for (const auto& [tier, blocks] : tiers_) {
    for (const auto& [block, count] : blocks) {
      PAGEDKV_CHECK(count >= 1);
      num_blocks += count;
      digest.Add(block.first, tier, block.second,
                 static_cast<std::uint64_t>(count));
    }
  }
  PAGEDKV_CHECK(num_blocks == num_blocks_);
  PAGEDKV_CHECK(digest == digest_);
}

}  // namespace pagedkv
