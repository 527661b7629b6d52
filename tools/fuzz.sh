#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# fuzz.sh tests/fuzz/fuzz_NAME.c - runs a built libFuzzer target for SECONDS_EACH (60) seconds from
# its corpus. New inputs stay in build/fuzz/found/NAME; only a crash is worth copying into the corpus.
set -euo pipefail
name=$(basename "$1" .c)
name=${name#fuzz_}
found=build/fuzz/found/$name
mkdir -p "$found"
corpus=()
[ -d "tests/fuzz/corpus/$name" ] && corpus=("tests/fuzz/corpus/$name")
exec "build/fuzz/tests/fuzz/fuzz_$name" -max_total_time="${SECONDS_EACH:-60}" -timeout=10 \
    -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 -artifact_prefix="$found/" \
    "$found" "${corpus[@]}"
