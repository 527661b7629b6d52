#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# pack_gpu.sh - what tools/gpu/run_gpu.sh needs on a machine with a card that has no Debian packages: the
# programs of this build without their symbols and the libraries they load, as build/gpu.tar.xz.
# Models, pictures and scripts come from the repository. With PAGES=FOLDER also the pages there (*.png, none
# of them from training) and what the bundled model answers about them on this CPU.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests='gpu/test_cuda_ops gpu/test_cuda_engine engine/test_device engine/test_golden
       engine/test_reader engine/test_spans engine/test_sched engine/test_determinism
       engine/test_image_cache'
make BUILD=release all $(printf 'build/release/tests/%s ' $tests)
rm -rf build/gpu build/gpu.tar.xz
mkdir -p build/gpu/lib build/gpu/tools build/gpu/tests/gpu build/gpu/tests/engine
for f in newsreader tools/make_checkpoint $(printf 'tests/%s ' $tests); do
    strip -o "build/gpu/$f" "build/release/$f"
done
lab=build/cuda-lab/cuda_lab # where bench/cuda/build.sh was run
[ -x $lab ] && strip -o build/gpu/cuda_lab $lab
# All but the C library's own: those are the machine's.
ldd build/gpu/newsreader build/gpu/tests/engine/* | awk '$3 ~ /^\// { print $3 }' | sort -u |
    grep -vE '/(libc|libm|libdl|librt|libpthread|ld-linux[^/]*)\.so' | while read -r lib; do
        cp -L "$lib" build/gpu/lib/
    done
[ -n "${PAGES:-}" ] && python3 tools/gpu/same_answers.py record build/gpu "$PAGES"/*.png
tar -C build -cJf build/gpu.tar.xz gpu
ls -l build/gpu.tar.xz
