/* SPDX-License-Identifier: MIT
 * ckpt_json_blip2.c - the small files of a BLIP-2 checkpoint with OPT. */
#include "ckpt_json.h"

static json_t *text_config(const ckpt_spec *spec) {
    return json_pack(
        "{s:s, s:s, s:[s], s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:f, s:f, s:f, s:b,"
        " s:b, s:b, s:b, s:b, s:i, s:i, s:i}",
        "model_type", "opt", "_name_or_path", "facebook/opt-2.7b", "architectures",
        "OPTForCausalLM", "torch_dtype", "float16", "prefix", "</s>", "vocab_size",
        (int)spec->text.vocab_size, "hidden_size", (int)spec->text.hidden_size,
        "word_embed_proj_dim", (int)spec->text.hidden_size, "ffn_dim",
        (int)spec->text.intermediate_size, "num_hidden_layers", (int)spec->text.num_hidden_layers,
        "num_attention_heads", (int)spec->text.num_attention_heads, "max_position_embeddings",
        (int)spec->text.max_position_embeddings, "activation_function", "relu", "dropout", 0.1,
        "attention_dropout", 0.0, "activation_dropout", 0.0, "do_layer_norm_before", 1,
        "_remove_final_layer_norm", 0, "layer_norm_elementwise_affine", 1, "enable_bias", 1,
        "tie_word_embeddings", 1, "bos_token_id", 2, "pad_token_id", 1, "eos_token_id",
        (int)spec->stop_id);
}

static json_t *vision_config(const ckpt_spec *spec) {
    return json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:f, s:b, s:f, s:f, s:f}", "model_type",
        "blip_2_vision_model", "hidden_size", (int)spec->vision.hidden_size, "intermediate_size",
        (int)spec->vision.intermediate_size, "num_hidden_layers",
        (int)spec->vision.num_hidden_layers, "num_attention_heads",
        (int)spec->vision.num_attention_heads, "image_size", (int)spec->vision.image_size,
        "patch_size", (int)spec->vision.patch_size, "num_channels", 3, "projection_dim", 512,
        "hidden_act", "gelu", "layer_norm_eps", 1e-6, "qkv_bias", 1, "dropout", 0.0,
        "attention_dropout", 0.0, "initializer_factor", 1.0);
}

static json_t *qformer_config(const ckpt_spec *spec) {
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:f, s:b, s:i, s:n}", "model_type",
                     "blip_2_qformer", "hidden_size", (int)spec->qformer.hidden_size,
                     "intermediate_size", (int)spec->qformer.intermediate_size, "num_hidden_layers",
                     (int)spec->qformer.num_hidden_layers, "num_attention_heads",
                     (int)spec->qformer.num_attention_heads, "cross_attention_frequency",
                     (int)spec->qformer.cross_attention_frequency, "encoder_hidden_size",
                     (int)spec->vision.hidden_size, "hidden_act", "gelu", "layer_norm_eps", 1e-12,
                     "use_qformer_text_input", 0, "vocab_size", 30522, "classifier_dropout");
}

static json_t *config(const ckpt_spec *spec) {
    return json_pack("{s:[s], s:s, s:s, s:i, s:i, s:i, s:f, s:f, s:b, s:o, s:o, s:o}",
                     "architectures", "Blip2ForConditionalGeneration", "model_type", "blip-2",
                     "torch_dtype", ckpt_dtype_word(spec->dtype), "image_token_index",
                     (int)spec->n_base_tokens, "num_query_tokens",
                     (int)spec->qformer.num_query_tokens, "image_text_hidden_size", 256,
                     "initializer_factor", 1.0, "initializer_range", 0.02,
                     "use_decoder_only_language_model", 1, "text_config", text_config(spec),
                     "vision_config", vision_config(spec), "qformer_config", qformer_config(spec));
}

static json_t *generation_config(const ckpt_spec *spec) {
    return json_pack("{s:i, s:i, s:i}", "bos_token_id", 2, "eos_token_id", (int)spec->stop_id,
                     "pad_token_id", 1);
}

static json_t *preprocessor_config(const ckpt_spec *spec) {
    int side = spec->vision.image_size;
    return json_pack("{s:s, s:s, s:b, s:b, s:b, s:b, s:{s:i, s:i}, s:i, s:f, s:[f, f, f],"
                     " s:[f, f, f]}",
                     "image_processor_type", "BlipImageProcessor", "processor_class",
                     "Blip2Processor", "do_convert_rgb", 1, "do_resize", 1, "do_rescale", 1,
                     "do_normalize", 1, "size", "height", side, "width", side, "resample", 3,
                     "rescale_factor", 1.0 / 255.0, "image_mean", 0.48145466, 0.4578275, 0.40821073,
                     "image_std", 0.26862954, 0.26130258, 0.27577711);
}

static json_t *processor_config(const ckpt_spec *spec) {
    return json_pack("{s:s, s:i}", "processor_class", "Blip2Processor", "num_query_tokens",
                     (int)spec->qformer.num_query_tokens);
}

static json_t *tokenizer_config(const ckpt_spec *spec) {
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:b, s:b}", "tokenizer_class",
                     "PreTrainedTokenizerFast", "processor_class", "Blip2Processor", "bos_token",
                     "</s>", "eos_token", "</s>", "unk_token", "</s>", "pad_token", "<pad>",
                     "model_max_length", (int)spec->text.max_position_embeddings,
                     "add_prefix_space", 0, "clean_up_tokenization_spaces", 0);
}

const ckpt_document ckpt_blip2_documents[] = {{"tokenizer_config.json", tokenizer_config},
                                              {"preprocessor_config.json", preprocessor_config},
                                              {"processor_config.json", processor_config},
                                              {"generation_config.json", generation_config},
                                              {"config.json", config},
                                              {NULL, NULL}};
