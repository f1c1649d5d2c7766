#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# replay_decisions_test.sh TOOL: the tool agrees with a recording worked out by
# hand, and notices when one is altered, cut off, missing or not supported.
set -u
tool=$1
data=$(dirname "$0")/testdata/pool.jsonl
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

# expect STATUS PATTERN FILE
expect() {
  local output status
  output=$("$tool" "$3" 2>&1)
  status=$?
  if [ "$status" != "$1" ] || ! grep -q -- "$2" <<<"$output"; then
    echo "$3: exit $status instead of $1, or no '$2' in: $output"
    failed=1
  fi
}

expect 0 ': 4 records, 0 differ' "$data"
sed 's/"new":\[\[3\]\]/"new":[[4]]/' "$data" >"$scratch/altered.jsonl"
expect 1 ': 4 records, 1 differ' "$scratch/altered.jsonl"
head -c -20 "$data" >"$scratch/cut.jsonl"
expect 2 'parse error' "$scratch/cut.jsonl"
sed 's/"kind":"full"/"kind":"ring"/' "$data" >"$scratch/kind.jsonl"
expect 2 '"ring", which is not known' "$scratch/kind.jsonl"
expect 2 'cannot be read' "$scratch/missing.jsonl"
exit "$failed"
