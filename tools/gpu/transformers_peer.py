# SPDX-License-Identifier: MIT
"""LLaVA-1.5-7B's and BLIP-2-OPT-2.7B's shapes with random f16 weights through transformers: the peers of
`newsreader bench --device cuda:0`.

    python3 tools/gpu/transformers_peer.py [llava|blip2] [eager|static ...]

Prints CSV rows: what, milliseconds or tokens a second (best and median of the runs). One picture and 40
tokens of text in, greedy; 128 tokens out (BLIP-2: 64). `static` is transformers' static cache, with which
it compiles the step.
"""
import statistics, sys, time
import torch
from transformers import (Blip2Config, Blip2ForConditionalGeneration, CLIPVisionConfig, LlamaConfig, LlavaConfig,
                          LlavaForConditionalGeneration)

RUNS, TEXT, IMAGE_ID = 5, 40, 32000
DEVICE = "cuda"


def llava_config():
    vision = CLIPVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
                              image_size=336, patch_size=14, projection_dim=768)
    text = LlamaConfig(vocab_size=32064, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
                       num_attention_heads=32, max_position_embeddings=4096, rms_norm_eps=1e-5)
    return LlavaConfig(vision_config=vision, text_config=text, image_token_id=IMAGE_ID, vision_feature_layer=-2,
                       vision_feature_select_strategy="default")


def blip2_config():
    vision = {"hidden_size": 1408, "intermediate_size": 6144, "num_hidden_layers": 39, "num_attention_heads": 16,
              "image_size": 224, "patch_size": 14}
    qformer = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
               "encoder_hidden_size": 1408}
    text = {"model_type": "opt", "vocab_size": 50304, "hidden_size": 2560, "ffn_dim": 10240, "num_hidden_layers": 32,
            "num_attention_heads": 32, "word_embed_proj_dim": 2560}
    return Blip2Config(vision_config=vision, qformer_config=qformer, text_config=text, num_query_tokens=32,
                       image_token_index=IMAGE_ID)


# model: class, configuration, side of the picture, its tokens, tokens out
MODELS = {"llava": (LlavaForConditionalGeneration, llava_config, 336, 576, 128),
          "blip2": (Blip2ForConditionalGeneration, blip2_config, 224, 32, 64)}


def build(cls, config):
    torch.set_default_dtype(torch.float16)
    with torch.device(DEVICE):
        model = cls(config).eval()
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
def main(name, ways):
    cls, config, side, image_tokens, new = MODELS[name]
    model = build(cls, config())
    say = lambda what, numbers: print("transformers %s %s,%s" % (name, what, numbers), flush=True)
    pixels = torch.randn(1, 3, side, side, device=DEVICE, dtype=torch.float16)
    ids = torch.randint(5, 31000, (1, image_tokens + TEXT), device=DEVICE)
    ids[0, 5:5 + image_tokens] = IMAGE_ID
    say("device memory GB", "%.3f," % (torch.cuda.memory_allocated() / 1e9))
    say("vision + projector ms", "%.3f,%.3f" % timed(lambda: model.get_image_features(pixel_values=pixels)))
    say("image + prefill %d ms" % ids.shape[1],
        "%.3f,%.3f" % timed(lambda: model(input_ids=ids, pixel_values=pixels, logits_to_keep=1)))
    for way in ways:
        more = {"cache_implementation": "static"} if way == "static" else {}
        one = lambda n: model.generate(input_ids=ids, pixel_values=pixels, do_sample=False, max_new_tokens=n, min_new_tokens=n, **more)
        short = timed(lambda: one(1), 2)[0]
        best, median = timed(lambda: one(new), 2)
        say("cache " + way + ": whole request ms", "%.1f,%.1f" % (best, median))
        say("cache " + way + ": decode tok/s", "%.1f," % ((new - 1) / (best - short) * 1e3))


if __name__ == "__main__":
    args = sys.argv[1:]
    model_name = args.pop(0) if args and args[0] in MODELS else "llava"
    main(model_name, args or ["eager"])
