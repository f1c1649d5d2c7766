// SPDX-License-Identifier: Apache-2.0
//
// Random operations on every policy, in the order that an engine may call them.
// After each the invariants hold, a victim is a candidate, and there is one
// exactly if there is a candidate. Where the rule is simple to say, a naive
// reference says who it is. (S3-FIFO, ARC and W-TinyLFU: tests/integration.)

#include <algorithm>
#include <cstdint>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/eviction_policy.h"

namespace pagedkv {
namespace {

constexpr std::size_t kBlocks = 24;  // with the null block

BlockId ToBlock(std::size_t id) {
  return BlockId(static_cast<std::int32_t>(id));
}

// What the caller knows, and what a rule may look at.
struct Block {
  bool cached = false;
  bool candidate = false;
  std::int64_t used_at = 0;  // number of the last hit or end of use
  std::int64_t uses = 0;
  std::int64_t cost = 0;
  std::int64_t value = 0;
  std::int64_t priority = 0;
  std::int64_t expires_ns = 0;
  std::int64_t retained_at = 0;  // number of the operation that said so
  std::int64_t expected = 0;
  bool parked = false;
};

// Applies each operation to `blocks`, and says who the victim is.
struct Reference {
  virtual ~Reference() = default;

  void Insert(std::size_t id, const CachedBlockInfo& info) {
    blocks[id] = {.cached = true,
                  .uses = 1,
                  .cost = info.position + 1,
                  .priority = info.priority,
                  .expires_ns = info.expires_ns,
                  .retained_at = ++operations};
    Expire();
    Inserted(id);
  }
  void Hit(std::size_t id) {
    Block& block = blocks[id];
    ++block.uses;
    if (block.candidate) {
      block.used_at = ++operations;
      block.parked = false;
    }
    HasHit(id);
  }
  void Use(std::size_t id) {
    Leaves(id);
    blocks[id].candidate = false;
    blocks[id].parked = false;
  }
  void Idle(std::size_t id) {
    blocks[id].candidate = true;
    blocks[id].used_at = ++operations;
    Joins(id);
  }
  void Remove(std::size_t id) {
    Removed(id);
    if (blocks[id].candidate) Leaves(id);
    blocks[id] = {};
  }
  void Expect(std::size_t id, bool expected) {
    Block& block = blocks[id];
    if (!block.cached) return;
    block.expected =
        std::max<std::int64_t>(0, block.expected + (expected ? 1 : -1));
    // In front of all others.
    if (block.parked && block.expected == 0) {
      block.parked = false;
      block.used_at = --before_all;
    }
  }
  void Retain(std::size_t id, std::int32_t priority, std::int64_t expires) {
    blocks[id].priority = priority;
    blocks[id].expires_ns = expires;
    blocks[id].retained_at = blocks[id].used_at = ++operations;
    Expire();
  }
  void SetTime(std::int64_t now) {
    now_ns = now;
    Expire();
  }
  void SetCapacity(std::int64_t blocks_with_null) {
    capacity = blocks_with_null - 1;
    HasShrunk();
  }
  // 0 if there is no candidate.
  virtual std::size_t Victim() = 0;
  virtual void HasShrunk() {}

  virtual void Inserted(std::size_t) {}
  virtual void HasHit(std::size_t) {}
  virtual void Joins(std::size_t) {}
  virtual void Leaves(std::size_t) {}
  virtual void Removed(std::size_t) {}

  // The candidate with the lowest key.
  template <typename Key>
  std::size_t Lowest(Key key) {
    std::size_t lowest = 0;
    for (std::size_t id = 1; id < kBlocks; ++id) {
      if (!blocks[id].candidate) continue;
      if (lowest == 0 || key(blocks[id]) < key(blocks[lowest])) lowest = id;
    }
    return lowest;
  }

  std::vector<Block> blocks{kBlocks};
  std::int64_t capacity = kBlocks - 1;
  std::int64_t operations = 0;
  std::int64_t before_all = 0;
  std::int64_t now_ns = 0;

