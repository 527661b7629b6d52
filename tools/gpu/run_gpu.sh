#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run_gpu.sh [BUILD-FOLDER] - all that is tested and measured on a card, in the repository root: ops
# against the reference, whole models, compute-sanitizer, then LLaVA-1.5-7B's shapes with made-up
# weights. Ends with a table; with OUT=FOLDER also results.csv and the logs there.
# BUILD-FOLDER: build/release (make test-gpu), or build/gpu, unpacked from build/gpu.tar.xz.
#   SKIP=bench|tests leaves that half out; PEER="eager static": how transformers keeps its cache, PEER= without
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
build=${1:-build/release}
out=${OUT:-$(mktemp -d)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -d "$build/lib" ] && export LD_LIBRARY_PATH=$PWD/$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
[ -d shared ] && export NEWSREADER_SHARED=$PWD/shared
export NEWSREADER_MODEL=$PWD/models/reader
rows="$out/results.csv"
echo 'what,result,seconds,note' >"$rows"
failed=0

row() { printf '%s,%s,%s,"%s"\n' "$1" "$2" "$3" "${4//\"/\'}" >>"$rows"; }

# step NAME SECONDS COMMAND...: its log, and a row
step() {
    local name=$1 limit=$2 log="$out/$1.log" begin status note
    shift 2
    begin=$(date +%s.%N)
    timeout "$limit" "$@" >"$log" 2>&1
    status=$?
    note=$(grep -E 'cuda_ops:|skipped|failed|FAILED|answers are|answers,|ERROR SUMMARY' "$log" | tail -1 | cut -c1-150)
    local seconds
    seconds=$(awk "BEGIN { printf \"%.1f\", $(date +%s.%N) - $begin }")
    if [ $status -eq 0 ]; then row "$name" ok "$seconds" "$note"
    else
        failed=1
        row "$name" "FAILED($status)" "$seconds" "$note"
        echo "---- $name: status $status"
        tail -25 "$log"
    fi
}

# bench NAME OPTIONS...: one row of a run's JSON lines, the best of its runs
bench() {
    local name=$1
    shift
    timeout 200 "$build/newsreader" bench --json "$@" >"$out/$name.json" 2>"$out/$name.log"
    local status=$?
    if [ $status -ne 0 ]; then
        failed=1
        row "$name" "FAILED($status)" '' "$(tail -1 "$out/$name.log" | cut -c1-150)"
        return
    fi
    python3 - "$out/$name.json" "$name" <<'END' >>"$rows"
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1])]
runs = [l for l in lines if "vision_ms" in l]
name = sys.argv[2]
best = lambda f: min(f(r) for r in runs)
rate = max(r["answer_tokens"] / r["decode_ms"] * 1e3 for r in runs if r["decode_ms"])
print(f'{name}: vision,{best(lambda r: r["vision_ms"]):.3f} ms,,"first {runs[0]["vision_ms"]:.2f}"')
print(f'{name}: prefill {runs[0]["prompt_tokens"]},{best(lambda r: r["prefill_ms"]):.3f} ms,,'
      f'"first {runs[0]["prefill_ms"]:.2f}"')
print(f'{name}: decode,{rate:.1f} tok/s,,"{runs[0]["answer_tokens"]} tokens"')
print(f'{name}: whole request,{best(lambda r: r["total_ms"]):.1f} ms,,"load {runs[0]["load_ms"]:.0f} ms"')
card = runs[-1].get("card")
if card:
    print(f'{name}: card,{card["reserved_bytes"] / 1e9:.3f} GB,,"process {card["process_bytes"]} '
          f'context {card["context_bytes"]} used {card["used_bytes"]} of {card["total_bytes"]}"')
print(f'{name}: host peak,{runs[-1]["peak_bytes"] / 1e9:.3f} GB,,"planned {runs[-1]["planned_bytes"]}"')
for l in lines:
    if "slots" in l:
        print(f'{name}: {l["slots"]} slots,{l["tokens_per_second"]:.1f} tok/s,,'
              f'"begun {l["begun_ms"]:.0f} ms, window {l["window_ms"]:.0f} ms, all {l["total_ms"]:.0f} ms"')
