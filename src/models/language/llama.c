/* SPDX-License-Identifier: MIT
 *
 * llama.c - see llama.h: memory and the forward pass. Weights are read in llama_load.c.
 *
 * Every row of a forward call goes through the linears together, whichever sequence it belongs to;
 * rotary positions, the key/value store and attention go span by span.
 */
#include "llama.h"

#include "memory_parts.h"

#include "nr_alloc.h"
#include "nr_limits.h"

#include <stdio.h>
#include <string.h>

static int32_t qkv_dim(const nr_llama_config *c) {
    return (c->n_heads + 2 * c->n_kv_heads) * c->head_dim;
}

void nr_llama_release(nr_llama *m) {
    nr_free(m->layers);
    nr_free(m->positions);
    m->layers = NULL;
    m->positions = NULL;
}

void nr_llama_carve_weights(nr_llama *m, nr_arena *a) {
    const nr_llama_config *c = &m->config;
    size_t hidden = (size_t)c->hidden;
    nr_part_begin(a, NR_PART_HEAD);
    if (!c->tied) nr_linear_carve(&m->head, a, m->precision, c->vocab, c->hidden, false, true);
    nr_part_begin(a, NR_PART_LANGUAGE);
    nr_linear_carve(&m->embed, a, m->embed_dtype, c->vocab, c->hidden, false, c->tied);
    m->norm = nr_arena_take(a, hidden, sizeof(float));
    m->cos_sin = nr_arena_take(a, (size_t)m->context * (size_t)c->head_dim, sizeof(float));
    for (int32_t i = 0; i < c->n_layers; i++) {
        nr_llama_layer *layer = &m->layers[i];
        layer->attn_norm = nr_arena_take(a, hidden, sizeof(float));
        nr_linear_carve(&layer->qkv, a, m->precision, qkv_dim(c), c->hidden, c->attention_bias,
                        true);
        nr_linear_carve(&layer->attn_out, a, m->precision, c->hidden, c->n_heads * c->head_dim,
                        c->attention_bias, false);
        layer->ffn_norm = nr_arena_take(a, hidden, sizeof(float));
        nr_linear_carve(&layer->gate_up, a, m->precision, 2 * c->ffn, c->hidden, c->mlp_bias, true);
        nr_linear_carve(&layer->down, a, m->precision, c->hidden, c->ffn, c->mlp_bias, false);
    }
}

void nr_llama_carve_scratch(nr_llama *m, nr_arena *a) {
    const nr_llama_config *c = &m->config;
    size_t rows = (size_t)m->rows_max, logits_rows = (size_t)m->logits_rows;
    m->x = nr_arena_take(a, rows * (size_t)c->hidden, sizeof(float));
    m->h = nr_arena_take(a, rows * (size_t)c->hidden, sizeof(float));
    m->qkv_rows = nr_arena_take(a, rows * (size_t)qkv_dim(c), sizeof(float));
    m->attn_rows = nr_arena_take(a, rows * (size_t)(c->n_heads * c->head_dim), sizeof(float));
    m->gate_up_rows = nr_arena_take(a, rows * 2 * (size_t)c->ffn, sizeof(float));
    m->ffn_rows = nr_arena_take(a, rows * (size_t)c->ffn, sizeof(float));
    m->logits_in = nr_arena_take(a, logits_rows * (size_t)c->hidden, sizeof(float));
    m->logits = nr_arena_take(a, logits_rows * (size_t)c->vocab, sizeof(float));
}

void nr_llama_carve_cache(const nr_llama *m, nr_cache *cache, nr_arena *host, nr_arena *device) {
    const nr_llama_config *c = &m->config;
    nr_kv *layers = nr_arena_take(host, (size_t)c->n_layers, sizeof(nr_kv));
    for (int32_t i = 0; i < c->n_layers; i++) {
        nr_kv kv = nr_kv_carve(device, m->kv_dtype, c->n_kv_heads, c->head_dim, m->cache_cap);
        if (layers) layers[i] = kv;
    }
    cache->layers = layers;
}

/* What transformers' embedding module gives: the placeholder's own rows, before images replace
 * them. */
static void tap_embeddings(nr_llama *m, nr_backend *be, const nr_span *s, const nr_tap *tap,
                           const char *stage) {
    char name[128];
    if (!nr_tap_on(tap)) return;
    be->ops->embed(be, m->h, m->config.hidden, s->ids, s->n, &m->embed);
    snprintf(name, sizeof name, "%s.embed_tokens", stage);
    nr_tap_rows(tap, be, name, m->h, s->n, m->config.hidden);
}