  // In the order of expiry, those who expire are as just used.
  void Expire() {
    for (;;) {
      std::size_t first = 0;
      const auto when = [&](std::size_t id) {
        return std::pair(blocks[id].expires_ns, blocks[id].retained_at);
      };
      for (std::size_t id = 1; id < kBlocks; ++id) {
        const Block& block = blocks[id];
        const bool expires =
            block.cached && block.priority != 35 && block.expires_ns <= now_ns;
        if (expires && (first == 0 || when(id) < when(first))) first = id;
      }
      if (first == 0) return;
      blocks[first].priority = 35;
      blocks[first].used_at = ++operations;
    }
  }
};

struct LruReference : Reference {
  std::size_t Victim() override {
    return Lowest([](const Block& b) { return b.used_at; });
  }
};

struct LfuReference : Reference {
  std::size_t Victim() override {
    return Lowest([](const Block& b) { return std::pair(b.uses, b.used_at); });
  }
};

struct PriorityReference : Reference {
  std::size_t Victim() override {
    return Lowest(
        [](const Block& b) { return std::pair(b.priority, b.used_at); });
  }
};

struct QueueLruReference : Reference {
  std::size_t Victim() override {
    const std::size_t victim = Lowest(
        [](const Block& b) { return std::pair(b.expected > 0, b.used_at); });
    // The search comes across all expected blocks that are older.
    for (Block& block : blocks) {
      if (block.candidate && block.expected > 0 &&
          (blocks[victim].expected > 0 ||
           block.used_at < blocks[victim].used_at)) {
        block.parked = true;
      }
    }
    return victim;
  }
};

struct GdsfReference : Reference {
  std::size_t Victim() override {
    return Lowest([](const Block& b) { return std::pair(b.value, b.used_at); });
  }
  void Joins(std::size_t id) override {
    blocks[id].value = clock + blocks[id].uses * blocks[id].cost;
  }
  void HasHit(std::size_t id) override {
    if (blocks[id].candidate) Joins(id);
  }
  void Removed(std::size_t id) override {
    if (blocks[id].candidate) clock = blocks[Victim()].value;
  }
  std::int64_t clock = 0;
};

// Lists have the candidates; a set the members of the protected segment.
struct SlruReference : Reference {
  std::size_t Victim() override {
    if (!probation.empty()) return probation.front();
    return protected_list.empty() ? 0 : protected_list.front();
  }
  void HasHit(std::size_t id) override {
    if (blocks[id].candidate) Leaves(id);
    members.insert(id);
    if (blocks[id].candidate) protected_list.push_back(id);
    Demote();
  }
  void Joins(std::size_t id) override {
    (members.count(id) > 0 ? protected_list : probation).push_back(id);
    Demote();
  }
  void Leaves(std::size_t id) override {
    probation.remove(id);
    protected_list.remove(id);
  }
  void Removed(std::size_t id) override { members.erase(id); }
  void HasShrunk() override { Demote(); }
  void Demote() {
    while (std::ssize(members) > std::max<std::int64_t>(1, capacity * 4 / 5) &&
           !protected_list.empty()) {
      probation.push_back(protected_list.front());
      members.erase(protected_list.front());
      protected_list.pop_front();
    }
  }
  std::list<std::size_t> probation;
  std::list<std::size_t> protected_list;
  std::set<std::size_t> members;
};

struct SieveReference : Reference {
  std::size_t Victim() override {
    if (list.empty()) return 0;
    if (hand == list.end()) hand = list.begin();
    while (visited.count(*hand) > 0) {
      visited.erase(*hand);
      if (++hand == list.end()) hand = list.begin();
    }
    return *hand;
  }
  void HasHit(std::size_t id) override { visited.insert(id); }
  void Joins(std::size_t id) override { list.push_back(id); }
  void Leaves(std::size_t id) override {
    const auto it = std::find(list.begin(), list.end(), id);
    if (it == hand) {
      hand = list.erase(it);
    } else {
      list.erase(it);
    }
  }
  void Removed(std::size_t id) override { visited.erase(id); }
  std::list<std::size_t> list;
  std::list<std::size_t>::iterator hand = list.end();
  std::set<std::size_t> visited;
};

std::unique_ptr<Reference> MakeReference(const std::string& name) {
  if (name == "lru") return std::make_unique<LruReference>();
  if (name == "lfu") return std::make_unique<LfuReference>();
  if (name == "slru") return std::make_unique<SlruReference>();
  if (name == "sieve") return std::make_unique<SieveReference>();
  if (name == "priority") return std::make_unique<PriorityReference>();
  if (name == "gdsf") return std::make_unique<GdsfReference>();
  if (name == "queue-lru") return std::make_unique<QueueLruReference>();
  return nullptr;
}

class EvictionPolicyModelTest
    : public testing::TestWithParam<std::tuple<std::string, std::uint64_t>> {
 protected:
  EvictionPolicyModelTest()
      : random_(std::get<1>(GetParam())),
        policy_(*CreateEvictionPolicy(std::get<0>(GetParam()),
                                      BlockCount(std::int64_t{kBlocks}))),
        reference_(MakeReference(std::get<0>(GetParam()))) {}

  std::int64_t Below(std::int64_t n) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(n));
  }
  // A block in the state, or 0.
  std::size_t AnyBlock(bool cached, bool candidate) {
    std::vector<std::size_t> fitting;
    for (std::size_t id = 1; id < kBlocks; ++id) {
      if (cached_[id] == cached && candidate_[id] == candidate) {
        fitting.push_back(id);
      }
    }
    return fitting.empty()
               ? 0
               : fitting[static_cast<std::size_t>(Below(std::ssize(fitting)))];
  }
  std::size_t AnyCached() {
    const std::size_t idle = AnyBlock(true, true);
    const std::size_t used = AnyBlock(true, false);
    if (idle == 0 || used == 0) return idle + used;
    return Below(2) == 0 ? idle : used;
  }
  std::int64_t AnyExpiry() {
    return Below(2) == 0 ? std::numeric_limits<std::int64_t>::max()
                         : now_ns_ - 5 + Below(100);
  }