END
}

# full_size PRESET NAME: made-up weights of a published shape, INT8 on disk
full_size() {
    local f16=$work/$2-f16
    if ! { "$build/tools/make_checkpoint" --preset "$1" "$f16" &&
        "$build/newsreader" quantize "$f16" "$work/$2"; } >"$out/make-$2.log" 2>&1; then
        row "make-$2" FAILED '' "$(tail -1 "$out/make-$2.log" | cut -c1-150)"
    fi
    rm -rf "$f16"
}

nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used,clocks.sm,clocks.mem \
    --format=csv,noheader 2>/dev/null
if [ "${SKIP:-}" != bench ]; then # made while the tests run
    {
        full_size llava-1.5-7b llava
        full_size blip2-opt-2.7b blip2
    } &
fi
if [ "${SKIP:-}" != tests ]; then
    NR_CUDA_KERNELS=plain step ops-plain 60 "$build/tests/gpu/test_cuda_ops"
    NR_CUDA_ATTENTION=fast step ops-fast 60 "$build/tests/gpu/test_cuda_ops"
    NR_CUDA_ATTENTION=exact step ops-exact 60 "$build/tests/gpu/test_cuda_ops"
    step device 60 "$build/tests/engine/test_device"
    NR_CUDA_KERNELS=plain step engine-plain 120 "$build/tests/gpu/test_cuda_engine"
    NR_CUDA_ATTENTION=fast step engine-fast 90 "$build/tests/gpu/test_cuda_engine"
    step engine 90 "$build/tests/gpu/test_cuda_engine"
    for t in golden reader spans sched image_cache determinism; do
        NR_DEVICE=cuda:0 step "$t" 90 "$build/tests/engine/test_$t"
    done
    [ -d "$build/pages" ] && step pages 120 python3 tools/gpu/same_answers.py "$build"
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
    if [ -n "$sanitizer" ]; then
        step memcheck 90 "$sanitizer" --tool memcheck --error-exitcode 9 \
            "$build/tests/gpu/test_cuda_ops" few
    else
        row memcheck skipped '' 'no compute-sanitizer'
    fi
fi
wait
bench reader --device cuda:0 --runs 5
NR_CUDA_ATTENTION=fast bench reader-fast --device cuda:0 --runs 5
if [ "${SKIP:-}" != bench ]; then
    card=(--device cuda:0 --context 1024)
    bench llava --model "$work/llava" "${card[@]}" --runs 5
    bench llava-32 --model "$work/llava" "${card[@]}" --slots 32 --tokens 256
    bench llava-8 --model "$work/llava" "${card[@]}" --slots 8 --tokens 160
    # split with this machine's CPU: a quarter of the layers, the vision tower
    bench llava-24-layers --model "$work/llava" "${card[@]}" --gpu-layers 24 --vision gpu --tokens 48 --runs 2
    bench llava-tower-aside --model "$work/llava" "${card[@]}" --vision cpu --runs 2
    NR_CUDA_ATTENTION=exact bench llava-exact --model "$work/llava" "${card[@]}" --runs 2
    NR_CUDA_GRAPHS=0 bench llava-no-graphs --model "$work/llava" "${card[@]}" --runs 2
    bench blip2 --model "$work/blip2" "${card[@]}" --runs 3
    if [ -n "${PEER=eager}" ] && python3 -c 'import transformers' 2>/dev/null; then # on the same card
        for model in llava blip2; do
            # shellcheck disable=SC2086
            timeout 240 python3 tools/gpu/transformers_peer.py $model $PEER 2>"$out/peer-$model.log" |
                sed -n 's/^\(transformers [^,]*\),\([^,]*\),\(.*\)/\1,\2,,"median \3"/p' >>"$rows"
        done
        timeout 60 python3 tools/gpu/cublaslt_peer.py 2>"$out/peer-cublaslt.log" >>"$rows"
    fi
fi
echo
column -s, -t <"$rows" 2>/dev/null || cat "$rows"
exit $failed
