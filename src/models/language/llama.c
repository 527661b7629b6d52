/* SPDX-License-Identifier: MIT
 *
 * llama.c - see llama.h: memory and the forward pass. Weights are read in llama_load.c.
 */
#include "llama.h"

#include "nr_alloc.h"

#include <stdio.h>

void nr_llama_release(nr_llama *m) {
    nr_decoder_release(&m->base);
    nr_free(m->layers);
    m->layers = NULL;
}

void nr_llama_describe(const nr_llama *m, nr_model_info *info) {
    nr_decoder_describe(&m->base, m->config.ffn, info);
}

void nr_llama_carve_weights(nr_llama *m, nr_arena *arenas) {
    const nr_decoder_shape *s = &m->base.shape;
    const nr_llama_config *c = &m->config;
    nr_dtype dtype = m->base.precision;
    size_t hidden = (size_t)s->hidden, angles = (size_t)m->base.context * (size_t)s->head_dim;
    nr_decoder_carve_weights(&m->base, arenas);
    m->norm = nr_arena_take(&arenas[nr_decoder_head_side(&m->base)], hidden, sizeof(float));
    for (nr_side side = 0; side < NR_SIDES; side++)
        if (nr_decoder_is_on(&m->base, side))
            m->cos_sin[side] = nr_arena_take(&arenas[side], angles, sizeof(float));
    for (int32_t i = 0; i < s->n_layers; i++) {
        nr_llama_layer *layer = &m->layers[i];
        nr_arena *a = &arenas[nr_decoder_side(&m->base, i)];
        layer->attn_norm = nr_arena_take(a, hidden, sizeof(float));
        nr_linear_carve(&layer->qkv, a, dtype, nr_decoder_qkv_dim(s), s->hidden,
                        c->attention_bias, true);
        nr_linear_carve(&layer->attn_out, a, dtype, s->hidden, s->n_heads * s->head_dim,
                        c->attention_bias, false);
        layer->ffn_norm = nr_arena_take(a, hidden, sizeof(float));
        nr_linear_carve(&layer->gate_up, a, dtype, 2 * c->ffn, s->hidden, c->mlp_bias, true);
        nr_linear_carve(&layer->down, a, dtype, s->hidden, c->ffn, c->mlp_bias, false);
    }
}

void nr_llama_carve_scratch(nr_llama *m, nr_arena *arenas) {
    nr_decoder_carve_scratch(&m->base, 2 * m->config.ffn, arenas);
}

/* Queries and keys of all rows, each turned by its own position. */
static void rotate(nr_llama *m, nr_backend *be, nr_side side, int64_t rows) {
    const nr_decoder_shape *s = &m->base.shape;
    int64_t ld = nr_decoder_qkv_dim(s);
    float *q = m->base.rows[side].qkv, *k = q + s->n_heads * s->head_dim;
    const float *cos_sin = m->cos_sin[side];
    const int32_t *positions = m->base.positions;
    be->ops->rope(be, q, ld, positions, rows, s->n_heads, s->head_dim, cos_sin);
    be->ops->rope(be, k, ld, positions, rows, s->n_kv_heads, s->head_dim, cos_sin);
}

static void norm_rows(const nr_llama *m, nr_backend *be, float *y, const float *x, int64_t rows,
                      const float *gamma) {
    be->ops->rms_norm(be, y, x, rows, m->base.shape.hidden, gamma, m->config.rms_eps);
}

static void run_layer(nr_llama *m, nr_backend *be, const nr_span *spans, int n_spans, int64_t rows,
                      int32_t i_layer) {
    nr_decoder *d = &m->base;
    nr_side side = nr_decoder_side(d, i_layer);
    const nr_decoder_rows *r = &d->rows[side];
    const nr_llama_layer *layer = &m->layers[i_layer];
    const nr_activation none = NR_ACTIVATION_NONE;
    const int32_t ffn = m->config.ffn;
    norm_rows(m, be, r->h, r->x, rows, layer->attn_norm);
    nr_decoder_project(be, r->qkv, r->h, rows, &layer->qkv, none, NULL);
    rotate(m, be, side, rows);
    nr_decoder_attend(d, be, spans, n_spans, i_layer);
    nr_decoder_project(be, r->x, r->attn, rows, &layer->attn_out, none, r->x);
    norm_rows(m, be, r->h, r->x, rows, layer->ffn_norm);
    nr_decoder_project(be, r->ffn, r->h, rows, &layer->gate_up, none, NULL);
    be->ops->gated(be, r->ffn, 2 * ffn, r->ffn, rows, ffn, m->config.activation);
    nr_decoder_project_from(be, r->x, r->ffn, 2 * ffn, rows, &layer->down, none, r->x);
}

const float *nr_llama_forward(nr_llama *m, const nr_sides *sides, const nr_span *spans, int n_spans,
                              int32_t image_token_id, const nr_tap *tap, const char *stage) {
    nr_decoder *d = &m->base;
    char name[128];
    int64_t rows = nr_decoder_begin(d, sides, spans, n_spans, image_token_id, tap, stage);
    nr_side side = nr_decoder_head_side(d);
    nr_backend *be = sides->be[side];
    for (int32_t i = 0; i < d->shape.n_layers; i++) {
        side = nr_decoder_enter(d, sides, rows, i);
        be = sides->be[side];
        run_layer(m, be, spans, n_spans, rows, i);
        snprintf(name, sizeof name, "%s.layers.%d", stage, i);
        nr_tap_rows(tap, be, name, d->rows[side].x, rows, d->shape.hidden);
    }
    if (nr_tap_on(tap)) { /* where the last layer is, as the head */
        norm_rows(m, be, d->rows[side].h, d->rows[side].x, rows, m->norm);
        snprintf(name, sizeof name, "%s.norm", stage);
        nr_tap_rows(tap, be, name, d->rows[side].h, rows, d->shape.hidden);
    }
    int64_t n = nr_decoder_take_last(d, be, spans, n_spans);
    if (n > 0) norm_rows(m, be, d->logits_in, d->logits_in, n, m->norm);
    return nr_decoder_head(d, be, n);
}
