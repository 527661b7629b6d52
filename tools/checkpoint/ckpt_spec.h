/* SPDX-License-Identifier: MIT
 *
 * ckpt_spec.h - what a made-up checkpoint is: its kind, its sizes, how its tensors are named.
 */
#ifndef CKPT_SPEC_H
#define CKPT_SPEC_H

#include "dtype.h"
#include "nr_status.h"

#include <stdio.h>

typedef enum ckpt_family { CKPT_LLAVA, CKPT_BLIP2 } ckpt_family;

typedef struct ckpt_spec {
    ckpt_family family;
    struct {
        int32_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
        int32_t num_attention_heads, max_position_embeddings;
        int32_t num_key_value_heads, head_dim; /* LLaVA */
    } text;
    struct {
        int32_t hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
        int32_t image_size, patch_size, projection_dim;
    } vision;
    struct { /* BLIP-2 */
        int32_t hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
        int32_t cross_attention_frequency, num_query_tokens;
    } qformer;
    int32_t n_base_tokens; /* the first to the last filler; <image> is the next id; LLaVA's <pad>
                              comes behind it */
    int32_t stop_id;       /* BLIP-2: the line break's, which ends an answer */
    nr_dtype dtype;        /* F16, BF16 or F32 */
    int64_t shard_bytes;   /* most data of one file */
    uint64_t seed;
    /* of names; prefix_bridge: the projector's, or what is in front of the Q-Former's */
    const char *prefix_vision, *prefix_bridge, *prefix_text, *prefix_head;
} ckpt_spec;

#define CKPT_PRESETS "llava-1.5-7b|tiny|odd|blip2-opt-2.7b|blip2-tiny|blip2-odd"
/* One of CKPT_PRESETS. False when the name is none of them. */
bool ckpt_spec_preset(const char *name, ckpt_spec *out);
/* Spelling of names: "hub", "new" or "short". False when the style is none of them. */
bool ckpt_spec_names(ckpt_spec *spec, const char *style);
/* "text.hidden_size=96". Errors: ARG (no such key), LIMIT. */
nr_status ckpt_spec_override(ckpt_spec *spec, const char *assignment, nr_error *err);
void ckpt_spec_print_keys(FILE *to);
/* Sizes that do not go together: ARG. */
nr_status ckpt_spec_check(const ckpt_spec *spec, nr_error *err);

#endif
