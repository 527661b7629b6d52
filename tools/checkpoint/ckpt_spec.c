/* SPDX-License-Identifier: MIT
 *
 * ckpt_spec.c - see ckpt_spec.h.
 *
 * Shards are filled as transformers' save_pretrained does: tensors in the order of registration,
 * a new file when the next tensor would pass the limit; inside a file by name. With 5 * 10^9 bytes
 * this gives the three files of the published llava-1.5-7b-hf.
 */
#include "ckpt_spec.h"

#include "nr_alloc.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const ckpt_spec preset_7b = {
    .text = {.vocab_size = 32064,
             .hidden_size = 4096,
             .intermediate_size = 11008,
             .num_hidden_layers = 32,
             .num_attention_heads = 32,
             .num_key_value_heads = 32,
             .head_dim = 128,
             .max_position_embeddings = 4096},
    .vision = {.hidden_size = 1024,
               .intermediate_size = 4096,
               .num_hidden_layers = 24,
               .num_attention_heads = 16,
               .image_size = 336,
               .patch_size = 14,
               .projection_dim = 768},
    .n_base_tokens = 32000,
};

static const ckpt_spec preset_tiny = {
    .text = {.vocab_size = 640,
             .hidden_size = 64,
             .intermediate_size = 176,
             .num_hidden_layers = 3,
             .num_attention_heads = 4,
             .num_key_value_heads = 4,
             .head_dim = 16,
             .max_position_embeddings = 4096},
    .vision = {.hidden_size = 64,
               .intermediate_size = 128,
               .num_hidden_layers = 4,
               .num_attention_heads = 4,
               .image_size = 56,
               .patch_size = 14,
               .projection_dim = 32},
    .n_base_tokens = 600,
};

/* Everything that tends to be assumed even is not: 6 heads of 12 on 2 KV heads beside a width of
 * 90, a grid of 5 x 5 patches, sizes that are no multiples of 16. */
static const ckpt_spec preset_odd = {
    .text = {.vocab_size = 611,
             .hidden_size = 90,
             .intermediate_size = 212,
             .num_hidden_layers = 2,
             .num_attention_heads = 6,
             .num_key_value_heads = 2,
             .head_dim = 12,
             .max_position_embeddings = 1000},
    .vision = {.hidden_size = 60,
               .intermediate_size = 100,
               .num_hidden_layers = 3,
               .num_attention_heads = 5,
               .image_size = 60,
               .patch_size = 12,
               .projection_dim = 20},
    .n_base_tokens = 605,
};

bool ckpt_spec_preset(const char *name, ckpt_spec *out) {
    const struct {
        const char *name;
        const ckpt_spec *spec;
    } presets[] = {{"llava-1.5-7b", &preset_7b}, {"tiny", &preset_tiny}, {"odd", &preset_odd}};
    for (size_t i = 0; i < NR_COUNT(presets); i++) {
        if (strcmp(presets[i].name, name) != 0) continue;
        *out = *presets[i].spec;
        out->dtype = NR_DTYPE_F16;
        out->shard_bytes = 5000000000;
        out->seed = 1;
        return ckpt_spec_names(out, "hub");
    }
    return false;
}

bool ckpt_spec_names(ckpt_spec *spec, const char *style) {
    static const char *const styles[][5] = {
        {"hub", "vision_tower.vision_model.", "multi_modal_projector.", "language_model.model.",
         "language_model.lm_head.weight"},
        {"new", "model.vision_tower.vision_model.", "model.multi_modal_projector.",
         "model.language_model.", "lm_head.weight"},
        {"short", "vision_tower.", "multi_modal_projector.", "language_model.model.",
         "language_model.lm_head.weight"},
    };
    for (size_t i = 0; i < NR_COUNT(styles); i++) {
        if (strcmp(styles[i][0], style) != 0) continue;
        spec->prefix_vision = styles[i][1];
        spec->prefix_projector = styles[i][2];
        spec->prefix_text = styles[i][3];
        spec->prefix_head = styles[i][4];
        return true;
    }
    return false;
}

