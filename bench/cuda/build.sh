#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# build.sh [emulate] - the CUDA kernel lab. Without an argument: build/cuda/cuda_lab for sm_80, 86, 89
# and 90a with the runtime linked in (needs nvcc, no card). emulate: build/cuda/lab_emulated, the
# checks of the same program on the host (needs the CUDA headers alone). FOLDER of both: build/cuda.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=build/cuda
mkdir -p $out/emulated $out/host
includes="-Ibench/cuda -Isrc/backends/cuda -Isrc/backends -Isrc/base -Isrc/tensor -Iinclude"
lab="lab lab_linear lab_attention lab_rows lab_time"
kernels=$(cd src/backends/cuda && ls *.cu | sed 's/\.cu$//')
for f in $lab; do [ -f bench/cuda/$f.cc ] || lab=${lab/$f/}; done

newer() { # newer TARGET: anything it may be built from is newer
    [ ! -f "$1" ] || [ -n "$(find bench/cuda src/backends "$2" -newer "$1" \
        \( -name '*.h' -o -name '*.cuh' -o -path "$2" \) | head -1)" ]
}

host=
for f in src/backends/ops_ref.c src/backends/host_memory.c src/tensor/*.c src/base/*.c; do
    o=$out/host/$(basename $f .c).o
    host+=" $o"
    newer $o $f && ${CC:-cc} -std=c11 -O2 -ffp-contract=off -pthread $includes -c $f -o $o || [ -f $o ]
done

if [ "${1:-}" = emulate ]; then
    cuda=$(dirname "$(dirname "$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)")")/include
    flags="-std=c++17 -O2 -g -ffp-contract=off -Wall -Wno-unknown-pragmas -DNR_CUDA_EMULATED
           $includes -isystem $cuda"
    objects=
    for f in $kernels; do
        o=$out/emulated/$f.o
        objects+=" $o"
        newer $o src/backends/cuda/$f.cu || continue
        python3 bench/cuda/translate.py src/backends/cuda/$f.cu > $out/emulated/$f.cc
        g++ $flags -c $out/emulated/$f.cc -o $o
    done
    for f in ${lab/lab_time/} emulate; do
        o=$out/emulated/$f.o
        objects+=" $o"
        newer $o bench/cuda/$f.cc || continue
        g++ $flags -c bench/cuda/$f.cc -o $o
    done
    g++ $objects $host -o $out/lab_emulated -lm -pthread
    exit
fi
archs=
for sm in ${CUDA_ARCHS:-80 86 89 90a}; do archs+=" -gencode arch=compute_$sm,code=sm_$sm"; done
flags="-std=c++17 -O3 --fmad=false -Xcompiler -Wall $includes $archs --threads 2"
objects=
for f in $kernels lab_fill; do
    src=src/backends/cuda/$f.cu
    [ -f $src ] || src=bench/cuda/$f.cu
    o=$out/$f.o
    objects+=" $o"
    newer $o $src && nvcc $flags -Xptxas -v -c $src -o $o 2> $out/$f.log || [ -f $o ] || { cat $out/$f.log; exit 1; }
done
for f in $lab; do
    o=$out/$f.o
    objects+=" $o"
    newer $o bench/cuda/$f.cc && nvcc $flags -c bench/cuda/$f.cc -o $o || [ -f $o ]
done
nvcc $objects $host -cudart static -o $out/cuda_lab -lm -lpthread -ldl
ls -l $out/cuda_lab
