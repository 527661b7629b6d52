#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run.sh [run.py's options] - `make bench-peers`: installs the peers, writes the models, measures all
# in turn, prints ratios, and writes bench/results/, docs/roofline.png and the tables of
# docs/PERFORMANCE.md. Only what is missing is made; 6 GB in PEERS_DIR (default
# /var/tmp/newsreader-peers), which may be removed afterwards.
#
# PEERS_TORCH_PYTHON names a Python that has torch and transformers, for BLIP-2's peer.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
dir=${PEERS_DIR:-/var/tmp/newsreader-peers}
python=$dir/venv/bin/python
tools=$root/build/release
mkdir -p "$dir/models"

"$root/tools/install_deps.sh" build peers
if [ ! -x "$python" ]; then python3 -m venv "$dir/venv"; fi
if ! "$python" -c 'import gguf, matplotlib' 2>/dev/null; then
    "$dir/venv/bin/pip" install -q gguf matplotlib
fi
# clang: with gcc 12, llama.cpp's AMX path ends at its first tile configuration, of whose 64 bytes
# gcc's intrinsic names 8. clang 14's "native" leaves AMX out and its macros have other names.
if ! "$python" -c 'import llama_cpp' 2>/dev/null; then
    echo 'building llama-cpp-python for this machine (minutes)'
    flags=
    if grep -qw amx_int8 /proc/cpuinfo; then
        flags='-mamx-tile -mamx-int8 -mamx-bf16 -D__AMX_INT8__ -D__AMX_TILE__'
    fi
    CC=clang CXX=clang++ CFLAGS=$flags CXXFLAGS=$flags CMAKE_ARGS=-DGGML_NATIVE=ON \
        CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) \
        "$dir/venv/bin/pip" install -q --no-cache-dir llama-cpp-python
fi

# Whole, or not there: a model is made under another name.
model() { # name, command that writes its first argument
    local to=$dir/models/$1
    shift
    if [ -e "$to" ]; then return; fi
    rm -rf "$to.part"
    "$@" "$to.part" && mv "$to.part" "$to"
}
checkpoint() { # preset, setting, out
    rm -rf "$3.f16"
    "$tools/tools/make_checkpoint" --preset "$1" "$3.f16" "$2" >/dev/null
    "$tools/newsreader" quantize "$3.f16" "$3" >/dev/null
    rm -rf "$3.f16"
}
gguf() { # part, type, out
    "$python" "$here/make_gguf.py" "$1" "$3" --type "$2" --layers 8
}
model llava-8-layers checkpoint llava-1.5-7b text.num_hidden_layers=8
model blip2-8-layers checkpoint blip2-opt-2.7b text.num_hidden_layers=8
model language-q8_0.gguf gguf language q8_0
for type in f16 bf16 q8_0; do model "vision-$type.gguf" gguf vision "$type"; done

priority=()
if [ "$(id -u)" -eq 0 ]; then priority=(nice -n -15); fi
"${priority[@]}" "$python" "$here/run.py" "$dir" "$@"
"$python" "$here/report.py" "$dir/log.jsonl" "$root"
