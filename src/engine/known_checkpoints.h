/* SPDX-License-Identifier: MIT
 *
 * known_checkpoints.h - checkpoints whose memory can be told without their files: the sizes that
 * their config.json and its classes' defaults give, restated.
 */
#ifndef NR_KNOWN_CHECKPOINTS_H
#define NR_KNOWN_CHECKPOINTS_H

#include "newsreader.h"

/* Sizes from which the memory of a model that this version cannot run is estimated. */
typedef struct nr_known_shapes {
    uint64_t vision, bridge, language, head; /* parameters; language: the embedding table too */
    int32_t n_layers, n_heads, n_kv_heads, head_dim, hidden, ffn, vocab;
    int32_t image_tokens, context; /* context: where none is asked for */
    int32_t vision_rows, vision_hidden, vision_ffn, vision_side;
} nr_known_shapes;

typedef struct nr_known {
    const char *name;                         /* what --model may say */
    const char *repository;                   /* on the Hugging Face hub */
    const char *model_type;                   /* config.json's */
    const char *config_json;                  /* enough of it for the plan */
    uint64_t tokenizer_bytes, encoder_factor; /* measured: tables; encoder bytes a prompt byte */
    int64_t rows_max; /* rows of the tallest matrix beside the vocabulary's */
    nr_known_shapes shapes;
} nr_known;

/* By name, or by the last part of the repository's; NULL when unknown. */
const nr_known *nr_known_find(const char *name);

/* The plan's fields and parts from shapes: weights at a byte a parameter and their scales, KV
 * cache, features and activations from their sizes. */
void nr_known_estimate(const nr_known *known, const nr_engine_options *options,
                       nr_memory_plan *plan);

#endif
