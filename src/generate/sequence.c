/* SPDX-License-Identifier: MIT
 * sequence.c - see sequence.h. */
#include "sequence.h"

#include <string.h>

void nr_sequence_carve(nr_sequence *s, nr_model *model, nr_arena *host, nr_arena *device) {
    s->model = model;
    s->ids = nr_arena_take(host, (size_t)model->info.context, sizeof *s->ids);
    model->desc->carve_cache(model, &s->cache, host, device);
}

void nr_sequence_set_image(nr_sequence *s, nr_backend *be, const float *pixels, const nr_tap *tap) {
    s->be = be;
    s->n_cached = 0;
    s->logits = NULL;
    s->cache.n_image_rows = pixels ? s->model->info.n_image_tokens : 0;
    if (pixels) s->model->desc->encode_image(s->model, be, &s->cache, pixels, tap);
}

void nr_sequence_reuse_image(nr_sequence *s) {
    s->n_cached = 0;
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

static void forward(nr_sequence *s, int32_t n, int32_t n_logits, const nr_tap *tap) {
    nr_span span = {.cache = &s->cache,
                    .ids = s->ids + s->n_cached,
                    .n = n,
                    .pos0 = s->n_cached,
                    .image_row0 = image_rows_before(s, s->n_cached),
                    .n_logits = n_logits};
    const float *logits = s->model->desc->forward(s->model, s->be, &span, 1, tap);
    if (n_logits > 0) s->logits = logits + (int64_t)(n_logits - 1) * s->model->info.vocab;
    s->n_cached += n;
}

/* Chunks of nearly equal size, so that the last one is not a remainder that wastes its weights'
 * trip through the memory. */
nr_status nr_sequence_prefill(nr_sequence *s, const int32_t *ids, int32_t n, int32_t n_logits,
                              int32_t *n_reused, const nr_tap *tap, nr_error *err) {
    NR_ASSERT(n >= 1 && n <= s->model->info.context && n_logits <= n);
    int32_t keep = 0, keep_max = NR_MIN(s->n_cached, n - n_logits);
    while (keep < keep_max && s->ids[keep] == ids[keep]) keep++;
    memcpy(s->ids, ids, (size_t)n * sizeof *ids);
    s->n_cached = keep;
    s->logits = NULL;
    *n_reused = keep;
    int32_t rows_max = s->model->info.rows_max;
    while (s->n_cached < n) {
        NR_FAIL_IF(atomic_exchange(&s->cancelled, false), CANCELLED,
                   "cancelled after %d of %d prompt tokens", s->n_cached, n);
        int32_t left = n - s->n_cached, n_chunks = (left + rows_max - 1) / rows_max;
        int32_t chunk = (left + n_chunks - 1) / n_chunks;
        if (chunk < left) chunk = NR_MIN(chunk, left - n_logits); /* logits come from one chunk */
        forward(s, chunk, chunk == left ? n_logits : 0, tap);
    }
    return NR_STATUS_OK;
}

void nr_sequence_append(nr_sequence *s, int32_t id) {
    NR_ASSERT(s->n_cached < s->model->info.context);
    s->ids[s->n_cached] = id;
    forward(s, 1, 1, NULL);
}
