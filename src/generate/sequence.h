/* SPDX-License-Identifier: MIT
 *
 * sequence.h - one timeline of tokens over a cache: prefill in chunks, then one token at a time.
 * What the cache already holds of a new prompt (the same ids over the same picture) is kept.
 *
 *   nr_sequence_carve (measure, then real); nr_sequence_set_image when the picture changes
 *   nr_sequence_prefill(ids); then nr_sequence_logits, nr_sequence_append(id), ...
 */
#ifndef NR_SEQUENCE_H
#define NR_SEQUENCE_H

#include "model.h"

#include <stdatomic.h>

typedef struct nr_sequence {
    nr_model *model; /* borrows */
    nr_backend *be;  /* borrows */
    nr_cache cache;
    int32_t *ids;    /* [context] what the cache holds, then what is to be read */
    int32_t n_cached; /* positions that the cache holds */
    const float *logits; /* device [vocab] of the last position read, or NULL */
    atomic_bool cancelled;
} nr_sequence;

void nr_sequence_carve(nr_sequence *s, nr_model *model, nr_arena *host, nr_arena *device);

/* Forget everything and run the vision tower. pixels NULL: no picture. */
void nr_sequence_set_image(nr_sequence *s, nr_backend *be, const float *pixels, const nr_tap *tap);

/* Forget everything; cache.image_features hold a picture's features already. */
void nr_sequence_reuse_image(nr_sequence *s);

/* Read ids [n], 1 <= n <= context; *n_reused positions were there already. n_logits of the last
 * positions end up in s->logits (the rows before the last in front of it).
 * Errors: CANCELLED (between chunks; what was read stays cached). */
nr_status nr_sequence_prefill(nr_sequence *s, const int32_t *ids, int32_t n, int32_t n_logits,
                              int32_t *n_reused, const nr_tap *tap, nr_error *err);
/* Read one more id at the next position. The caller checks that there is room. */
void nr_sequence_append(nr_sequence *s, int32_t id);

#endif