#define KEY(part, field, max)                                                                      \
    { #part "." #field, offsetof(ckpt_spec, part.field), max }
static const struct {
    const char *name;
    size_t offset;
    int32_t max;
} keys[] = {
    KEY(text, vocab_size, NR_VOCAB_MAX),
    KEY(text, hidden_size, NR_HIDDEN_MAX),
    KEY(text, intermediate_size, NR_HIDDEN_MAX),
    KEY(text, num_hidden_layers, NR_LAYERS_MAX),
    KEY(text, num_attention_heads, NR_HEADS_MAX),
    KEY(text, num_key_value_heads, NR_HEADS_MAX),
    KEY(text, head_dim, NR_HEAD_DIM_MAX),
    KEY(text, max_position_embeddings, NR_CONTEXT_MAX),
    KEY(vision, hidden_size, NR_HIDDEN_MAX),
    KEY(vision, intermediate_size, NR_HIDDEN_MAX),
    KEY(vision, num_hidden_layers, NR_LAYERS_MAX),
    KEY(vision, num_attention_heads, NR_HEADS_MAX),
    KEY(vision, image_size, NR_VISION_SIDE_MAX),
    KEY(vision, patch_size, NR_VISION_SIDE_MAX),
    KEY(vision, projection_dim, NR_HIDDEN_MAX),
    {"base_tokens", offsetof(ckpt_spec, n_base_tokens), NR_VOCAB_MAX},
};

void ckpt_spec_print_keys(FILE *to) {
    for (size_t i = 0; i < NR_COUNT(keys); i++) fprintf(to, "  %s\n", keys[i].name);
}

nr_status ckpt_spec_override(ckpt_spec *spec, const char *assignment, nr_error *err) {
    const char *equals = strchr(assignment, '=');
    NR_FAIL_IF(!equals, ARG, "\"%s\": expected KEY=VALUE", assignment);
    size_t n = (size_t)(equals - assignment);
    for (size_t i = 0; i < NR_COUNT(keys); i++) {
        if (strlen(keys[i].name) != n || memcmp(keys[i].name, assignment, n) != 0) continue;
        char *end;
        long value = strtol(equals + 1, &end, 10);
        NR_FAIL_IF(end == equals + 1 || *end != '\0' || value < 1 || value > keys[i].max, LIMIT,
                   "%s: expected a number from 1 to %d", assignment, (int)keys[i].max);
        int32_t stored = (int32_t)value;
        memcpy((char *)spec + keys[i].offset, &stored, sizeof stored);
        return NR_STATUS_OK;
    }
    NR_FAIL(ARG, "\"%s\": no such key", assignment);
}

nr_status ckpt_spec_check(const ckpt_spec *spec, nr_error *err) {
    NR_FAIL_IF(spec->n_base_tokens < 400, ARG, "base_tokens %d, at least 400 are needed",
               (int)spec->n_base_tokens);
    NR_FAIL_IF(spec->text.vocab_size < spec->n_base_tokens + 2, ARG,
               "text.vocab_size %d has no room for %d base tokens, <image> and <pad>",
               (int)spec->text.vocab_size, (int)spec->n_base_tokens);
    NR_FAIL_IF(spec->text.num_attention_heads % spec->text.num_key_value_heads != 0, ARG,
               "%d heads are no multiple of %d KV heads", (int)spec->text.num_attention_heads,
               (int)spec->text.num_key_value_heads);
    NR_FAIL_IF(spec->text.head_dim % 2 != 0, ARG, "text.head_dim %d is odd: rotary needs pairs",
               (int)spec->text.head_dim);
    NR_FAIL_IF(spec->vision.hidden_size % spec->vision.num_attention_heads != 0, ARG,
               "vision width %d is no multiple of its %d heads", (int)spec->vision.hidden_size,
               (int)spec->vision.num_attention_heads);
    NR_FAIL_IF(spec->vision.image_size % spec->vision.patch_size != 0, ARG,
               "image side %d is no multiple of the patch side %d", (int)spec->vision.image_size,
               (int)spec->vision.patch_size);
    return NR_STATUS_OK;
}

void ckpt_shard_name(char *dst, size_t cap, int i_shard, int n_shards) {
    if (n_shards == 1) snprintf(dst, cap, "model.safetensors");
    else snprintf(dst, cap, "model-%05d-of-%05d.safetensors", i_shard + 1, n_shards);
}

/* Append a tensor prefix + suffix; sizes of 0 end the shape. Running out of memory is remembered
 * as n < 0, so that the long lists below need no checks. */
static void add(ckpt_list *list, ckpt_kind kind, const char *prefix, const char *suffix, int64_t d0,
                int64_t d1) {
    if (list->n < 0) return;
    if (list->n == list->cap) {
        int cap = list->cap ? list->cap * 2 : 256;
        ckpt_tensor *grown = nr_realloc(list->tensors, (size_t)cap * sizeof *grown);
        if (!grown) {
            list->n = -1;
            return;
        }
        list->tensors = grown;
        list->cap = cap;
    }
    ckpt_tensor *t = &list->tensors[list->n++];
    *t = (ckpt_tensor){.kind = kind, .n_dims = d1 ? 2 : 1, .dims = {d0, d1}};
    t->n_elements = d0 * (d1 ? d1 : 1);
    snprintf(t->name, sizeof t->name, "%s%s", prefix, suffix);
}

static void add_linear(ckpt_list *list, const char *prefix, const char *name, int64_t out,
                       int64_t in) {
    char suffix[64];
    snprintf(suffix, sizeof suffix, "%s.weight", name);
    add(list, CKPT_MATRIX, prefix, suffix, out, in);
    snprintf(suffix, sizeof suffix, "%s.bias", name);
    add(list, CKPT_VECTOR, prefix, suffix, out, 0);
}

static void add_layer_norm(ckpt_list *list, const char *prefix, const char *name, int64_t width) {
    char suffix[64];
    snprintf(suffix, sizeof suffix, "%s.weight", name);
    add(list, CKPT_NORM, prefix, suffix, width, 0);
    snprintf(suffix, sizeof suffix, "%s.bias", name);
    add(list, CKPT_VECTOR, prefix, suffix, width, 0);
}

static void add_vision(ckpt_list *list, const ckpt_spec *spec) {
    const char *prefix = spec->prefix_vision;
    int64_t width = spec->vision.hidden_size, ffn = spec->vision.intermediate_size;
    int64_t side = spec->vision.patch_size, grid = spec->vision.image_size / side;
    add(list, CKPT_VECTOR, prefix, "embeddings.class_embedding", width, 0);
    add(list, CKPT_MATRIX, prefix, "embeddings.patch_embedding.weight", width, 3 * side * side);
    if (list->n > 0) { /* stored as a convolution: [width, 3, side, side] */
        ckpt_tensor *t = &list->tensors[list->n - 1];
        t->n_dims = 4;
        t->dims[1] = 3;
        t->dims[2] = t->dims[3] = side;
    }
    add(list, CKPT_EMBEDDING, prefix, "embeddings.position_embedding.weight", grid * grid + 1,
        width);
    add_layer_norm(list, prefix, "pre_layrnorm", width);
    for (int i = 0; i < spec->vision.num_hidden_layers; i++) {
        char layer[128];
        snprintf(layer, sizeof layer, "%sencoder.layers.%d.", prefix, i);
        add_linear(list, layer, "self_attn.k_proj", width, width);
        add_linear(list, layer, "self_attn.v_proj", width, width);
        add_linear(list, layer, "self_attn.q_proj", width, width);
        add_linear(list, layer, "self_attn.out_proj", width, width);
        add_layer_norm(list, layer, "layer_norm1", width);
        add_linear(list, layer, "mlp.fc1", ffn, width);
        add_linear(list, layer, "mlp.fc2", width, ffn);
        add_layer_norm(list, layer, "layer_norm2", width);
    }
    add_layer_norm(list, prefix, "post_layernorm", width);
}

static void add_text(ckpt_list *list, const ckpt_spec *spec) {
    const char *prefix = spec->prefix_text;
    int64_t width = spec->text.hidden_size, ffn = spec->text.intermediate_size;
    int64_t q_width = (int64_t)spec->text.num_attention_heads * spec->text.head_dim;
    int64_t kv_width = (int64_t)spec->text.num_key_value_heads * spec->text.head_dim;
    add(list, CKPT_EMBEDDING, prefix, "embed_tokens.weight", spec->text.vocab_size, width);
    for (int i = 0; i < spec->text.num_hidden_layers; i++) {
        char layer[128];
        snprintf(layer, sizeof layer, "%slayers.%d.", prefix, i);
        add(list, CKPT_MATRIX, layer, "self_attn.q_proj.weight", q_width, width);
        add(list, CKPT_MATRIX, layer, "self_attn.k_proj.weight", kv_width, width);
        add(list, CKPT_MATRIX, layer, "self_attn.v_proj.weight", kv_width, width);
        add(list, CKPT_MATRIX, layer, "self_attn.o_proj.weight", width, q_width);
        add(list, CKPT_MATRIX, layer, "mlp.gate_proj.weight", ffn, width);
        add(list, CKPT_MATRIX, layer, "mlp.up_proj.weight", ffn, width);
        add(list, CKPT_MATRIX, layer, "mlp.down_proj.weight", width, ffn);
        add(list, CKPT_NORM, layer, "input_layernorm.weight", width, 0);
        add(list, CKPT_NORM, layer, "post_attention_layernorm.weight", width, 0);
    }
    add(list, CKPT_NORM, prefix, "norm.weight", width, 0);
    add(list, CKPT_MATRIX, "", spec->prefix_head, spec->text.vocab_size, width);
}

static int compare_in_files(const void *a, const void *b) {
    const ckpt_tensor *x = a, *y = b;
    return x->i_shard != y->i_shard ? (x->i_shard < y->i_shard ? -1 : 1) : strcmp(x->name, y->name);
}

nr_status ckpt_list_make(const ckpt_spec *spec, ckpt_list *out, nr_error *err) {
    ckpt_list list = {0};
    add_vision(&list, spec);
    add_linear(&list, spec->prefix_projector, "linear_1", spec->text.hidden_size,
               spec->vision.hidden_size);
    add_linear(&list, spec->prefix_projector, "linear_2", spec->text.hidden_size,
               spec->text.hidden_size);
    add_text(&list, spec);
    if (list.n < 0) {
        nr_free(list.tensors);
        NR_FAIL(NO_MEMORY, "list of tensors");
    }
    int64_t in_shard = 0;
    for (int i = 0; i < list.n; i++) {
        ckpt_tensor *t = &list.tensors[i];
        int64_t bytes = t->n_elements * (int64_t)nr_dtype_bytes(spec->dtype);
        if (in_shard > 0 && in_shard + bytes > spec->shard_bytes) {
            list.n_shards++;
            in_shard = 0;
        }
        t->i_shard = list.n_shards;
        in_shard += bytes;
        list.n_parameters += (uint64_t)t->n_elements;
        list.bytes += (uint64_t)bytes;
    }
    list.n_shards++;
    qsort(list.tensors, (size_t)list.n, sizeof *list.tensors, compare_in_files);
    *out = list;
    return NR_STATUS_OK;
}

void ckpt_list_free(ckpt_list *list) {
    nr_free(list->tensors);
    *list = (ckpt_list){0};
}
