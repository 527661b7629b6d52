#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# check_style.sh [FOLDER] - what a script can see of docs/STYLE.md: file names unique, an SPDX line in
# every source, file, function and line length, no tabs or trailing blanks; in the library, memory
# only from nr_alloc.c, and nothing that prints or ends the process.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

folders=()
for f in src include cli server bench tests tools web .ci; do [ -d "$f" ] && folders+=("$f"); done
mapfile -t files < <(find "${folders[@]}" -type f -not -path 'tests/data/*' -not -path '*/corpus/*' \
    \( -name '*.c' -o -name '*.h' -o -name '*.inc' -o -name '*.cu' -o -name '*.cuh' -o -name '*.sh' \
       -o -name '*.py' -o -path .ci/run \) | sort)
n_bad=0

twice=$(printf '%s\n' "${files[@]##*/}" | sort | uniq -d)
for name in $twice; do
    printf '%s: name used twice\n' $(printf '%s\n' "${files[@]}" | grep "/$name\$")
    n_bad=1
done

awk '
function bad(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; n_bad++ }
function finish_file() {
    if (last == "") return
    if (!spdx) printf "%s: no SPDX line in the first three\n", last
    if (n_lines > 1200) printf "%s: %d lines, at most 1200\n", last, n_lines
    n_bad += !spdx + (n_lines > 1200)
}
FNR == 1 {
    finish_file()
    last = FILENAME; spdx = 0; in_function = 0
    is_c = FILENAME ~ /\.(c|h|inc|cu|cuh)$/
    library = FILENAME ~ /^src\// && is_c
    function_max = FILENAME ~ /^src\/backends\/(cpu|cuda)\// ? 150 : 70
}
{ n_lines = FNR }
FNR <= 3 && /SPDX-License-Identifier: MIT/ { spdx = 1 }
/[ \t\r]$/ { bad("trailing blank") }
!is_c { next }
/\t/ { bad("tab") }
length($0) > 100 {
    text = $0; gsub(/[\200-\277]/, "", text) # count characters, not UTF-8 bytes
    if (length(text) > 120) bad(length(text) " columns, at most 100")
    else if (length(text) > 100) n_wide++ # clang-format wraps code; a comment may stick out
}
/^[A-Za-z_].*[^;]$/ && !/^(#|typedef|struct|enum|union|static const .*= *{|}|extern)/ && /\(/ {
    begin = FNR; in_function = 1
}
/^}/ {
    if (in_function && FNR - begin + 1 > function_max)
        bad("function of " FNR - begin + 1 " lines, at most " function_max)
    in_function = 0
}
library {
    code = $0
    gsub(/"([^"\\]|\\.)*"/, "\"\"", code); gsub(/\/\*.*\*\//, "", code); sub(/\/\/.*/, "", code)
    if (code ~ /^ *\*/ || code ~ /^ *\/\*/) next
    if (FILENAME != "src/base/nr_alloc.c" &&
        code ~ /(^|[^A-Za-z0-9_])(malloc|calloc|realloc|free|strdup|strndup|asprintf|aligned_alloc|posix_memalign) *\(/)
        bad("memory comes from nr_alloc.h")
    if (FILENAME == "src/base/nr_child.c") gsub(/_exit/, "", code) # of the child it made
    if (code ~ /(^|[^A-Za-z0-9_])(printf|fprintf|puts|putchar|perror|exit|_exit|abort|signal|sigaction) *\(/)
        bad("the library neither prints nor ends the process")
    if (code ~ /(^|[^A-Za-z0-9_])(strcpy|strcat|sprintf|gets|atoi|atof|strtok) *\(/)
        bad("unbounded or unchecked libc call")
}
END {
    finish_file()
    if (n_wide) printf "style: %d lines are over 100 columns\n", n_wide
    exit n_bad > 0
}
' "${files[@]}" || n_bad=1

[ $n_bad -eq 0 ] && echo "style: ${#files[@]} files"
exit $n_bad
