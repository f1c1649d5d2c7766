#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# default_differs_test.sh TOOL FILE: a recording with decisions that upstream
# gets wrong is repeated with the option vllm_compatible, and not by default.
set -u
tool=$1 file=$2
failed=0
"$tool" "$file" || { echo "with vllm_compatible it should be equal"; failed=1; }
"$tool" --default "$file"
[ $? = 1 ] || { echo "by default it should differ"; failed=1; }
exit "$failed"
