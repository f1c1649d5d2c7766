// SPDX-License-Identifier: Apache-2.0
#ifndef BASE_CHECK_H_
#define BASE_CHECK_H_

/// Broken invariants of the library itself: the only thing that aborts. What a
/// caller or a file can cause is a `Status`.

namespace pagedkv::internal {

[[noreturn]] void CheckFailed(const char* file, int line,
                              const char* condition);

}  // namespace pagedkv::internal

/// Aborts, with the place and the condition, unless `condition` holds.
#define PAGEDKV_CHECK(condition)                     \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::pagedkv::internal::CheckFailed(__FILE__, __LINE__, #condition))

/// The same where it is too expensive for production.
#ifdef NDEBUG
#define PAGEDKV_DCHECK(condition) static_cast<void>(sizeof(!(condition)))
#else
#define PAGEDKV_DCHECK(condition) PAGEDKV_CHECK(condition)
#endif

#endif  // BASE_CHECK_H_
