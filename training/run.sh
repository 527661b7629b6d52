#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The whole recipe: assets, tokenizer, training on every GPU there is, evaluation, export.
#   training/run.sh [SECONDS_OF_TRAINING]      default 1500; needs packages.txt and the Python packages of README.md
# Interrupted, it goes on from its last checkpoint (build/reader/checkpoint.pt, every 75 s).
set -euo pipefail
cd "$(dirname "$0")/.."
total=${1:-1500}
assets=${READER_ASSETS:-training/assets}
[ -e "$assets/fonts" ] || python3 -m training.collect
[ -e "$assets/tokenizer.json" ] || python3 -m training.tokenizer
if command -v chromium >/dev/null; then
    [ -e "$assets/chrome" ] || python3 -m training.chrome train "$assets/chrome" --pages 700
    [ -e "$assets/chrome-held" ] || python3 -m training.chrome held "$assets/chrome-held" --pages 140
fi
python3 -m training.train --total "$total" --run "$total" --dir build/reader
[ -e build/evalset/labels.jsonl ] || python3 -m training.evalset build/evalset --pages 1000
sets=(build/evalset)
[ -e "$assets/chrome-held" ] && sets+=("$assets/chrome-held")
python3 -m training.evaluate build/reader/model "${sets[@]}" --out build/reader/report.json
