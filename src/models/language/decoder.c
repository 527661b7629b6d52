/* SPDX-License-Identifier: MIT
 * decoder.c - see decoder.h. */
#include "decoder.h"

#include "memory_parts.h"

#include "nr_alloc.h"
#include "nr_limits.h"

#include <stdio.h>

#define ROWS_MAX_DEFAULT 256
#define LOGITS_ROWS 4 /* what a trace looks at, at least */

nr_status nr_decoder_init(nr_decoder *m, const nr_model_options *options, nr_error *err) {
    const nr_decoder_shape *s = &m->shape;
    int32_t context =
        options->context ? options->context : NR_MIN(options->context_default, s->context_max);
    NR_FAIL_IF(context < 1 || context > s->context_max, LIMIT,
               "context of %d tokens asked for, the checkpoint allows 1 to %d", context,
               s->context_max);
    m->precision = options->precision;
    m->kv_dtype = nr_kv_dtype(options);
    m->embed_dtype = m->precision;
    m->context = context;
    m->cache_cap = (int32_t)nr_round_up((size_t)context, NR_KV_BLOCK);
    m->rows_max = options->rows_max > 0 ? options->rows_max : ROWS_MAX_DEFAULT;
    m->rows_max = NR_MIN(m->rows_max, m->context);
    m->logits_rows = NR_MAX(LOGITS_ROWS, options->logits_rows);
    m->positions = nr_calloc((size_t)m->rows_max, sizeof *m->positions);
    NR_FAIL_IF(!m->positions, NO_MEMORY, "positions of %d rows", m->rows_max);
    return NR_STATUS_OK;
}

void nr_decoder_choose_embedding(nr_decoder *m, uint64_t bytes_max) {
    uint64_t bytes = (uint64_t)m->shape.vocab * (uint64_t)m->shape.hidden * sizeof(float);
    if (!m->shape.tied && bytes <= bytes_max) m->embed_dtype = NR_DTYPE_F32;
}

void nr_decoder_describe(const nr_decoder *m, int32_t ffn, nr_model_info *info) {
    const nr_decoder_shape *s = &m->shape;
    info->precision = m->precision;
    info->vocab = s->vocab;
    info->hidden = s->hidden;
    info->n_layers = s->n_layers;
    info->head_tied = s->tied;
    info->context = m->context;
    info->context_max = s->context_max;
    info->rows_max = m->rows_max;
    info->logits_rows = m->logits_rows;
    info->op_rows_max = NR_MAX(m->rows_max, m->logits_rows);
    info->op_n_in_max = NR_MAX(NR_MAX(s->hidden, ffn), s->n_heads * s->head_dim);
    info->op_keys_max = m->cache_cap;
}

void nr_decoder_release(nr_decoder *m) {
    nr_free(m->positions);
    m->positions = NULL;
}

int32_t nr_decoder_qkv_dim(const nr_decoder_shape *s) {
    return (s->n_heads + 2 * s->n_kv_heads) * s->head_dim;
}

void nr_decoder_place(nr_decoder *m, const nr_placement *placement, nr_model_info *info) {
    NR_ASSERT(placement->layers_on_host >= 0 && placement->layers_on_host <= m->shape.n_layers);
    m->layers_on_host = placement->layers_on_host;
    info->features_side = nr_decoder_table_side(m);
    info->logits_side = nr_decoder_head_side(m);
}

void nr_decoder_carve_weights(nr_decoder *m, nr_arena *arenas) {
    const nr_decoder_shape *s = &m->shape;
    nr_arena *head = &arenas[nr_decoder_head_side(m)];
    nr_part_begin(head, NR_PART_HEAD);
    if (!s->tied) nr_linear_carve(&m->head, head, m->precision, s->vocab, s->hidden, false, true);
    for (int side = 0; side < NR_SIDES; side++) nr_part_begin(&arenas[side], NR_PART_LANGUAGE);
    nr_linear_carve(&m->embed, &arenas[nr_decoder_table_side(m)], m->embed_dtype, s->vocab,
                    s->hidden, false, s->tied);
}

static float *take(nr_arena *a, int64_t rows, int64_t cols) {
    return nr_arena_take(a, (size_t)rows * (size_t)cols, sizeof(float));
}

static void carve_attention(const nr_decoder *m, nr_decoder_rows *r, nr_arena *a) {
    const nr_decoder_shape *s = &m->shape;
    r->qkv = take(a, m->rows_max, nr_decoder_qkv_dim(s));
    r->attn = take(a, m->rows_max, s->n_heads * s->head_dim);
}

static void carve_ffn(const nr_decoder *m, nr_decoder_rows *r, int32_t ffn, nr_arena *a) {
    r->ffn = take(a, m->rows_max, ffn);
}

