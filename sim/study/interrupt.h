// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_INTERRUPT_H_
#define SIM_STUDY_INTERRUPT_H_

/// Ctrl-C (SIGINT) and SIGTERM, for a program that must leave no half-written
/// file. Signals belong to the process: to be used by one command at a time.

namespace pagedkv::sim {

/// The exit status, as shells report Ctrl-C.
inline constexpr int kExitInterrupted = 130;

/// From now on either signal ends the program with one line on stderr and
/// `kExitInterrupted`, unless it is deferred.
void EndOnInterrupt();

/// While it lives, a signal only shows in `Interrupted`, for work that has to
/// be stopped in order.
class DeferInterrupts {
 public:
  DeferInterrupts();
  ~DeferInterrupts();
  DeferInterrupts(const DeferInterrupts&) = delete;
  DeferInterrupts& operator=(const DeferInterrupts&) = delete;
};

/// Whether a deferred signal has come. Safe to call from any thread.
bool Interrupted();

/// Prints the line; returns `kExitInterrupted`.
int ReportInterrupted();

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_INTERRUPT_H_
