// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_KERNELS_KERNEL_ARGUMENTS_H_
#define ALLOCATOR_KERNELS_KERNEL_ARGUMENTS_H_

/// What kernels ask of their arguments, whichever device they run on.

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"

#include "pagedkv/kv_kernels.h"
#include "pagedkv/kv_tensor.h"

namespace pagedkv {

/// InvalidArgument, naming `name` and what is wrong, if no kernel can read or
/// write `view`. A view without heads is fine: there is nothing to do.
absl::Status CheckView(const KvTensorView& view, std::string_view name);

/// The same of rows outside of blocks, of which there are more than none.
absl::Status CheckRows(const ConstKvRows& rows, std::string_view name);
absl::Status CheckRows(const KvRows& rows, std::string_view name);

/// InvalidArgument unless `slots` are whole runs of `view.channel_run`.
/// REQUIRES: a scale per channel.
absl::Status CheckChannelSlots(const KvTensorView& view,
                               std::span<const std::int64_t> slots);

}  // namespace pagedkv

#endif  // ALLOCATOR_KERNELS_KERNEL_ARGUMENTS_H_