/* One block for both, as large as the larger. */
static void carve_blocks(const nr_decoder *m, nr_decoder_rows *r, int32_t ffn, nr_arena *a) {
    nr_arena attention = nr_arena_measure(), feed_forward = nr_arena_measure();
    carve_attention(m, r, &attention);
    carve_ffn(m, r, ffn, &feed_forward);
    size_t bytes = NR_MAX(attention.used, feed_forward.used);
    a->overflow |= attention.overflow | feed_forward.overflow;
    void *block = nr_arena_take(a, bytes, 1);
    attention = feed_forward = nr_arena_within(block, bytes);
    carve_attention(m, r, &attention);
    carve_ffn(m, r, ffn, &feed_forward);
}

void nr_decoder_carve_scratch(nr_decoder *m, int32_t ffn, nr_arena *arenas) {
    const nr_decoder_shape *s = &m->shape;
    for (nr_side side = 0; side < NR_SIDES; side++) {
        nr_decoder_rows *r = &m->rows[side];
        *r = (nr_decoder_rows){0};
        if (!nr_decoder_is_on(m, side)) continue;
        r->x = take(&arenas[side], m->rows_max, s->hidden);
        r->h = take(&arenas[side], m->rows_max, s->hidden);
        carve_blocks(m, r, ffn, &arenas[side]);
    }
    nr_arena *head = &arenas[nr_decoder_head_side(m)];
    m->logits_in = take(head, m->logits_rows, s->hidden);
    m->logits = take(head, m->logits_rows, s->vocab);
}

void nr_decoder_carve_cache(const nr_decoder *m, nr_cache *cache, nr_arena *host,
                            nr_arena *arenas) {
    const nr_decoder_shape *s = &m->shape;
    nr_kv *layers = nr_arena_take(host, (size_t)s->n_layers, sizeof(nr_kv));
    for (int32_t i = 0; i < s->n_layers; i++) {
        nr_kv kv = nr_kv_carve(&arenas[nr_decoder_side(m, i)], m->kv_dtype, s->n_kv_heads,
                               s->head_dim, m->context);
        if (layers) layers[i] = kv;
    }
    cache->layers = layers;
}

static nr_status load_table(nr_decoder *m, nr_loader *l, nr_linear *w, const char *name,
                            const float *gamma, bool keep, nr_error *err) {
    nr_linear_source source = {
        .n_parts = 1, .weight = {name}, .rows = {m->shape.vocab}, .keep = keep, .gamma = gamma};
    return nr_load_linear(l, w, &source, err);
}

nr_status nr_decoder_load(nr_decoder *m, nr_loader *l, const char *embed_name,
                          const char *head_name, const float *gamma, nr_error *err) {
    bool tied = m->shape.tied;
    nr_load_to(l, nr_decoder_table_side(m));
    NR_TRY(load_table(m, l, &m->embed, embed_name, tied ? gamma : NULL, true, err));
    nr_load_to(l, nr_decoder_head_side(m));
    return tied ? NR_STATUS_OK : load_table(m, l, &m->head, head_name, gamma, false, err);
}

static void tap_embeddings(nr_decoder *m, nr_backend *be, const nr_span *s, const nr_tap *tap,
                           const char *stage) {
    char name[128];
    float *h = m->rows[nr_decoder_table_side(m)].h;
    if (!nr_tap_on(tap)) return;
    be->ops->embed(be, h, m->shape.hidden, s->ids, s->n, &m->embed);
    snprintf(name, sizeof name, "%s.embed_tokens", stage);
    nr_tap_rows(tap, be, name, h, s->n, m->shape.hidden);
}

/* Token rows from the table; runs of image ids from the span's image features. */
static void embed_span(nr_decoder *m, nr_backend *be, const nr_span *s, float *x,
                       int32_t image_token_id) {
    int64_t hidden = m->shape.hidden;
    int32_t image_row = s->image_row0, n_image_rows = s->cache->n_image_rows;
    for (int32_t i = 0; i < s->n;) {
        float *dst = x + i * hidden;
        int32_t end = i;
        while (end < s->n && s->ids[end] == image_token_id && image_row < n_image_rows) {
            end++;
            image_row++;
        }
        if (end > i) {
            const float *src = s->cache->image_features + (image_row - (end - i)) * hidden;
            be->ops->copy(be, dst, src, (size_t)((end - i) * hidden) * sizeof(float));
        } else {
            bool images_left = image_row < n_image_rows;
            for (end = i + 1; end < s->n; end++)
                if (images_left && s->ids[end] == image_token_id) break;
            be->ops->embed(be, dst, hidden, s->ids + i, end - i, &m->embed);
        }
        i = end;
    }
}

