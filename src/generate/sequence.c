/* SPDX-License-Identifier: MIT
 * sequence.c - see sequence.h. */
#include "sequence.h"

#include "nr_limits.h"

#include <string.h>

void nr_sequence_carve(nr_sequence *s, nr_model *model, nr_arena *host, nr_arena *arenas) {
    s->model = model;
    s->ids = nr_arena_take(host, (size_t)model->info.context, sizeof *s->ids);
    model->desc->carve_cache(model, &s->cache, host, arenas);
}

void nr_sequence_set_image(nr_sequence *s, const nr_sides *sides, const float *pixels,
                           const nr_tap *tap) {
    s->sides = sides;
    s->n_ids = s->n_cached = 0;
    s->logits = NULL;
    s->cache.n_image_rows = pixels ? s->model->info.n_image_tokens : 0;
    if (!pixels) return;
    nr_sides_begin(sides);
    s->model->desc->encode_image(s->model, sides, &s->cache, pixels, tap);
    nr_sides_end(sides);
}

int32_t nr_sequence_begin(nr_sequence *s, const int32_t *ids, int32_t n, int32_t n_logits) {
    NR_ASSERT(n >= 1 && n <= s->model->info.context && n_logits >= 1 && n_logits <= n);
    int32_t keep = 0, keep_max = NR_MIN(s->n_cached, n - n_logits);
    while (keep < keep_max && s->ids[keep] == ids[keep]) keep++;
    memcpy(s->ids, ids, (size_t)n * sizeof *ids);
    s->n_ids = n;
    s->n_cached = keep;
    s->n_logits = n_logits;
    s->logits = NULL;
    return keep;
}

void nr_sequence_append(nr_sequence *s, int32_t id) {
    NR_ASSERT(s->n_ids < s->model->info.context);
    s->ids[s->n_ids++] = id;
    s->n_logits = 1;
}

int32_t nr_sequence_chunk(const nr_sequence *s, int32_t rows_max) {
    int32_t left = nr_sequence_left(s), n_chunks = (left + rows_max - 1) / rows_max;
    int32_t chunk = (left + n_chunks - 1) / n_chunks;
    return chunk < left ? NR_MIN(chunk, left - s->n_logits) : chunk; /* logits from one chunk */
}

void nr_sequence_reuse_image(nr_sequence *s) {
    s->n_ids = s->n_cached = 0;
    s->logits = NULL;
    s->cache.n_image_rows = s->model->info.n_image_tokens;
}

/* Image rows used by the first n ids. */
static int32_t image_rows_before(const nr_sequence *s, int32_t n) {
    int32_t rows = 0;
    for (int32_t i = 0; i < n && rows < s->cache.n_image_rows; i++)
        rows += s->ids[i] == s->model->info.image_token_id;
    return rows;
}

static nr_span span_of(const nr_share *share) {
    const nr_sequence *s = share->sequence;
    return (nr_span){.cache = &s->cache,
                     .ids = s->ids + s->n_cached,
                     .n = share->n_rows,
                     .pos0 = s->n_cached,
                     .image_row0 = image_rows_before(s, s->n_cached),
                     .n_logits = share->n_rows == nr_sequence_left(s) ? s->n_logits : 0};
}

void nr_sequences_read(const nr_share *shares, int n_shares, const nr_tap *tap) {
    nr_span spans[NR_BATCH_MAX];
    NR_ASSERT(n_shares >= 1 && n_shares <= NR_BATCH_MAX);
    nr_model *model = shares[0].sequence->model;
    for (int i = 0; i < n_shares; i++) spans[i] = span_of(&shares[i]);
    const nr_sides *sides = shares[0].sequence->sides;
    nr_sides_begin(sides);
    const float *logits = model->desc->forward(model, sides, spans, n_shares, tap);
    nr_sides_end(sides);
    for (int i = 0; i < n_shares; i++) {
        nr_sequence *s = shares[i].sequence;
        s->n_cached += spans[i].n;
        if (spans[i].n_logits == 0) continue;
        logits += (int64_t)spans[i].n_logits * model->info.vocab;
        s->logits = logits - model->info.vocab;
    }
}

nr_status nr_sequence_prefill(nr_sequence *s, const int32_t *ids, int32_t n, int32_t n_logits,
                              int32_t *n_reused, const nr_tap *tap, nr_error *err) {
    int32_t rows_max = s->model->info.rows_max;
    *n_reused = nr_sequence_begin(s, ids, n, n_logits);
    while (nr_sequence_left(s) > 0) {
        NR_FAIL_IF(atomic_exchange(&s->cancelled, false), CANCELLED,
                   "cancelled after %d of %d prompt tokens", s->n_cached, n);
        nr_sequences_read(&(nr_share){s, nr_sequence_chunk(s, rows_max)}, 1, tap);
    }
    return NR_STATUS_OK;
}