  void Insert() {
    const std::size_t id = AnyBlock(false, false);
    if (id == 0) return;
    const CachedBlockInfo info = {
        .content = static_cast<std::uint64_t>(Below(60)),
        .position = static_cast<std::int32_t>(Below(20)),
        .priority = static_cast<std::int32_t>(Below(4) * 30 + 5),
        .expires_ns = AnyExpiry()};
    if (Below(2) == 0) policy_->OnMiss(info);
    policy_->OnInsert(ToBlock(id), info);
    if (reference_) reference_->Insert(id, info);
    cached_[id] = true;
    if (Below(2) == 0) Idle(id);
  }
  void Idle(std::size_t id) {
    if (id == 0) return;
    policy_->OnIdle(ToBlock(id));
    if (reference_) reference_->Idle(id);
    candidate_[id] = true;
  }
  void Use(std::size_t id) {
    if (id == 0) return;
    policy_->OnUse(ToBlock(id));
    if (reference_) reference_->Use(id);
    candidate_[id] = false;
  }
  void Hit(std::size_t id) {
    if (id == 0) return;
    policy_->OnHit(ToBlock(id));
    if (reference_) reference_->Hit(id);
  }
  void Remove(std::size_t id) {
    if (id == 0) return;
    policy_->OnRemove(ToBlock(id));
    if (reference_) reference_->Remove(id);
    cached_[id] = candidate_[id] = false;
  }
  void Expect() {
    const auto id = static_cast<std::size_t>(1 + Below(kBlocks - 1));
    const bool expected = Below(2) == 0;
    policy_->OnExpect(ToBlock(id), expected);
    if (reference_) reference_->Expect(id, expected);
  }
  void Retain() {
    // Only there it is a use; elsewhere nothing happens.
    const std::size_t id = AnyCached();
    if (id == 0 || policy_->name() != "priority") return;
    const auto priority = static_cast<std::int32_t>(Below(4) * 30 + 5);
    const std::int64_t expires = AnyExpiry();
    policy_->OnRetain(ToBlock(id), priority, expires);
    reference_->Retain(id, priority, expires);
  }
  void SetTime() {
    now_ns_ += Below(20);
    policy_->SetTime(now_ns_);
    // Expiry is a use for this policy only.
    if (policy_->name() == "priority") reference_->SetTime(now_ns_);
  }
  // Back and forth; ids stay what they are.
  void SetCapacity(int operation) {
    const std::int64_t capacity =
        2 + (operation / 70 * 7) % (std::int64_t{kBlocks} - 1);
    policy_->SetCapacity(BlockCount(capacity));
    if (reference_) reference_->SetCapacity(capacity);
  }
  std::size_t Victim() {
    const std::size_t victim =
        static_cast<std::size_t>(policy_->Victim().value());
    const auto candidates =
        std::count(candidate_.begin(), candidate_.end(), true);
    EXPECT_EQ(policy_->num_candidates(), candidates);
    EXPECT_EQ(victim != 0, candidates > 0);
    EXPECT_TRUE(victim == 0 || candidate_[victim]) << victim;
    if (reference_) {
      EXPECT_EQ(victim, reference_->Victim());
    }
    return victim;
  }

  std::mt19937_64 random_;
  std::unique_ptr<EvictionPolicy> policy_;
  std::unique_ptr<Reference> reference_;
  std::vector<bool> cached_ = std::vector<bool>(kBlocks);
  std::vector<bool> candidate_ = std::vector<bool>(kBlocks);
  std::int64_t now_ns_ = 0;
};

TEST_P(EvictionPolicyModelTest, AgreesWithANaiveReference) {
  policy_->SetTime(0);
  std::discrete_distribution<int> operations;
  for (int i = 0; i < 20000; ++i) {
    if (i % 300 == 0) {
      std::vector<double> weights(9);
      for (double& weight : weights) {
        weight = std::uniform_real_distribution<>(0.05, 1.0)(random_);
      }
      operations = {weights.begin(), weights.end()};
    }
    SCOPED_TRACE(testing::Message() << "operation " << i);
    if (i % 70 == 0) SetCapacity(i);
    switch (operations(random_)) {
      case 0:
        Insert();
        break;
      case 1:
        Hit(AnyCached());
        break;
      case 2:
        Use(AnyBlock(true, true));
        break;
      case 3:
        Idle(AnyBlock(true, false));
        break;
      case 4:
        Remove(Below(8) == 0 ? AnyCached() : Victim());
        break;
      case 5:
        Expect();
        break;
      case 6:
        Retain();
        break;
      case 7:
        SetTime();
        break;
      default:
        Victim();
    }
    const absl::Status invariants = policy_->CheckInvariants();
    ASSERT_TRUE(invariants.ok()) << invariants;
    ASSERT_FALSE(HasFailure());
  }
}

