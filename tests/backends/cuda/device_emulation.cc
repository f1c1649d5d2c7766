// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/cuda/device_emulation.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define PAGEDKV_ASAN_FIBERS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PAGEDKV_ASAN_FIBERS 1
#endif
#endif
#ifdef PAGEDKV_ASAN_FIBERS
#include <sanitizer/common_interface_defs.h>
#endif

namespace pagedkv::emulation {

Index thread_index;
Index block_index;

namespace {

constexpr std::size_t kStackBytes = 128 << 10;

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "device emulation: %s (thread %u of thread block %u)\n",
               what, thread_index.x, block_index.x);
  std::abort();
}

// A thread and its stack. A context is entered once; from then on it is left
// and entered by jumps, which, unlike `swapcontext`, are no system calls. The
// sanitizer is told when the stack changes.
struct Fiber {
  ucontext_t context{};
  jmp_buf resume{};
  bool has_begun = false;
  std::unique_ptr<std::byte[]> stack;
  void* fake_stack = nullptr;
  bool has_ended = false;
  // What it waits for: the count of the barrier's completions to pass.
  const std::uint64_t* awaited = nullptr;
  std::uint64_t seen = 0;
};

struct Barrier {
  int arrived = 0;
  std::uint64_t completions = 0;
};

struct Warp {
  Barrier barrier;
  // Two sets, in turns: nobody writes to one while somebody may read it.
  std::array<std::array<std::uint64_t, kWarpSize>, 2> values{};
};

// One thread block at work.
class ThreadBlock {
 public:
  ThreadBlock(int num_threads, std::uint64_t seed,
              const std::function<void()>& kernel)
      : kernel_(kernel),
        random_(seed),
        fibers_(static_cast<std::size_t>(num_threads)),
        warps_((fibers_.size() + kWarpSize - 1) / kWarpSize),
        order_(fibers_.size()) {
    for (Fiber& fiber : fibers_) {
      fiber.stack = std::make_unique_for_overwrite<std::byte[]>(kStackBytes);
    }
    std::iota(order_.begin(), order_.end(), std::size_t{0});
  }

  void Run() {
    num_running_ = static_cast<int>(fibers_.size());
    block_barrier_ = {};
    std::fill(warps_.begin(), warps_.end(), Warp());
    for (Fiber& fiber : fibers_) {
      fiber.has_ended = false;
      fiber.has_begun = false;
      fiber.awaited = nullptr;
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = kStackBytes;
      fiber.context.uc_link = nullptr;
      makecontext(&fiber.context, &ThreadBlock::Main, 0);
    }
    current_block = this;
    while (num_running_ > 0) {
      std::shuffle(order_.begin(), order_.end(), random_);
      bool has_run = false;
      for (const std::size_t i : order_) {
        Fiber& fiber = fibers_[i];
        if (fiber.has_ended ||
            (fiber.awaited != nullptr && *fiber.awaited == fiber.seen)) {
          continue;
        }
        has_run = true;
        fiber.awaited = nullptr;
        thread_index.x = static_cast<unsigned>(i);
        SwitchTo(fiber);
      }
      if (!has_run) Fail("all threads wait for one another");
    }
    current_block = nullptr;
  }

  void SyncBlock() { Arrive(block_barrier_, num_running_); }

  std::uint64_t Exchange(std::uint64_t value, int source_lane) {
    const std::size_t thread = thread_index.x;
    Warp& warp = warps_[thread / kWarpSize];
    if (fibers_.size() - thread / kWarpSize * kWarpSize < kWarpSize) {
      Fail("exchange in a warp that is not whole");
    }
    if (source_lane < 0 || source_lane >= kWarpSize) Fail("no such lane");
    auto& values = warp.values[warp.barrier.completions % 2];
    values[thread % kWarpSize] = value;
    Arrive(warp.barrier, kWarpSize);
    return values[static_cast<std::size_t>(source_lane)];
  }

  static ThreadBlock* current_block;  // NOLINT

 private:
  static void Main() {
    ThreadBlock& block = *current_block;
#ifdef PAGEDKV_ASAN_FIBERS
    __sanitizer_finish_switch_fiber(nullptr, &block.main_bottom_,
                                    &block.main_size_);
#endif
    block.kernel_();
    Fiber& self = block.fibers_[thread_index.x];
    self.has_ended = true;
    --block.num_running_;
    // Those who wait for the thread block do not wait for this thread.
    Barrier& barrier = block.block_barrier_;
    if (barrier.arrived > 0 && barrier.arrived == block.num_running_) {
      Complete(barrier);
    }
#ifdef PAGEDKV_ASAN_FIBERS
    __sanitizer_start_switch_fiber(nullptr, block.main_bottom_,
                                   block.main_size_);
#endif
    _longjmp(block.main_, 1);
  }

  static void Complete(Barrier& barrier) {
    barrier.arrived = 0;
    ++barrier.completions;
  }

  void Arrive(Barrier& barrier, int expected) {
    if (++barrier.arrived == expected) {
      Complete(barrier);
      return;
    }
    Fiber& self = fibers_[thread_index.x];
    self.awaited = &barrier.completions;
    self.seen = barrier.completions;
#ifdef PAGEDKV_ASAN_FIBERS
    __sanitizer_start_switch_fiber(&self.fake_stack, main_bottom_, main_size_);
#endif
    if (_setjmp(self.resume) == 0) _longjmp(main_, 1);
#ifdef PAGEDKV_ASAN_FIBERS
    __sanitizer_finish_switch_fiber(self.fake_stack, &main_bottom_,
                                    &main_size_);
#endif
  }

  void SwitchTo(Fiber& fiber) {
#ifdef PAGEDKV_ASAN_FIBERS
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, fiber.stack.get(), kStackBytes);
#endif
    if (_setjmp(main_) == 0) {
      if (fiber.has_begun) _longjmp(fiber.resume, 1);
      fiber.has_begun = true;
      setcontext(&fiber.context);
    }
#ifdef PAGEDKV_ASAN_FIBERS
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  }

  const std::function<void()>& kernel_;
  std::mt19937_64 random_;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  std::vector<std::size_t> order_;
  Barrier block_barrier_;
  int num_running_ = 0;
  jmp_buf main_{};
#ifdef PAGEDKV_ASAN_FIBERS
  const void* main_bottom_ = nullptr;
  std::size_t main_size_ = 0;
#endif
};

ThreadBlock* ThreadBlock::current_block = nullptr;

ThreadBlock& Current() {
  if (ThreadBlock::current_block == nullptr) {
    Fail("a barrier or an exchange in a kernel that was said to have none");
  }
  return *ThreadBlock::current_block;
}

}  // namespace

void Run(std::int64_t num_blocks, int num_threads, std::uint64_t seed,
         const std::function<void()>& kernel) {
  ThreadBlock block(num_threads, seed, kernel);
  for (std::int64_t b = 0; b < num_blocks; ++b) {
    block_index.x = static_cast<unsigned>(b);
    block.Run();
  }
}

void RunWithoutBarriers(std::int64_t num_blocks, int num_threads,
                        const std::function<void()>& kernel) {
  for (std::int64_t b = 0; b < num_blocks; ++b) {
    block_index.x = static_cast<unsigned>(b);
    for (int t = num_threads - 1; t >= 0; --t) {
      thread_index.x = static_cast<unsigned>(t);
      kernel();
    }
  }
}

void SyncBlock() { Current().SyncBlock(); }

std::uint64_t Exchange(std::uint64_t value, int source_lane) {
  return Current().Exchange(value, source_lane);
}

}  // namespace pagedkv::emulation