int64_t nr_decoder_begin(nr_decoder *m, const nr_sides *sides, const nr_span *spans, int n_spans,
                         int32_t image_token_id, const nr_tap *tap, const char *stage) {
    nr_side side = nr_decoder_table_side(m);
    nr_backend *be = sides->be[side];
    int64_t rows = 0;
    for (int i = 0; i < n_spans; i++) {
        const nr_span *s = &spans[i];
        NR_ASSERT(rows + s->n <= m->rows_max && s->pos0 + s->n <= m->context);
        tap_embeddings(m, be, s, tap, stage);
        embed_span(m, be, s, m->rows[side].x + rows * m->shape.hidden, image_token_id);
        for (int32_t j = 0; j < s->n; j++) m->positions[rows + j] = s->pos0 + j;
        rows += s->n;
    }
    return rows;
}

nr_side nr_decoder_enter(nr_decoder *m, const nr_sides *sides, int64_t rows, int32_t i_layer) {
    nr_side to = nr_decoder_side(m, i_layer);
    nr_side from = i_layer > 0 ? nr_decoder_side(m, i_layer - 1) : nr_decoder_table_side(m);
    if (to != from)
        nr_sides_copy(sides, to, m->rows[to].x, from, m->rows[from].x,
                      (size_t)(rows * m->shape.hidden) * sizeof(float));
    return to;
}

void nr_decoder_attend(nr_decoder *m, nr_backend *be, const nr_span *spans, int n_spans,
                       int32_t i_layer) {
    const nr_decoder_shape *c = &m->shape;
    const nr_decoder_rows *r = &m->rows[nr_decoder_side(m, i_layer)];
    int64_t ld = nr_decoder_qkv_dim(c), q_dim = c->n_heads * c->head_dim;
    int64_t kv_dim = c->n_kv_heads * c->head_dim, row = 0;
    for (int i = 0; i < n_spans; row += spans[i++].n) {
        const float *k = r->qkv + row * ld + q_dim;
        be->ops->kv_store(be, &spans[i].cache->layers[i_layer], spans[i].pos0, k, ld, k + kv_dim,
                          ld, spans[i].n);
    }
    row = 0;
    for (int i = 0; i < n_spans; row += spans[i++].n) {
        const nr_span *s = &spans[i];
        be->ops->attention(be, &(nr_attention_args){.y = r->attn + row * q_dim,
                                                    .q = r->qkv + row * ld,
                                                    .ldy = q_dim,
                                                    .ldq = ld,
                                                    .m = s->n,
                                                    .n_heads = c->n_heads,
                                                    .kv = &s->cache->layers[i_layer],
                                                    .n_keys = s->pos0 + s->n,
                                                    .pos0 = s->pos0,
                                                    .causal = true,
                                                    .scale = nr_attention_scale(c->head_dim)});
    }
}

int64_t nr_decoder_take_last(nr_decoder *m, nr_backend *be, const nr_span *spans, int n_spans) {
    const float *x = m->rows[nr_decoder_head_side(m)].x;
    int64_t hidden = m->shape.hidden, row = 0, out = 0;
    for (int i = 0; i < n_spans; i++) {
        const nr_span *s = &spans[i];
        const float *last = x + (row + s->n - s->n_logits) * hidden;
        size_t bytes = (size_t)(s->n_logits * hidden) * sizeof(float);
        if (bytes) be->ops->copy(be, m->logits_in + out * hidden, last, bytes);
        row += s->n;
        out += s->n_logits;
    }
    NR_ASSERT(out <= m->logits_rows);
    return out;
}

const float *nr_decoder_head(nr_decoder *m, nr_backend *be, int64_t n) {
    const nr_linear *head = m->shape.tied ? &m->embed : &m->head;
    if (n > 0) nr_decoder_project(be, m->logits, m->logits_in, n, head, NR_ACTIVATION_NONE, NULL);
    return m->logits;
}

void nr_decoder_project(nr_backend *be, float *y, const float *x, int64_t rows, const nr_linear *w,
                        nr_activation activation, const float *residual) {
    nr_decoder_project_from(be, y, x, w->n_in, rows, w, activation, residual);
}

void nr_decoder_project_from(nr_backend *be, float *y, const float *x, int64_t ldx, int64_t rows,
                             const nr_linear *w, nr_activation activation, const float *residual) {
    be->ops->linear(be, &(nr_linear_args){.y = y,
                                          .x = x,
                                          .ldy = w->n_out,
                                          .ldx = ldx,
                                          .m = rows,
                                          .linear = w,
                                          .activation = activation,
                                          .residual = residual,
                                          .x_spent = true});
}
