# SPDX-License-Identifier: MIT
"""Writes a trained model as a Hugging Face LLaVA folder: f16 weights, tokenizer, processor, configs.

    python3 -m training.export build/reader/checkpoint.pt OUT
"""
import json, os, shutil, sys
from .common import BOS, CLIP_MEAN, CLIP_STD, EOS, IMG, PAD, PATCH, SIZE, SPECIALS
from .tokenizer import PATH

TEMPLATE = ("{% for message in messages %}{{ message['role'].upper() + ': ' }}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
            "{{ '<image>\n' }}{% endfor %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' ' }}{% endfor %}"
            "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")


def read(hf, folder):
    """Fills the transformers model with the weights of an exported folder."""
    from transformers import LlavaForConditionalGeneration
    import torch
    hf.load_state_dict(LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).state_dict())


def write(hf, out):
    import torch
    os.makedirs(out, exist_ok=True)
    from transformers import GenerationConfig
    import copy
    hf = copy.deepcopy(hf).to("cpu").to(torch.float16)
    hf.config.dtype = torch.float16
    hf.config.newsreader_fields = True      # the engine's word for a model of the five questions
    hf.generation_config = GenerationConfig(bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, do_sample=False, max_new_tokens=256)
    hf.save_pretrained(out, safe_serialization=True)
    shutil.copy(PATH, os.path.join(out, "tokenizer.json"))
    side = {"height": SIZE, "width": SIZE}
    image = {"image_processor_type": "LlavaImageProcessor", "processor_class": "LlavaProcessor", "do_pad": True, "do_resize": True, "size": {"shortest_edge": SIZE},
             "resample": 3, "do_center_crop": True, "crop_size": side, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
             "image_mean": list(CLIP_MEAN), "image_std": list(CLIP_STD), "do_convert_rgb": True}
    put = lambda name, d: json.dump(d, open(os.path.join(out, name), "w"), indent=2, ensure_ascii=False)
    put("preprocessor_config.json", image)
    put("processor_config.json", {"processor_class": "LlavaProcessor", "image_token": "<image>", "patch_size": PATCH, "num_additional_image_tokens": 1,
                                  "vision_feature_select_strategy": "default"})
    put("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "processor_class": "LlavaProcessor", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
                                  "image_token": "<image>", "extra_special_tokens": {"image_token": "<image>"}, "model_max_length": 2048, "padding_side": "left", "clean_up_tokenization_spaces": False,
                                  "add_bos_token": True, "chat_template": TEMPLATE,
                                  "added_tokens_decoder": {str(i): {"content": s, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
                                                           for i, s in enumerate(SPECIALS)}})
    put("special_tokens_map.json", {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"})
    print("exported %s: %.1f MB" % (out, os.path.getsize(os.path.join(out, "model.safetensors")) / 1e6), flush=True)


if __name__ == "__main__":
    import random, torch
    from .model import Reader
    from .tokenizer import Packer
    m = Reader(Packer(random.Random(0), 8).prefix)
    m.load_state_dict(torch.load(sys.argv[1], map_location="cpu", weights_only=False)["model"], strict=False)
    write(m.hf, sys.argv[2])
