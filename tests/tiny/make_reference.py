#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What transformers computes on the checkpoints of tools/make_checkpoint.

usage: make_reference.py CHECKPOINT OUT      (PyTorch, transformers, Pillow)

CHECKPOINT is a folder that make_checkpoint wrote. For every case OUT gets CASE.png, CASE.json
(prompt, ids, greedy continuation) and CASE.safetensors (pixel_values, "stage." + module name for
every layer, logits of the last four positions; all f32). The weights are used in f32, exactly as
the file holds them; the checkpoint itself is not stored, because its bytes follow from the seed.
"""
import json
import os
import sys

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers import (AutoConfig, AutoTokenizer, Blip2ForConditionalGeneration,
                          BlipImageProcessor, CLIPImageProcessor, LlavaForConditionalGeneration)

N_GREEDY = 24
MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])


def pictures():
    """name -> (RGB picture, question): one tall, one wide and smaller than the model's input."""
    y, x = np.mgrid[0:310, 0:200]
    bars = np.where((y // 9) % 2 == 0, 240, 40) + (x * 7 + y * 3) % 11
    tall = np.stack([bars, np.clip(bars + x // 8, 0, 255), 255 - bars % 256], -1)
    noise = np.random.RandomState(11).randint(0, 256, (23, 47, 3))
    return {
        "tall": (Image.fromarray(np.clip(tall, 0, 255).astype(np.uint8)), "What is the headline?"),
        "wide": (Image.fromarray(noise.astype(np.uint8)), "Describe this image."),
    }


def normalised(rows):
    """u8 rows scaled and normalised: f32 [1, 3, side, side]."""
    rows = (rows.astype(np.float64) / 255 - MEAN) / STD
    return torch.from_numpy(rows.transpose(2, 0, 1)[None].astype(np.float32))


def cropped(picture, side):
    """Shortest edge to side (Pillow bicubic), centre crop."""
    w, h = picture.size
    size = (side, int(side * h / w)) if w < h else (int(side * w / h), side)
    rows = np.asarray(picture.resize(size, Image.BICUBIC))
    top, left = (size[1] - side) // 2, (size[0] - side) // 2
    return normalised(rows[top : top + side, left : left + side])


def squashed(picture, side):
    """Both edges to side (Pillow bicubic)."""
    return normalised(np.asarray(picture.resize((side, side), Image.BICUBIC)))


def watch(model):
    """Record the output of every layer and of what stands between them, by module name."""
    seen, hooks = {}, []
    ends = ("pre_layrnorm", "multi_modal_projector", "language_model.norm", "embed_tokens",
            "language_projection", "decoder.final_layer_norm")

    def hook(name):
        def record(_module, _inputs, output):
            output = output[0] if isinstance(output, (tuple, list)) else output
            output = getattr(output, "last_hidden_state", output)
            if torch.is_tensor(output) and name not in seen:
                seen[name] = output.detach().float().clone().contiguous()

        return record

    for name, module in model.named_modules():
        is_layer = name.split(".")[-1].isdigit() and name.split(".")[-2] in ("layers", "layer")
        if is_layer or name.endswith(ends) or name in ("vision_model", "qformer"):
            hooks.append(module.register_forward_hook(hook(name)))
    return seen, hooks


def llava_inputs(config, tokenizer, picture, question):
    side = config.vision_config.image_size
    n_image = (side // config.vision_config.patch_size) ** 2
    prompt = f"USER: <image>\n{question} ASSISTANT:"
    ids = tokenizer(prompt)["input_ids"]
    image_id = config.image_token_id
    full = [i for t in ids for i in ([t] * n_image if t == image_id else [t])]
    return prompt, ids, full, cropped(picture, side)


def blip2_inputs(config, tokenizer, picture, question):
    """The tall picture gets a caption, the wide one a question."""
    prompt = "" if picture.height > picture.width else f"Question: {question} Answer:"
    ids = tokenizer(prompt)["input_ids"]
    full = [config.image_token_id] * config.num_query_tokens + ids
    return prompt, ids, full, squashed(picture, config.vision_config.image_size)


KINDS = {"llava": (LlavaForConditionalGeneration, CLIPImageProcessor, llava_inputs),
         "blip-2": (Blip2ForConditionalGeneration, BlipImageProcessor, blip2_inputs)}


def run_case(model, tokenizer, picture, question):
    inputs_of = KINDS[model.config.model_type][2]
    prompt, ids, full, pixels = inputs_of(model.config, tokenizer, picture, question)
    inputs = {
        "input_ids": torch.tensor([full]),
        "attention_mask": torch.ones(1, len(full), dtype=torch.long),
        "pixel_values": pixels,
    }
    seen, hooks = watch(model)
    logits = model(**inputs).logits[0].float()
    for h in hooks:
        h.remove()
    greedy = model.generate(
        **inputs, max_new_tokens=N_GREEDY, min_new_tokens=N_GREEDY, do_sample=False, num_beams=1
    )[0].tolist()
    if greedy[: len(full)] == full:
        greedy = greedy[len(full) :]
    tensors = {"pixel_values": inputs["pixel_values"], "logits": logits[-4:]}
    tensors.update({"stage." + k: v for k, v in seen.items()})
    meta = {
        "prompt": prompt,
        "prompt_ids": ids,
        "input_ids": full,
        "greedy_ids": greedy,
        "greedy_text": tokenizer.decode(greedy, skip_special_tokens=True),
        "stages": {k: list(v.shape) for k, v in tensors.items()},
        "logits": "last four positions",
        "made_with": f"transformers {transformers.__version__}, torch {torch.__version__}",
    }
    return meta, tensors


def main():
    checkpoint, out = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    torch.set_grad_enabled(False)
    network, processor, _ = KINDS[AutoConfig.from_pretrained(checkpoint).model_type]
    model, info = network.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    left = {k: sorted(v) for k, v in info.items() if v}
    assert not left, f"names or shapes that do not match: {left}"
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    processor.from_pretrained(checkpoint)
    for name, (picture, question) in pictures().items():
        meta, tensors = run_case(model, tokenizer, picture, question)
        meta["image"] = f"{name}.png"
        picture.save(f"{out}/{name}.png")
        save_file({k: v.contiguous() for k, v in tensors.items()}, f"{out}/{name}.safetensors")
        with open(f"{out}/{name}.json", "w") as f:
            json.dump(meta, f, indent=1)
        spread = {k: round(v.std().item(), 3) for k, v in tensors.items()}
        print(name, meta["prompt_ids"], meta["greedy_ids"], repr(meta["greedy_text"]), spread)


main()
