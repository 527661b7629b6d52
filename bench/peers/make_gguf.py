# SPDX-License-Identifier: MIT
"""Write LLaVA-1.5-7B's shapes as GGUF files with random weights, for llama.cpp.

    make_gguf.py language OUT.gguf --layers 8  Q8_0, as llama-quantize makes it: matrices Q8_0, rest f32
    make_gguf.py vision OUT.gguf --type bf16   CLIP ViT-L/14-336 without its last layer, the projector

Tensors are written one after the other; memory stays under 1 GB. The words such a model says mean
nothing, and what a product takes does not depend on the numbers.
"""
import argparse

import gguf
import numpy as np

WIDTH, INNER, HEADS, WORDS = 4096, 11008, 32, 32064
V_LAYERS, V_WIDTH, V_INNER, V_HEADS, V_SIDE, V_PATCH = 23, 1024, 4096, 16, 336, 14
TYPES = {"q8_0": gguf.GGMLQuantizationType.Q8_0, "f16": gguf.GGMLQuantizationType.F16,
         "bf16": gguf.GGMLQuantizationType.BF16, "f32": gguf.GGMLQuantizationType.F32}
TILE_BLOCKS = 1 << 18


def random_tile(kind, rng):
    """Bytes of many blocks or values, small and finite, repeated to fill a tensor."""
    if kind == "q8_0":
        block = np.dtype([("scale", "<f2"), ("codes", "i1", 32)])
        tile = np.zeros(TILE_BLOCKS, block)
        tile["scale"] = 2e-4
        tile["codes"] = rng.integers(-127, 128, (TILE_BLOCKS, 32), dtype=np.int8)
        return tile.view(np.uint8)
    values = (rng.standard_normal(TILE_BLOCKS, dtype=np.float32) * 0.02)
    if kind == "f16":
        return values.astype(np.float16).view(np.uint8)
    if kind == "bf16":
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    return values.view(np.uint8)


def language_tensors(layers):
    yield "token_embd.weight", (WORDS, WIDTH), True
    for i in range(layers):
        b = f"blk.{i}."
        yield b + "attn_norm.weight", (WIDTH,), False
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"{b}{name}.weight", (WIDTH, WIDTH), True
        yield b + "ffn_norm.weight", (WIDTH,), False
        yield b + "ffn_gate.weight", (INNER, WIDTH), True
        yield b + "ffn_up.weight", (INNER, WIDTH), True
        yield b + "ffn_down.weight", (WIDTH, INNER), True
    yield "output_norm.weight", (WIDTH,), False
    yield "output.weight", (WORDS, WIDTH), True


def vision_tensors(_):
    patches = (V_SIDE // V_PATCH) ** 2
    yield "v.class_embd", (V_WIDTH,), False
    yield "v.patch_embd.weight", (V_WIDTH, 3, V_PATCH, V_PATCH), False
    yield "v.position_embd.weight", (patches + 1, V_WIDTH), False
    norms = ["v.pre_ln"] + [f"v.blk.{i}.ln{j}" for i in range(V_LAYERS) for j in (1, 2)]
    for name in norms:
        yield name + ".weight", (V_WIDTH,), False
        yield name + ".bias", (V_WIDTH,), False
    for i in range(V_LAYERS):
        shapes = {"attn_q": (V_WIDTH, V_WIDTH), "attn_k": (V_WIDTH, V_WIDTH),
                  "attn_v": (V_WIDTH, V_WIDTH), "attn_out": (V_WIDTH, V_WIDTH),
                  "ffn_up": (V_INNER, V_WIDTH), "ffn_down": (V_WIDTH, V_INNER)}
        for name, shape in shapes.items():
            yield f"v.blk.{i}.{name}.weight", shape, True
            yield f"v.blk.{i}.{name}.bias", shape[:1], False
    for name, shape in (("mm.0", (WIDTH, V_WIDTH)), ("mm.2", (WIDTH, WIDTH))):
        yield name + ".weight", shape, True
        yield name + ".bias", shape[:1], False


def describe_language(w, layers):
    w.add_context_length(4096)
    w.add_embedding_length(WIDTH)
    w.add_block_count(layers)
    w.add_feed_forward_length(INNER)
    w.add_head_count(HEADS)
    w.add_head_count_kv(HEADS)
    w.add_rope_dimension_count(WIDTH // HEADS)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(WORDS)
    w.add_tokenizer_model("llama")
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    words = specials + [f"w{i}" for i in range(len(specials), WORDS)]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (WORDS - len(specials))
    w.add_token_list(words)
    w.add_token_scores([-float(i) for i in range(WORDS)])
    w.add_token_types(kinds)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)


def describe_vision(w, _):
    w.add_bool("clip.has_vision_encoder", True)
    w.add_string("clip.projector_type", "mlp")
    w.add_bool("clip.use_gelu", False)
    for key, value in (("image_size", V_SIDE), ("patch_size", V_PATCH),
                       ("embedding_length", V_WIDTH), ("feed_forward_length", V_INNER),
                       ("projection_dim", 768), ("block_count", V_LAYERS),
                       ("attention.head_count", V_HEADS)):
        w.add_uint32("clip.vision." + key, value)
    w.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    w.add_array("clip.vision.image_mean", [0.48145466, 0.4578275, 0.40821073])
    w.add_array("clip.vision.image_std", [0.26862954, 0.26130258, 0.27577711])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("language", "vision"))
    parser.add_argument("out")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--type", choices=("q8_0", "f16", "bf16"), default="q8_0")
    args = parser.parse_args()
    language = args.part == "language"
    rng = np.random.default_rng(1)
    tiles = {kind: random_tile(kind, rng) for kind in {args.type, "f32"}}
    writer = gguf.GGUFWriter(args.out, "llama" if language else "clip")
    (describe_language if language else describe_vision)(writer, args.layers)
    plan = []
    for name, shape, is_matrix in (language_tensors if language else vision_tensors)(args.layers):
        kind = args.type if is_matrix else "f32"
        n_bytes = int(np.prod(shape)) * {"q8_0": 34 / 32, "f32": 4}.get(kind, 2)
        plan.append((name, shape, kind, int(n_bytes)))
        stored = shape if kind != "q8_0" else (*shape[:-1], shape[-1] // 32 * 34)
        dtype = {"q8_0": np.uint8, "f16": np.float16, "bf16": np.uint8}.get(kind, np.float32)
        if kind == "bf16":
            stored = (*shape[:-1], shape[-1] * 2)
        writer.add_tensor_info(name, stored, np.dtype(dtype), int(n_bytes), raw_dtype=TYPES[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, shape, kind, n_bytes in plan:
        tile = tiles[kind]
        writer.write_tensor_data(np.tile(tile, -(-n_bytes // tile.size))[:n_bytes])
    writer.close()


if __name__ == "__main__":
    main()
