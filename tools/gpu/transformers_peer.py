# SPDX-License-Identifier: MIT
"""LLaVA-1.5-7B's shapes with random f16 weights through transformers: the peer of `newsreader bench`.

    python3 tools/gpu/transformers_peer.py [eager|static ...]

Prints CSV rows: what, milliseconds or tokens a second (best and median of the runs). One picture of
336 x 336 (576 tokens) and 40 tokens of text in, 128 out, greedy.
"""
import statistics, sys, time
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

RUNS, NEW = 5, 128


def build():
    vision = CLIPVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
                              image_size=336, patch_size=14, projection_dim=768)
    text = LlamaConfig(vocab_size=32064, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
                       num_attention_heads=32, max_position_embeddings=4096, rms_norm_eps=1e-5)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=32000, vision_feature_layer=-2,
                         vision_feature_select_strategy="default")
    torch.set_default_dtype(torch.float16)
    with torch.device("cuda"):
        model = LlavaForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


def timed(f, n=RUNS):
    times = []
    for i in range(n + 1):
        torch.cuda.synchronize()
        t = time.perf_counter()
        f()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - t) * 1e3)
    return min(times[1:]), statistics.median(times[1:])        # the first warms up


@torch.no_grad()
def main(ways):
    model = build()
    pixels = torch.randn(1, 3, 336, 336, device="cuda", dtype=torch.float16)
    ids = torch.randint(5, 31000, (1, 616), device="cuda")
    ids[0, 5:581] = 32000
    print("transformers: device memory GB,%.3f," % (torch.cuda.memory_allocated() / 1e9))
    print("transformers: vision + projector ms,%.3f,%.3f" % timed(lambda: model.get_image_features(pixel_values=pixels)))
    print("transformers: image + prefill 616 ms,%.3f,%.3f" % timed(lambda: model(input_ids=ids, pixel_values=pixels, logits_to_keep=1)))
    for way in ways:
        more = {"cache_implementation": "static"} if way == "static" else {}
        one = lambda n: model.generate(input_ids=ids, pixel_values=pixels, do_sample=False, max_new_tokens=n, min_new_tokens=n, **more)
        short = timed(lambda: one(1), 2)[0]
        best, median = timed(lambda: one(NEW), 2)
        print("transformers %s: whole request ms,%.1f,%.1f" % (way, best, median))
        print("transformers %s: decode tok/s,%.1f," % (way, (NEW - 1) / (best - short) * 1e3), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["eager", "static"])
