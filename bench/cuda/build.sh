#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# build.sh [emulate] - the CUDA kernel lab. Without an argument: build/cuda-lab/cuda_lab for the cards
# in CUDA_ARCHS (80 86 89 90a), the runtime linked in; needs nvcc, no card. emulate:
# build/cuda-lab/lab_emulated, the checks of the same program on the host; needs CUDA's headers alone.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=build/cuda-lab
mkdir -p $out/emulated $out/host
includes="-Ibench/cuda -Isrc/backends/cuda -Isrc/backends -Isrc/base -Isrc/tensor -Iinclude"
kernels=$(cd src/backends/cuda && ls -- *.cu)
lab="lab lab_linear lab_attention lab_join lab_rows lab_time lab_vision"
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)

# Is there anything that TARGET may be built from and that is newer?
newer() { # TARGET SOURCE
    [ ! -f "$1" ] || [ "$2" -nt "$1" ] || [ "$0" -nt "$1" ] ||
        [ -n "$(find bench/cuda src/backends src/base src/tensor -newer "$1" \
            \( -name '*.h' -o -name '*.cuh' -o -name '*.inc' -o -name translate.py \) | head -1)" ]
}
compile() { # OBJECT SOURCE COMMAND...: appends to $objects
    local object=$1 source=$2
    shift 2
    objects+=" $object"
    if newer "$object" "$source"; then "$@" -c "$source" -o "$object"; fi
}

objects=
for f in src/backends/ops_ref.c src/backends/host_memory.c src/tensor/*.c src/base/*.c; do
    compile "$out/host/$(basename "$f" .c).o" "$f" "${CC:-cc}" -std=c11 -O2 -ffp-contract=off -pthread \
        $includes
done

if [ "${1:-}" = emulate ]; then
    flags="-std=c++17 -O1 -g -ffp-contract=off -Wall -Wno-unknown-pragmas -DNR_CUDA_EMULATED
           $includes -isystem $(dirname "$(dirname "$nvcc")")/include"
    for f in $kernels; do
        c=$out/emulated/${f%.cu}.cc
        if newer "$c" "src/backends/cuda/$f"; then
            python3 bench/cuda/translate.py "src/backends/cuda/$f" > "$c"
        fi
        compile "${c%.cc}.o" "$c" g++ $flags
    done
    for f in ${lab/lab_time lab_vision/} emulate; do
        compile "$out/emulated/$f.o" "bench/cuda/$f.cc" g++ $flags
    done
    g++ $objects -o $out/lab_emulated -lm -pthread
    exit
fi

archs=
for sm in ${CUDA_ARCHS:-80 86 89 90a}; do archs+=" -gencode arch=compute_$sm,code=sm_$sm"; done
flags="-std=c++17 -O3 --fmad=false -Xcompiler -Wall $includes $archs --threads 2"
for f in $kernels; do
    compile "$out/${f%.cu}.o" "src/backends/cuda/$f" "$nvcc" $flags -lineinfo
done
compile $out/lab_fill.o bench/cuda/lab_fill.cu "$nvcc" $flags
for f in $lab; do compile $out/$f.o "bench/cuda/$f.cc" "$nvcc" $flags; done
"$nvcc" $objects -cudart static $archs -o $out/cuda_lab -lm -lpthread -ldl
ls -l $out/cuda_lab
