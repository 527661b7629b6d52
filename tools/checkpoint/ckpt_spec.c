/* SPDX-License-Identifier: MIT
 *
 * ckpt_spec.c - see ckpt_spec.h.
 */
#include "ckpt_spec.h"

#include "nr_limits.h"

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

static const ckpt_spec preset_blip2_2_7b = {
    .family = CKPT_BLIP2,
    .text = {.vocab_size = 50304,
             .hidden_size = 2560,
             .intermediate_size = 10240,
             .num_hidden_layers = 32,
             .num_attention_heads = 32,
             .max_position_embeddings = 2048},
    .vision = {.hidden_size = 1408,
               .intermediate_size = 6144,
               .num_hidden_layers = 39,
               .num_attention_heads = 16,
               .image_size = 224,
               .patch_size = 14},
    .qformer = {.hidden_size = 768,
                .intermediate_size = 3072,
                .num_hidden_layers = 12,
                .num_attention_heads = 12,
                .cross_attention_frequency = 2,
                .num_query_tokens = 32},
    .n_base_tokens = 50265,
    .stop_id = 50118,
};

static const ckpt_spec preset_blip2_tiny = {
    .family = CKPT_BLIP2,
    .text = {.vocab_size = 640,
             .hidden_size = 64,
             .intermediate_size = 144,
             .num_hidden_layers = 3,
             .num_attention_heads = 4,
             .max_position_embeddings = 512},
    .vision = {.hidden_size = 64,
               .intermediate_size = 160,
               .num_hidden_layers = 3,
               .num_attention_heads = 4,
               .image_size = 56,
               .patch_size = 14},
    .qformer = {.hidden_size = 48,
                .intermediate_size = 96,
                .num_hidden_layers = 4,
                .num_attention_heads = 4,
                .cross_attention_frequency = 2,
                .num_query_tokens = 8},
    .n_base_tokens = 600,
    .stop_id = 590,
};

/* As preset_odd; 7 queries, cross-attention in layers 0 and 3 of 5, odd head sizes. */
static const ckpt_spec preset_blip2_odd = {
    .family = CKPT_BLIP2,
    .text = {.vocab_size = 611,
             .hidden_size = 90,
             .intermediate_size = 211,
             .num_hidden_layers = 2,
             .num_attention_heads = 6,
             .max_position_embeddings = 300},
    .vision = {.hidden_size = 65,
               .intermediate_size = 101,
               .num_hidden_layers = 3,
               .num_attention_heads = 5,
               .image_size = 60,
               .patch_size = 12},
    .qformer = {.hidden_size = 42,
                .intermediate_size = 71,
                .num_hidden_layers = 5,
                .num_attention_heads = 3,
                .cross_attention_frequency = 3,
                .num_query_tokens = 7},
    .n_base_tokens = 605,
    .stop_id = 599,
};

bool ckpt_spec_preset(const char *name, ckpt_spec *out) {
    const struct {
        const char *name;
        const ckpt_spec *spec;
    } presets[] = {{"llava-1.5-7b", &preset_7b},
                   {"tiny", &preset_tiny},
                   {"odd", &preset_odd},
                   {"blip2-opt-2.7b", &preset_blip2_2_7b},
                   {"blip2-tiny", &preset_blip2_tiny},
                   {"blip2-odd", &preset_blip2_odd}};
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
    static const struct {
        ckpt_family family;
        const char *style, *vision, *bridge, *text, *head;
    } spellings[] = {
        {CKPT_LLAVA, "hub", "vision_tower.vision_model.", "multi_modal_projector.",
         "language_model.model.", "language_model.lm_head.weight"},
        {CKPT_LLAVA, "new", "model.vision_tower.vision_model.", "model.multi_modal_projector.",
         "model.language_model.", "lm_head.weight"},
        {CKPT_LLAVA, "short", "vision_tower.", "multi_modal_projector.", "language_model.model.",
         "language_model.lm_head.weight"},
        {CKPT_BLIP2, "hub", "vision_model.", "", "language_model.model.decoder.", ""},
        {CKPT_BLIP2, "new", "model.vision_model.", "model.", "model.language_model.decoder.", ""},
        {CKPT_BLIP2, "short", "vision_model.", "", "language_model.decoder.", ""},
    };
    for (size_t i = 0; i < NR_COUNT(spellings); i++) {
        if (spellings[i].family != spec->family || strcmp(spellings[i].style, style) != 0) continue;
        spec->prefix_vision = spellings[i].vision;
        spec->prefix_bridge = spellings[i].bridge;
        spec->prefix_text = spellings[i].text;
        spec->prefix_head = spellings[i].head;
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
    KEY(qformer, hidden_size, NR_HIDDEN_MAX),
    KEY(qformer, intermediate_size, NR_HIDDEN_MAX),
    KEY(qformer, num_hidden_layers, NR_LAYERS_MAX),
    KEY(qformer, num_attention_heads, NR_HEADS_MAX),
    KEY(qformer, cross_attention_frequency, NR_LAYERS_MAX),
    KEY(qformer, num_query_tokens, NR_CONTEXT_MAX),
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

static nr_status check_llava(const ckpt_spec *spec, nr_error *err) {
    NR_FAIL_IF(spec->text.num_attention_heads % spec->text.num_key_value_heads != 0, ARG,
               "%d heads are no multiple of %d KV heads", (int)spec->text.num_attention_heads,
               (int)spec->text.num_key_value_heads);
    NR_FAIL_IF(spec->text.head_dim % 2 != 0, ARG, "text.head_dim %d is odd: rotary needs pairs",
               (int)spec->text.head_dim);
    return NR_STATUS_OK;
}

static nr_status check_blip2(const ckpt_spec *spec, nr_error *err) {
    NR_FAIL_IF(spec->text.hidden_size % spec->text.num_attention_heads != 0, ARG,
               "text width %d is no multiple of its %d heads", (int)spec->text.hidden_size,
               (int)spec->text.num_attention_heads);
    NR_FAIL_IF(spec->qformer.hidden_size % spec->qformer.num_attention_heads != 0, ARG,
               "Q-Former width %d is no multiple of its %d heads", (int)spec->qformer.hidden_size,
               (int)spec->qformer.num_attention_heads);
    NR_FAIL_IF(spec->stop_id >= spec->n_base_tokens, ARG, "base_tokens %d, more than %d are needed",
               (int)spec->n_base_tokens, (int)spec->stop_id);
    return NR_STATUS_OK;
}

nr_status ckpt_spec_check(const ckpt_spec *spec, nr_error *err) {
    NR_FAIL_IF(spec->n_base_tokens < 400, ARG, "base_tokens %d, at least 400 are needed",
               (int)spec->n_base_tokens);
    NR_FAIL_IF(spec->text.vocab_size < spec->n_base_tokens + 2, ARG,
               "text.vocab_size %d has no room for %d base tokens, <image> and <pad>",
               (int)spec->text.vocab_size, (int)spec->n_base_tokens);
    NR_FAIL_IF(spec->vision.hidden_size % spec->vision.num_attention_heads != 0, ARG,
               "vision width %d is no multiple of its %d heads", (int)spec->vision.hidden_size,
               (int)spec->vision.num_attention_heads);
    NR_FAIL_IF(spec->vision.image_size % spec->vision.patch_size != 0, ARG,
               "image side %d is no multiple of the patch side %d", (int)spec->vision.image_size,
               (int)spec->vision.patch_size);
    return (spec->family == CKPT_BLIP2 ? check_blip2 : check_llava)(spec, err);
}
