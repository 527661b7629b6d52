# SPDX-License-Identifier: MIT
"""transformers' BLIP-2-OPT-2.7B in bfloat16 with random weights and 8 of the 32 OPT layers: the
other side of newsreader's 8-layer checkpoint in `make bench-peers`. Does what it reads from standard
input: `request` is a picture (ViT-g, Q-Former, projection), 72 positions of prompt, N tokens.

    blip2_peer.py THREADS TOKENS
"""
import json
import sys
import time

import torch
from transformers import Blip2Config, Blip2ForConditionalGeneration

LAYERS, PROMPT = 8, 72


def say(stage, ms, tokens=0):
    print(json.dumps({"stage": stage, "ms": ms, "tokens": tokens}), flush=True)


def timed(function):
    start = time.perf_counter()
    result = function()
    return result, (time.perf_counter() - start) * 1e3


def make_model():
    """The published configuration, restated; the rest of it is transformers' default."""
    config = Blip2Config(
        vision_config={"hidden_size": 1408, "intermediate_size": 6144, "num_hidden_layers": 39,
                       "num_attention_heads": 16, "image_size": 224, "patch_size": 14},
        qformer_config={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                        "num_attention_heads": 12, "encoder_hidden_size": 1408},
        text_config={"model_type": "opt", "vocab_size": 50304, "hidden_size": 2560,
                     "ffn_dim": 10240, "num_hidden_layers": LAYERS, "num_attention_heads": 32,
                     "word_embed_proj_dim": 2560},
        num_query_tokens=32)
    torch.set_default_dtype(torch.bfloat16)
    model = Blip2ForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    return model.to(torch.bfloat16).eval()


def picture(model, pixels):
    states = model.vision_model(pixels).last_hidden_state
    queries = model.query_tokens.expand(1, -1, -1)
    out = model.qformer(query_embeds=queries, encoder_hidden_states=states)
    return model.language_projection(out[0].to(torch.bfloat16))


def request(model, n_tokens):
    pixels = torch.randn(1, 3, 224, 224).to(torch.bfloat16)
    features, ms = timed(lambda: picture(model, pixels))
    say("vision", ms, features.shape[1])
    text = model.get_input_embeddings()(torch.full((1, PROMPT - features.shape[1]), 100))
    embeds = torch.cat([features, text], dim=1)
    language = model.language_model
    out, ms = timed(lambda: language(inputs_embeds=embeds, use_cache=True, logits_to_keep=1))
    say("prefill", ms, PROMPT)
    start = time.perf_counter()
    for _ in range(n_tokens):
        token = out.logits[:, -1:].argmax(-1)
        out = language(input_ids=token, past_key_values=out.past_key_values, use_cache=True)
    say("decode", (time.perf_counter() - start) * 1e3, n_tokens)


def main():
    torch.set_num_threads(int(sys.argv[1]))
    with torch.inference_mode():
        model = make_model()
        say("open", 0.0)
        say("done", 0.0)
        for line in sys.stdin:
            if line.strip() == "request":
                request(model, int(sys.argv[2]))
            say("done", 0.0)


if __name__ == "__main__":
    main()
