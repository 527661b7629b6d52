/* SPDX-License-Identifier: MIT
 * ckpt_blip2.c - the tensors of a BLIP-2 checkpoint with OPT. */
#include "ckpt_list.h"

static void add_vision(ckpt_list *list, const ckpt_spec *spec) {
    const char *prefix = spec->prefix_vision;
    int64_t width = spec->vision.hidden_size, ffn = spec->vision.intermediate_size;
    int64_t side = spec->vision.patch_size, grid = spec->vision.image_size / side;
    int64_t n = grid * grid + 1;
    ckpt_add(list, CKPT_VECTOR, prefix, "embeddings.class_embedding", width, 0);
    ckpt_reshape(list, 3, (int64_t[]){1, 1, width});
    ckpt_add(list, CKPT_EMBEDDING, prefix, "embeddings.position_embedding", n, width);
    ckpt_reshape(list, 3, (int64_t[]){1, n, width});
    ckpt_add_linear(list, prefix, "embeddings.patch_embedding", width, 3 * side * side);
    if (list->n > 1) { /* its weight, behind which the bias stands, is a convolution */
        list->n--;
        ckpt_reshape(list, 4, (int64_t[]){width, 3, side, side});
        list->n++;
    }
    for (int i = 0; i < spec->vision.num_hidden_layers; i++) {
        char layer[128];
        snprintf(layer, sizeof layer, "%sencoder.layers.%d.", prefix, i);
        ckpt_add_linear(list, layer, "self_attn.qkv", 3 * width, width);
        ckpt_add_linear(list, layer, "self_attn.projection", width, width);
        ckpt_add_layer_norm(list, layer, "layer_norm1", width);
        ckpt_add_linear(list, layer, "mlp.fc1", ffn, width);
        ckpt_add_linear(list, layer, "mlp.fc2", width, ffn);
        ckpt_add_layer_norm(list, layer, "layer_norm2", width);
    }
    ckpt_add_layer_norm(list, prefix, "post_layernorm", width);
}

static void add_attention(ckpt_list *list, const char *layer, const char *name, int64_t width,
                          int64_t to_width) {
    char prefix[160];
    snprintf(prefix, sizeof prefix, "%s%s.", layer, name);
    ckpt_add_linear(list, prefix, "attention.query", width, width);
    ckpt_add_linear(list, prefix, "attention.key", width, to_width);
    ckpt_add_linear(list, prefix, "attention.value", width, to_width);
    ckpt_add_linear(list, prefix, "output.dense", width, width);
    ckpt_add_layer_norm(list, prefix, "output.LayerNorm", width);
}

static void add_qformer(ckpt_list *list, const ckpt_spec *spec) {
    int64_t width = spec->qformer.hidden_size, ffn = spec->qformer.intermediate_size;
    ckpt_add_layer_norm(list, spec->prefix_bridge, "qformer.layernorm", width);
    for (int i = 0; i < spec->qformer.num_hidden_layers; i++) {
        char layer[128];
        snprintf(layer, sizeof layer, "%sqformer.encoder.layer.%d.", spec->prefix_bridge, i);
        add_attention(list, layer, "attention", width, width);
        if (i % spec->qformer.cross_attention_frequency == 0)
            add_attention(list, layer, "crossattention", width, spec->vision.hidden_size);
        ckpt_add_linear(list, layer, "intermediate_query.dense", ffn, width);
        ckpt_add_linear(list, layer, "output_query.dense", width, ffn);
        ckpt_add_layer_norm(list, layer, "output_query.LayerNorm", width);
    }
}

static void add_text(ckpt_list *list, const ckpt_spec *spec) {
    const char *prefix = spec->prefix_text;
    int64_t width = spec->text.hidden_size, ffn = spec->text.intermediate_size;
    ckpt_add(list, CKPT_EMBEDDING, prefix, "embed_tokens.weight", spec->text.vocab_size, width);
    ckpt_add(list, CKPT_EMBEDDING, prefix, "embed_positions.weight",
             spec->text.max_position_embeddings + 2, width);
    ckpt_add_layer_norm(list, prefix, "final_layer_norm", width);
    for (int i = 0; i < spec->text.num_hidden_layers; i++) {
        char layer[128];
        snprintf(layer, sizeof layer, "%slayers.%d.", prefix, i);
        ckpt_add_linear(list, layer, "self_attn.k_proj", width, width);
        ckpt_add_linear(list, layer, "self_attn.v_proj", width, width);
        ckpt_add_linear(list, layer, "self_attn.q_proj", width, width);
        ckpt_add_linear(list, layer, "self_attn.out_proj", width, width);
        ckpt_add_layer_norm(list, layer, "self_attn_layer_norm", width);
        ckpt_add_linear(list, layer, "fc1", ffn, width);
        ckpt_add_linear(list, layer, "fc2", width, ffn);
        ckpt_add_layer_norm(list, layer, "final_layer_norm", width);
    }
}

/* The head is tied to the table, so it is not stored. */
void ckpt_blip2_add(ckpt_list *list, const ckpt_spec *spec) {
    int64_t n = spec->qformer.num_query_tokens, width = spec->qformer.hidden_size;
    ckpt_add(list, CKPT_EMBEDDING, spec->prefix_bridge, "query_tokens", n, width);
    ckpt_reshape(list, 3, (int64_t[]){1, n, width});
    add_vision(list, spec);
    add_qformer(list, spec);
    ckpt_add_linear(list, spec->prefix_bridge, "language_projection", spec->text.hidden_size,
                    width);
    add_text(list, spec);
}
