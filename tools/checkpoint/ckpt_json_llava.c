/* SPDX-License-Identifier: MIT
 * ckpt_json_llava.c - the small files of a LLaVA checkpoint. */
#include "ckpt_json.h"

static json_t *text_config(const ckpt_spec *spec) {
    return json_pack(
        "{s:s, s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:n, s:s, s:b, s:b,"
        " s:b, s:i, s:i, s:i}",
        "model_type", "llama", "architectures", "LlamaForCausalLM", "torch_dtype",
        ckpt_dtype_word(spec->dtype), "vocab_size", (int)spec->text.vocab_size, "hidden_size",
        (int)spec->text.hidden_size, "intermediate_size", (int)spec->text.intermediate_size,
        "num_hidden_layers", (int)spec->text.num_hidden_layers, "num_attention_heads",
        (int)spec->text.num_attention_heads, "num_key_value_heads",
        (int)spec->text.num_key_value_heads, "head_dim", (int)spec->text.head_dim,
        "max_position_embeddings", (int)spec->text.max_position_embeddings, "rms_norm_eps", 1e-5,
        "rope_theta", 10000.0, "rope_scaling", "hidden_act", "silu", "attention_bias", 0,
        "mlp_bias", 0, "tie_word_embeddings", 0, "bos_token_id", 1, "eos_token_id", 2,
        "pad_token_id", (int)spec->n_base_tokens + 1);
}

static json_t *vision_config(const ckpt_spec *spec) {
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:f}", "model_type",
                     "clip_vision_model", "hidden_size", (int)spec->vision.hidden_size,
                     "intermediate_size", (int)spec->vision.intermediate_size, "num_hidden_layers",
                     (int)spec->vision.num_hidden_layers, "num_attention_heads",
                     (int)spec->vision.num_attention_heads, "num_channels", 3, "image_size",
                     (int)spec->vision.image_size, "patch_size", (int)spec->vision.patch_size,
                     "projection_dim", (int)spec->vision.projection_dim, "hidden_act", "quick_gelu",
                     "layer_norm_eps", 1e-5);
}

static json_t *config(const ckpt_spec *spec) {
    int grid = spec->vision.image_size / spec->vision.patch_size;
    return json_pack("{s:[s], s:s, s:s, s:i, s:i, s:i, s:i, s:b, s:s, s:i, s:s, s:b, s:o, s:o}",
                     "architectures", "LlavaForConditionalGeneration", "model_type", "llava",
                     "torch_dtype", ckpt_dtype_word(spec->dtype), "image_token_index",
                     (int)spec->n_base_tokens, "image_seq_length", grid * grid, "ignore_index",
                     -100, "pad_token_id", (int)spec->n_base_tokens + 1,
                     "multimodal_projector_bias", 1, "projector_hidden_act", "gelu",
                     "vision_feature_layer", -2, "vision_feature_select_strategy", "default",
                     "tie_word_embeddings", 0, "text_config", text_config(spec), "vision_config",
                     vision_config(spec));
}

static json_t *generation_config(const ckpt_spec *spec) {
    return json_pack("{s:i, s:i, s:i}", "bos_token_id", 1, "eos_token_id", 2, "pad_token_id",
                     (int)spec->n_base_tokens + 1);
}

static json_t *preprocessor_config(const ckpt_spec *spec) {
    int side = spec->vision.image_size;
    return json_pack("{s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:{s:i}, s:{s:i, s:i}, s:i, s:f,"
                     " s:[f, f, f], s:[f, f, f]}",
                     "image_processor_type", "CLIPImageProcessor", "processor_class",
                     "LlavaProcessor", "do_convert_rgb", 1, "do_resize", 1, "do_center_crop", 1,
                     "do_rescale", 1, "do_normalize", 1, "size", "shortest_edge", side, "crop_size",
                     "height", side, "width", side, "resample", 3, "rescale_factor", 1.0 / 255.0,
                     "image_mean", 0.48145466, 0.4578275, 0.40821073, "image_std", 0.26862954,
                     0.26130258, 0.27577711);
}

static json_t *processor_config(const ckpt_spec *spec) {
    return json_pack("{s:s, s:s, s:i, s:i, s:s}", "processor_class", "LlavaProcessor",
                     "image_token", "<image>", "patch_size", (int)spec->vision.patch_size,
                     "num_additional_image_tokens", 1, "vision_feature_select_strategy", "default");
}

static json_t *tokenizer_config(const ckpt_spec *spec) {
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:b, s:s}", "tokenizer_class",
                     "PreTrainedTokenizerFast", "processor_class", "LlavaProcessor", "bos_token",
                     "<s>", "eos_token", "</s>", "unk_token", "<unk>", "pad_token", "<pad>",
                     "image_token", "<image>", "model_max_length",
                     (int)spec->text.max_position_embeddings, "clean_up_tokenization_spaces", 0,
                     "padding_side", "left");
}

const ckpt_document ckpt_llava_documents[] = {{"tokenizer_config.json", tokenizer_config},
                                              {"preprocessor_config.json", preprocessor_config},
                                              {"processor_config.json", processor_config},
                                              {"generation_config.json", generation_config},
                                              {"config.json", config},
                                              {NULL, NULL}};