std::string PolicyName(std::string name, std::uint64_t seed) {
  std::erase(name, '-');
  return name + "Seed" + std::to_string(seed);
}

INSTANTIATE_TEST_SUITE_P(
    AllPolicies, EvictionPolicyModelTest,
    testing::Combine(testing::ValuesIn(EvictionPolicyNames()),
                     testing::Values(1, 2, 3)),
    [](const testing::TestParamInfo<EvictionPolicyModelTest::ParamType>& info) {
      return PolicyName(std::get<0>(info.param), std::get<1>(info.param));
    });

class TenantPolicyModelTest
    : public testing::TestWithParam<std::tuple<std::string, std::uint64_t>> {};

// Evictions only: what a tenant loses, it loses to others.
TEST_P(TenantPolicyModelTest, FloorsAndCeilingsHold) {
  constexpr std::size_t kTenants = 4;  // the last two without a quota
  constexpr std::int64_t kFloor[kTenants] = {6, 3, 0, 0};
  constexpr std::int64_t kCeiling[kTenants] = {1000, 8, 1000, 1000};
  const auto [name, seed] = GetParam();
  std::mt19937_64 random(seed);
  const auto policy =
      *CreateTenantPolicy(name, BlockCount(std::int64_t{kBlocks}),
                          {{.tenant = 0, .floor = BlockCount(kFloor[0])},
                           {.tenant = 1,
                            .floor = BlockCount(kFloor[1]),
                            .ceiling = BlockCount(8)}});

  struct State {
    std::int32_t tenant = -1;
    bool candidate = false;
  };
  std::vector<State> blocks(kBlocks);
  const auto count = [&](std::size_t tenant, bool candidates) {
    return std::count_if(blocks.begin(), blocks.end(), [&](const State& b) {
      return b.tenant == static_cast<std::int32_t>(tenant) &&
             (b.candidate || !candidates);
    });
  };
  for (int i = 0; i < 20000; ++i) {
    SCOPED_TRACE(testing::Message() << "operation " << i);
    const std::size_t id = 1 + random() % (kBlocks - 1);
    State& block = blocks[id];
    if (block.tenant < 0) {
      block.tenant = static_cast<std::int32_t>(random() % kTenants);
      policy->OnInsert(ToBlock(id),
                       {.content = random() % 60, .tenant = block.tenant});
    } else if (!block.candidate) {
      policy->OnIdle(ToBlock(id));
      block.candidate = true;
    } else if (random() % 2 == 0) {
      policy->OnHit(ToBlock(id));
      policy->OnUse(ToBlock(id));
      block.candidate = false;
    }
    ASSERT_TRUE(policy->CheckInvariants().ok()) << policy->CheckInvariants();
    if (random() % 3 != 0) continue;

    const BlockId victim = policy->Victim();
    if (policy->num_candidates() == 0) {
      ASSERT_EQ(victim, kNullBlock);
      continue;
    }
    State& given = blocks[static_cast<std::size_t>(victim.value())];
    ASSERT_TRUE(given.candidate);
    const auto giver = static_cast<std::size_t>(given.tenant);
    const std::int64_t has = count(giver, false);
    const bool above_ceiling = has > kCeiling[giver];
    const bool above_floor = has > kFloor[giver];
    for (std::size_t other = 0; other < kTenants; ++other) {
      if (other == giver || count(other, true) == 0) continue;
      const std::int64_t others = count(other, false);
      if (others > kCeiling[other]) {
        ASSERT_TRUE(above_ceiling) << "not of tenant " << other;
      } else if (others > kFloor[other]) {
        ASSERT_TRUE(above_floor) << "not of tenant " << other;
      }
    }
    policy->OnRemove(victim);
    given = {};
  }
}

INSTANTIATE_TEST_SUITE_P(
    AllPolicies, TenantPolicyModelTest,
    testing::Combine(testing::ValuesIn(EvictionPolicyNames()),
                     testing::Values(1, 2)),
    [](const testing::TestParamInfo<TenantPolicyModelTest::ParamType>& info) {
      return PolicyName(std::get<0>(info.param), std::get<1>(info.param));
    });

}  // namespace
}  // namespace pagedkv