/* Token rows from the table; runs of image ids from the span's image features. */
static void embed_span(nr_llama *m, nr_backend *be, const nr_span *s, float *x,
                       int32_t image_token_id) {
    int64_t hidden = m->config.hidden;
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

static void attend(nr_llama *m, nr_backend *be, const nr_span *spans, int n_spans, int32_t i_layer,
                   float attn_scale) {
    const nr_llama_config *c = &m->config;
    int64_t ld = qkv_dim(c), q_dim = c->n_heads * c->head_dim, kv_dim = c->n_kv_heads * c->head_dim;
    int64_t row = 0;
    for (int i = 0; i < n_spans; i++) {
        const nr_span *s = &spans[i];
        const nr_kv *kv = &s->cache->layers[i_layer];
        float *q = m->qkv_rows + row * ld, *k = q + q_dim, *v = k + kv_dim;
        const int32_t *positions = m->positions + row;
        be->ops->rope(be, q, ld, positions, s->n, c->n_heads, c->head_dim, m->cos_sin);
        be->ops->rope(be, k, ld, positions, s->n, c->n_kv_heads, c->head_dim, m->cos_sin);
        be->ops->kv_store(be, kv, s->pos0, k, ld, v, ld, s->n);
        be->ops->attention(be, &(nr_attention_args){.y = m->attn_rows + row * q_dim,
                                                    .q = q,
                                                    .ldy = q_dim,
                                                    .ldq = ld,
                                                    .m = s->n,
                                                    .n_heads = c->n_heads,
                                                    .kv = kv,
                                                    .n_keys = s->pos0 + s->n,
                                                    .pos0 = s->pos0,
                                                    .causal = true,
                                                    .scale = attn_scale});
        row += s->n;
    }
}

static void project(nr_backend *be, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                    const nr_linear *w, const float *residual) {
    be->ops->linear(be, &(nr_linear_args){.y = y,
                                          .x = x,
                                          .ldy = ldy,
                                          .ldx = ldx,
                                          .m = m,
                                          .linear = w,
                                          .residual = residual});
}

static void run_layer(nr_llama *m, nr_backend *be, const nr_span *spans, int n_spans, int64_t rows,
                      int32_t i_layer, float attn_scale) {
    const nr_llama_config *c = &m->config;
    const nr_llama_layer *layer = &m->layers[i_layer];
    int32_t hidden = c->hidden, q_dim = c->n_heads * c->head_dim;
    be->ops->rms_norm(be, m->h, m->x, rows, hidden, layer->attn_norm, c->rms_eps);
    project(be, m->qkv_rows, qkv_dim(c), m->h, hidden, rows, &layer->qkv, NULL);
    attend(m, be, spans, n_spans, i_layer, attn_scale);
    project(be, m->x, hidden, m->attn_rows, q_dim, rows, &layer->attn_out, m->x);
    be->ops->rms_norm(be, m->h, m->x, rows, hidden, layer->ffn_norm, c->rms_eps);
    project(be, m->gate_up_rows, 2 * (int64_t)c->ffn, m->h, hidden, rows, &layer->gate_up, NULL);
    be->ops->gated(be, m->ffn_rows, m->gate_up_rows, rows, c->ffn, c->activation);
    project(be, m->x, hidden, m->ffn_rows, c->ffn, rows, &layer->down, m->x);
}

/* The wanted last rows of each span, packed, normed, through the head. */
static const float *run_head(nr_llama *m, nr_backend *be, const nr_span *spans, int n_spans) {
    int64_t hidden = m->config.hidden, row = 0, out = 0;
    for (int i = 0; i < n_spans; i++) {
        const nr_span *s = &spans[i];
        const float *last = m->x + (row + s->n - s->n_logits) * hidden;
        size_t bytes = (size_t)(s->n_logits * hidden) * sizeof(float);
        if (bytes) be->ops->copy(be, m->logits_in + out * hidden, last, bytes);
        row += s->n;
        out += s->n_logits;
    }
    NR_ASSERT(out <= m->logits_rows);
    if (out == 0) return m->logits;
    be->ops->rms_norm(be, m->logits_in, m->logits_in, out, m->config.hidden, m->norm,
                      m->config.rms_eps);
    const nr_linear *head = m->config.tied ? &m->embed : &m->head;
    project(be, m->logits, m->config.vocab, m->logits_in, hidden, out, head, NULL);
    return m->logits;
}

const float *nr_llama_forward(nr_llama *m, nr_backend *be, const nr_span *spans, int n_spans,
                              int32_t image_token_id, const nr_tap *tap, const char *stage) {
    const nr_llama_config *c = &m->config;
    char name[128];
    int64_t rows = 0;
    for (int i = 0; i < n_spans; i++) {
        NR_ASSERT(rows + spans[i].n <= m->rows_max && spans[i].pos0 + spans[i].n <= m->context);
        tap_embeddings(m, be, &spans[i], tap, stage);
        embed_span(m, be, &spans[i], m->x + rows * c->hidden, image_token_id);
        for (int32_t j = 0; j < spans[i].n; j++) m->positions[rows + j] = spans[i].pos0 + j;
        rows += spans[i].n;
    }
    float attn_scale = nr_attention_scale(c->head_dim);
    for (int32_t i = 0; i < c->n_layers; i++) {
        run_layer(m, be, spans, n_spans, rows, i, attn_scale);
        snprintf(name, sizeof name, "%s.layers.%d", stage, i);
        nr_tap_rows(tap, be, name, m->x, rows, c->hidden);
    }
    if (nr_tap_on(tap)) {
        be->ops->rms_norm(be, m->h, m->x, rows, c->hidden, m->norm, c->rms_eps);
        snprintf(name, sizeof name, "%s.norm", stage);
        nr_tap_rows(tap, be, name, m->h, rows, c->hidden);
    }
    return run_head(m, be, spans, n_spans);
}
