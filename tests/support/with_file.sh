#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# with_file.sh FILE COMMAND...: runs COMMAND FILE; where FILE does not exist,
# says so and exits with 77, which CTest reports as skipped.
set -eu
file=$1
shift
if [ ! -e "$file" ]; then
  echo "skipped: $file is not there"
  exit 77
fi
exec "$@" "$file"
