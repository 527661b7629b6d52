/* SPDX-License-Identifier: MIT
 *
 * mlp_projector.h - LLaVA's bridge (Liu et al. 2023; transformers' LlavaMultiModalProjector):
 * linear, activation, linear, from vision features to the language model's rows.
 *
 * Tensor names, after the prefix: linear_1.{weight,bias}, linear_2.{weight,bias}.
 */
#ifndef NR_MLP_PROJECTOR_H
#define NR_MLP_PROJECTOR_H

#include "model.h"
#include "modules.h"

typedef struct nr_projector {
    int32_t vision_hidden, text_hidden, rows_max;
    bool bias, wide;
    nr_activation activation;
    nr_dtype precision;
    nr_wide_linear linear_1, linear_2; /* [text, vision], [text, text] */
    float *hidden_rows;                /* scratch [rows_max, text_hidden] */
    float *r;                          /* scratch [rows_max, widest n_in] when wide */
} nr_projector;

/* Bytes of a second digit. */
uint64_t nr_projector_bytes(const nr_projector *m);
void nr_projector_carve_weights(nr_projector *m, nr_arena *a);
nr_status nr_projector_load(nr_projector *m, nr_loader *l, const char *prefix, nr_error *err);
void nr_projector_carve_scratch(nr_projector *m, nr_arena *a);
/* y [n_rows, text_hidden] from x [n_rows, vision_hidden]. */
void nr_projector_forward(nr_projector *m, nr_backend *be, float *y, const float *x,
                          int64_t n_rows);

#endif
