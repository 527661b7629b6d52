/* SPDX-License-Identifier: MIT
 * ckpt_llava.c - the tensors of a LLaVA checkpoint. */
#include "ckpt_list.h"

static void add_vision(ckpt_list *list, const ckpt_spec *spec) {
    const char *prefix = spec->prefix_vision;
    int64_t width = spec->vision.hidden_size, ffn = spec->vision.intermediate_size;
    int64_t side = spec->vision.patch_size, grid = spec->vision.image_size / side;
    ckpt_add(list, CKPT_VECTOR, prefix, "embeddings.class_embedding", width, 0);
    ckpt_add(list, CKPT_MATRIX, prefix, "embeddings.patch_embedding.weight", width,
             3 * side * side);
    ckpt_reshape(list, 4, (int64_t[]){width, 3, side, side}); /* stored as a convolution */
    ckpt_add(list, CKPT_EMBEDDING, prefix, "embeddings.position_embedding.weight", grid * grid + 1,
             width);
    ckpt_add_layer_norm(list, prefix, "pre_layrnorm", width);
    for (int i = 0; i < spec->vision.num_hidden_layers; i++) {
        char layer[128];
        snprintf(layer, sizeof layer, "%sencoder.layers.%d.", prefix, i);
        ckpt_add_linear(list, layer, "self_attn.k_proj", width, width);
        ckpt_add_linear(list, layer, "self_attn.v_proj", width, width);
        ckpt_add_linear(list, layer, "self_attn.q_proj", width, width);
        ckpt_add_linear(list, layer, "self_attn.out_proj", width, width);
        ckpt_add_layer_norm(list, layer, "layer_norm1", width);
        ckpt_add_linear(list, layer, "mlp.fc1", ffn, width);
        ckpt_add_linear(list, layer, "mlp.fc2", width, ffn);
        ckpt_add_layer_norm(list, layer, "layer_norm2", width);
    }
    ckpt_add_layer_norm(list, prefix, "post_layernorm", width);
}

static void add_text(ckpt_list *list, const ckpt_spec *spec) {
    const char *prefix = spec->prefix_text;
    int64_t width = spec->text.hidden_size, ffn = spec->text.intermediate_size;
    int64_t q_width = (int64_t)spec->text.num_attention_heads * spec->text.head_dim;
    int64_t kv_width = (int64_t)spec->text.num_key_value_heads * spec->text.head_dim;
    ckpt_add(list, CKPT_EMBEDDING, prefix, "embed_tokens.weight", spec->text.vocab_size, width);
    for (int i = 0; i < spec->text.num_hidden_layers; i++) {
        char layer[128];
        snprintf(layer, sizeof layer, "%slayers.%d.", prefix, i);
        ckpt_add(list, CKPT_MATRIX, layer, "self_attn.q_proj.weight", q_width, width);
        ckpt_add(list, CKPT_MATRIX, layer, "self_attn.k_proj.weight", kv_width, width);
        ckpt_add(list, CKPT_MATRIX, layer, "self_attn.v_proj.weight", kv_width, width);
        ckpt_add(list, CKPT_MATRIX, layer, "self_attn.o_proj.weight", width, q_width);
        ckpt_add(list, CKPT_MATRIX, layer, "mlp.gate_proj.weight", ffn, width);
        ckpt_add(list, CKPT_MATRIX, layer, "mlp.up_proj.weight", ffn, width);
        ckpt_add(list, CKPT_MATRIX, layer, "mlp.down_proj.weight", width, ffn);
        ckpt_add(list, CKPT_NORM, layer, "input_layernorm.weight", width, 0);
        ckpt_add(list, CKPT_NORM, layer, "post_attention_layernorm.weight", width, 0);
    }
    ckpt_add(list, CKPT_NORM, prefix, "norm.weight", width, 0);
    ckpt_add(list, CKPT_MATRIX, "", spec->prefix_head, spec->text.vocab_size, width);
}

void ckpt_llava_add(ckpt_list *list, const ckpt_spec *spec) {
    const char *prefix = spec->prefix_bridge;
    add_vision(list, spec);
    ckpt_add_linear(list, prefix, "linear_1", spec->text.hidden_size, spec->vision.hidden_size);
    ckpt_add_linear(list, prefix, "linear_2", spec->text.hidden_size, spec->text.hidden_size);
    add_text(list, spec);
}
