// SPDX-License-Identifier: Apache-2.0
#include "sim/study/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string_view>

namespace pagedkv::sim {
namespace {

// Lock-free, and so fit for a signal handler.
std::atomic<bool> deferred = false;
std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free);

void HandleSignal(int /*signal*/) {
  if (!deferred) _exit(ReportInterrupted());
  interrupted = true;
}

}  // namespace

void EndOnInterrupt() {
  struct sigaction action{};
  action.sa_handler = HandleSignal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

DeferInterrupts::DeferInterrupts() { deferred = true; }
DeferInterrupts::~DeferInterrupts() { deferred = false; }

bool Interrupted() { return interrupted.load(std::memory_order_relaxed); }

int ReportInterrupted() {
  constexpr std::string_view kLine = "pagedkv: interrupted\n";
  // Not iostream: this runs in a signal handler. Where stderr is closed there
  // is nobody to tell.
  if (write(STDERR_FILENO, kLine.data(), kLine.size()) < 0) {
  }
  return kExitInterrupted;
}

}  // namespace pagedkv::sim
