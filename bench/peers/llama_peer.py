# SPDX-License-Identifier: MIT
"""llama.cpp's side of `make bench-peers`: does what it reads from standard input, a word a line.

    llama_peer.py MODELS --threads 2 --tokens 32 --steps 8 [--plain]

MODELS holds what make_gguf.py writes: language-q8_0.gguf and vision-{f16,bf16,q8_0}.gguf.

    request   prefill, 616 tokens in one batch; decode, one sequence from there on
    four      decode4, four sequences 616 deep, one token of each a step
    vision    vision-TYPE, the tower and the projector over one picture, for each type

A line of JSON a stage, then {"stage": "done"}. llama.cpp sets itself up: flash attention and repacked
weights by its own choice, f16 cache. --plain: without repacked weights, so without AMX.
"""
import argparse
import ctypes
import json
import os
import resource
import sys
import time

import llama_cpp as lc
from llama_cpp import mtmd_cpp as mt

PROMPT, SEQUENCES, ROOM = 616, 4, 128
VISIONS = ("f16", "bf16", "q8_0")


def say(stage, ms, **more):
    print(json.dumps({"stage": stage, "ms": ms, **more}), flush=True)


def timed(function):
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


@lc.llama_log_callback
def silent(level, text, user_data):
    pass


def open_language(path, threads, plain):
    lc.llama_backend_init()
    params = lc.llama_model_default_params()
    params.n_gpu_layers = 0
    params.use_extra_bufts = not plain
    model = lc.llama_model_load_from_file(path.encode(), params)
    settings = lc.llama_context_default_params()
    settings.n_ctx = SEQUENCES * (PROMPT + ROOM)
    settings.n_batch = settings.n_ubatch = PROMPT
    settings.n_seq_max = SEQUENCES
    settings.n_threads = settings.n_threads_batch = threads
    context = lc.llama_init_from_model(model, settings)
    assert model and context, "llama.cpp could not open the language model"
    return model, context


def run_vision(model, path, threads):
    params = mt.mtmd_context_params_default()
    params.use_gpu = False
    params.n_threads = threads
    params.print_timings = False
    context = mt.mtmd_init_from_file(path.encode(), model, params)
    assert context, f"llama.cpp could not open {path}"
    side = 336
    pixels = (ctypes.c_uint8 * (side * side * 3))(*os.urandom(side * side * 3))
    bitmap = mt.mtmd_bitmap_init(side, side, pixels)
    chunks = mt.mtmd_input_chunks_init()
    marker = mt.mtmd_default_marker()
    text = mt.mtmd_input_text(text=marker, text_len=len(marker), add_special=False,
                              parse_special=True)
    bitmaps = (mt.mtmd_bitmap_p_ctypes * 1)(bitmap)
    assert mt.mtmd_tokenize(context, chunks, ctypes.byref(text), bitmaps, 1) == 0
    images = [c for i in range(mt.mtmd_input_chunks_size(chunks))
              for c in [mt.mtmd_input_chunks_get(chunks, i)]
              if mt.mtmd_input_chunk_get_type(c) == mt.MTMD_INPUT_CHUNK_TYPE_IMAGE]
    assert len(images) == 1 and mt.mtmd_input_chunk_get_n_tokens(images[0]) == 576
    times = [timed(lambda: mt.mtmd_encode_chunk(context, images[0])) for _ in range(3)]
    mt.mtmd_input_chunks_free(chunks)
    mt.mtmd_bitmap_free(bitmap)
    mt.mtmd_free(context)
    return min(times[1:])


def decode(context, batch, sequences, position, n_tokens):
    """n_tokens of a prompt for one sequence, or one token for each of several."""
    batch.n_tokens = n_tokens if n_tokens > 1 else len(sequences)
    for i in range(batch.n_tokens):
        prompt = n_tokens > 1
        batch.token[i] = 300 + i
        batch.pos[i] = position + i if prompt else position
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = sequences[0] if prompt else sequences[i]
        batch.logits[i] = not prompt or i == batch.n_tokens - 1
    assert lc.llama_decode(context, batch) == 0
    lc.llama_synchronize(context)


def request(context, batch, tokens):
    lc.llama_memory_clear(lc.llama_get_memory(context), True)
    say("prefill", timed(lambda: decode(context, batch, [0], 0, PROMPT)), tokens=PROMPT)
    start = time.perf_counter()
    for i in range(tokens):
        decode(context, batch, [0], PROMPT + i, 1)
    say("decode", (time.perf_counter() - start) * 1e3, tokens=tokens)


def four(context, batch, steps):
    """Four copies of a sequence that has been read; their caches are their own."""
    memory = lc.llama_get_memory(context)
    lc.llama_memory_clear(memory, True)
    decode(context, batch, [0], 0, PROMPT)
    for s in range(1, SEQUENCES):
        lc.llama_memory_seq_cp(memory, 0, s, -1, -1)
    everyone = list(range(SEQUENCES))
    decode(context, batch, everyone, PROMPT, 1)  # copies are made here
    start = time.perf_counter()
    for i in range(1, steps + 1):
        decode(context, batch, everyone, PROMPT + i, 1)
    say("decode4", (time.perf_counter() - start) * 1e3, tokens=steps * SEQUENCES)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    lc.llama_log_set(silent, None)
    model, context = open_language(os.path.join(args.models, "language-q8_0.gguf"), args.threads,
                                   args.plain)
    batch = lc.llama_batch_init(PROMPT, 0, 1)
    decode(context, batch, [0], 0, 8)  # first use of every buffer; a broken build ends here
    say("open", 0.0, version=lc.__version__, system=lc.llama_print_system_info().decode())
    say("done", 0.0)
    for line in sys.stdin:
        if line.strip() == "request":
            request(context, batch, args.tokens)
        if line.strip() == "four":
            four(context, batch, args.steps)
        if line.strip() == "vision":
            for kind in VISIONS:
                path = os.path.join(args.models, f"vision-{kind}.gguf")
                say("vision-" + kind, run_vision(model, path, args.threads))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        say("done", 0.0, tokens=peak)


if __name__ == "__main__":
    main()
