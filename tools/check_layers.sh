#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# check_layers.sh [FOLDER] - the dependency direction, enforced: every `#include "..."` is looked up
# by its (unique) file name and compared with the table below. Prints each forbidden line and ends
# with status 1 when there is one. The table is the one of docs/ARCHITECTURE.md.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

# Who may include what: a folder (its subfolders are named separately) or one header.
# A folder always may include itself and src/base.
table='
src/base             include/newsreader_types.h
src/formats          src/tensor/dtype.h
src/image
src/tensor
src/backends         src/tensor
src/backends/cpu     src/backends/backend.h src/backends/host_memory.h src/backends/vec_math.inc src/tensor
src/backends/cuda    src/backends/backend.h src/backends/vec_math.inc src/tensor
src/runtime          src/tensor src/backends/backend.h
src/text             src/formats
src/models           src/tensor src/formats src/runtime src/backends/backend.h src/image/preprocess.h
src/models/vision    src/models src/tensor src/formats src/runtime src/backends/backend.h
src/models/bridge    src/models src/tensor src/formats src/runtime src/backends/backend.h
src/models/language  src/models src/tensor src/formats src/runtime src/backends/backend.h
src/models/vlm       src/models src/models/vision src/models/bridge src/models/language src/tensor src/formats src/runtime src/backends/backend.h src/image/preprocess.h
src/generate         src/tensor src/text src/runtime src/models/model.h
src/sched            src/generate src/runtime
src/engine           include src
cli                  include server/server.h
server               include
bench                include
bench/peers          include
bench/kernels        include src/base src/backends src/backends/cpu src/tensor
bench/cuda           include src/base src/backends src/backends/cuda src/tensor
include              include
'
# Exceptions that name one file: the registry is the only place that names models; an instruction
# set sees the kernel templates beside its folder.
table+='
src/models/registry.c                      src/models/vlm src/models/language src/models/vision src/models/bridge
src/backends/cpu/scalar                    src/backends src/backends/cpu src/tensor
src/backends/cpu/avx2                      src/backends src/backends/cpu src/tensor
src/backends/cpu/avx512vnni                src/backends src/backends/cpu src/tensor
src/backends/cpu/amx                       src/backends src/backends/cpu src/tensor
src/backends/cpu/neon                      src/backends src/backends/cpu src/tensor
'
# A library's header is known to these folders alone.
libraries='
jansson.h     src/formats/ src/text/ cli/ server/
event2/       server/
curl/         server/
seccomp.h     server/
jpeglib.h     src/image/
turbojpeg.h   src/image/
png.h         src/image/
webp/         src/image/
gif_lib.h     src/image/
pcre2.h       src/text/
nettle/       src/engine/
unistr.h      src/text/
uninorm.h     src/text/
unicase.h     src/text/
unictype.h    src/text/
immintrin.h   src/backends/cpu/ bench/kernels/
arm_neon.h    src/backends/cpu/ bench/kernels/
cuda          src/backends/cuda/ bench/cuda/
'
folders=()
for f in src include cli server bench; do [ -d "$f" ] && folders+=("$f"); done
mapfile -t files < <(find "${folders[@]}" -type f \
    \( -name '*.c' -o -name '*.h' -o -name '*.inc' -o -name '*.cu' -o -name '*.cuh' \) | sort)

TABLE=$table LIBRARIES=$libraries awk '
function folder(path) { sub(/\/[^\/]*$/, "", path); return path }
function bad(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; n_bad++ }
function may(from, to, to_folder,    words, n, i) {
    if (!(from in allowed)) return 0
    n = split(allowed[from], words, " ")
    for (i = 1; i <= n; i++)
        if (words[i] == to || words[i] == to_folder ||
            (words[i] == "src" && index(to, "src/") == 1)) return 1
    return 0
}
BEGIN {
    n = split(ENVIRON["TABLE"], lines, "\n")
    for (i = 1; i <= n; i++) {
        if (split(lines[i], w, " ") == 0) continue
        rest = lines[i]; sub(/^[^ ]+ */, "", rest)
        allowed[w[1]] = allowed[w[1]] " " rest
    }
    n = split(ENVIRON["LIBRARIES"], lines, "\n")
    for (i = 1; i <= n; i++) if (split(lines[i], w, " ") >= 2) home[w[1]] = lines[i]
    for (i = 1; i < ARGC; i++) {
        name = ARGV[i]; sub(/.*\//, "", name)
        where[name] = ARGV[i]
    }
}
/^[ \t]*#[ \t]*include[ \t]*</ {
    name = $0; sub(/.*</, "", name); sub(/>.*/, "", name)
    for (lib in home) {
        if (index(name, lib) != 1) continue
        n = split(home[lib], w, " ")
        at_home = 0
        for (i = 2; i <= n; i++) at_home += index(FILENAME, w[i]) == 1
        if (!at_home) bad("<" name "> is not for this folder; it is known to: " home[lib])
    }
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    name = $0; sub(/^[^"]*"/, "", name); sub(/".*/, "", name)
    from = folder(FILENAME); base = name; sub(/.*\//, "", base)
    if (!(base in where)) { bad("\"" name "\" is not in the tree"); next }
    to = where[base]; to_folder = folder(to)
    if (to_folder == from) next
    if (index(from, "src") == 1 && to_folder == "src/base") next
    if (!may(from, to, to_folder) && !may(FILENAME, to, to_folder))
        bad(from " may not include " to)
}
# Names that only one place may know.
/nr_backend_(cpu|cuda)_open/ && !/^ *\*/ {
    if (FILENAME ~ /^src\// && FILENAME !~ /^src\/(backends|engine)\//)
        bad("only src/engine names devices")
}
END { exit n_bad > 0 }
' "${files[@]}" && echo "layers: ${#files[@]} files, direction kept"
