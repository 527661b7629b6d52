/* SPDX-License-Identifier: MIT
 * opt.c - see opt.h: memory and the forward pass. */
#include "opt.h"

#include "nr_alloc.h"

#include <stdio.h>

#define LAYER_NORM_EPS 1e-5f /* not in the config: torch's default */

void nr_opt_release(nr_opt *m) {
    nr_decoder_release(&m->base);
    nr_free(m->layers);
    m->layers = NULL;
}

void nr_opt_describe(const nr_opt *m, nr_model_info *info) {
    nr_decoder_describe(&m->base, m->ffn, info);
}

void nr_opt_carve_weights(nr_opt *m, nr_arena *arenas) {
    const nr_decoder_shape *s = &m->base.shape;
    nr_dtype dtype = m->base.precision;
    int32_t d = s->hidden;
    nr_decoder_carve_weights(&m->base, arenas);
    m->positions = nr_arena_take(&arenas[nr_decoder_table_side(&m->base)],
                                 (size_t)m->base.context * (size_t)d, sizeof(float));
    nr_norm_carve(&m->norm, &arenas[nr_decoder_head_side(&m->base)], d);
    for (int32_t i = 0; i < s->n_layers; i++) {
        nr_opt_layer *layer = &m->layers[i];
        nr_arena *a = &arenas[nr_decoder_side(&m->base, i)];
        nr_norm_carve(&layer->attn_norm, a, d);
        nr_linear_carve(&layer->qkv, a, dtype, 3 * d, d, m->bias, true);
        nr_linear_carve(&layer->attn_out, a, dtype, d, d, m->bias, false);
        nr_norm_carve(&layer->ffn_norm, a, d);
        nr_linear_carve(&layer->fc1, a, dtype, m->ffn, d, m->bias, true);
        nr_linear_carve(&layer->fc2, a, dtype, d, m->ffn, m->bias, false);
    }
}

void nr_opt_carve_scratch(nr_opt *m, nr_arena *arenas) {
    nr_decoder_carve_scratch(&m->base, m->ffn, arenas);
}

static void norm_rows(const nr_opt *m, nr_backend *be, float *y, const float *x, int64_t rows,
                      const nr_norm *norm) {
    be->ops->layer_norm(be, y, x, rows, m->base.shape.hidden, norm->weight, norm->bias,
                        LAYER_NORM_EPS);
}

static void run_layer(nr_opt *m, nr_backend *be, const nr_span *spans, int n_spans, int64_t rows,
                      int32_t i_layer) {
    nr_decoder *d = &m->base;
    nr_side side = nr_decoder_side(d, i_layer);
    const nr_decoder_rows *r = &d->rows[side];
    const nr_opt_layer *layer = &m->layers[i_layer];
    norm_rows(m, be, r->h, r->x, rows, &layer->attn_norm);
    nr_decoder_project(be, r->qkv, r->h, rows, &layer->qkv, NR_ACTIVATION_NONE, NULL);
    nr_decoder_attend(d, be, spans, n_spans, i_layer);
    nr_decoder_project(be, r->x, r->attn, rows, &layer->attn_out, NR_ACTIVATION_NONE, r->x);
    norm_rows(m, be, r->h, r->x, rows, &layer->ffn_norm);
    nr_decoder_project(be, r->ffn, r->h, rows, &layer->fc1, m->activation, NULL);
    nr_decoder_project(be, r->x, r->ffn, rows, &layer->fc2, NR_ACTIVATION_NONE, r->x);
}

const float *nr_opt_forward(nr_opt *m, const nr_sides *sides, const nr_span *spans, int n_spans,
                            int32_t image_token_id, const nr_tap *tap, const char *stage) {
    nr_decoder *d = &m->base;
    int32_t hidden = d->shape.hidden;
    char name[128];
    int64_t rows = nr_decoder_begin(d, sides, spans, n_spans, image_token_id, tap, stage);
    nr_side side = nr_decoder_table_side(d);
    nr_backend *be = sides->be[side];
    be->ops->add_rows(be, d->rows[side].x, hidden, m->positions, d->positions, rows, hidden);
    for (int32_t i = 0; i < d->shape.n_layers; i++) {
        side = nr_decoder_enter(d, sides, rows, i);
        be = sides->be[side];
        run_layer(m, be, spans, n_spans, rows, i);
        snprintf(name, sizeof name, "%s.layers.%d", stage, i);
        nr_tap_rows(tap, be, name, d->rows[side].x, rows, hidden);
    }
    if (nr_tap_on(tap)) { /* where the last layer is, as the head */
        norm_rows(m, be, d->rows[side].h, d->rows[side].x, rows, &m->norm);
        snprintf(name, sizeof name, "%s.final_layer_norm", stage);
        nr_tap_rows(tap, be, name, d->rows[side].h, rows, hidden);
    }
    int64_t n = nr_decoder_take_last(d, be, spans, n_spans);
    if (n > 0) norm_rows(m, be, d->logits_in, d->logits_in, n, &m->norm);
    return nr_decoder_head(d, be, n);
}
