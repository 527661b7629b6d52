#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# check_symbols.sh [LIBRARY] - every external name of the library begins with nr_, and what is
# visible from outside is exactly what the public headers declare with NR_API.
set -euo pipefail
cd "$(dirname "$0")/.."
lib=${1:-build/release/libnewsreader.a}
[ -f "$lib" ] || { echo "$lib: not built" >&2; exit 1; }
n_bad=0

defined=$(readelf -sW "$lib" | awk '$5 ~ /GLOBAL|WEAK/ && $7 != "UND" && NF == 8 { print $6, $8 }' | sort -u)
foreign=$(awk '$2 !~ /^nr_/ { print $2 }' <<<"$defined")
if [ -n "$foreign" ]; then
    printf 'external name without nr_: %s\n' $foreign
    n_bad=1
fi
visible=$(awk '$1 == "DEFAULT" { print $2 }' <<<"$defined" | sort -u)
declared=$(cat include/*.h | tr '\n' ' ' | grep -oE 'NR_API [^;(]*\(' | grep -oE 'nr_[a-z0-9_]+ *\($' \
           | tr -d ' (' | sort -u)
only_visible=$(comm -23 <(echo "$visible") <(echo "$declared"))
only_declared=$(comm -13 <(echo "$visible") <(echo "$declared"))
if [ -n "$only_visible" ]; then
    printf 'visible, but not declared NR_API in include/: %s\n' $only_visible
    n_bad=1
fi
if [ -n "$only_declared" ]; then
    printf 'declared NR_API, but not in the library: %s\n' $only_declared
    n_bad=1
fi
[ $n_bad -eq 0 ] && echo "symbols: $(wc -w <<<"$visible") public, $(wc -l <<<"$defined") external"
exit $n_bad
