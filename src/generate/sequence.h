/* SPDX-License-Identifier: MIT
 *
 * sequence.h - one timeline of tokens over a cache: ids that the cache holds, then ids that are
 * still to be read. Several sequences are read by one forward call; what a sequence gets from it
 * does not depend on who else is in the call.
 *
 *   nr_sequence_carve (measure, then real); nr_sequence_set_image when the picture changes
 *   nr_sequence_begin(ids), then until nr_sequence_left is 0: nr_sequences_read(shares)
 *   logits; nr_sequence_append(id), nr_sequences_read, logits, ...
 *
 * What the cache already holds of a new prompt (the same ids over the same picture) is kept.
 */
#ifndef NR_SEQUENCE_H
#define NR_SEQUENCE_H

#include "model.h"

#include <stdatomic.h>

typedef struct nr_sequence {
    nr_model *model;       /* borrows */
    const nr_sides *sides; /* borrows */
    nr_cache cache;
    int32_t *ids;    /* [context] what the cache holds, then what is to be read */
    int32_t n_ids;
    int32_t n_cached; /* positions that the cache holds, <= n_ids */
    int32_t n_logits; /* wanted of the last positions of n_ids */
    const float *logits; /* [vocab] of the position read last, on the side that the model says;
                            NULL after begin. Lives until the model's next call, for whichever
                            sequence */
    atomic_bool cancelled;
} nr_sequence;

/* arenas: [NR_SIDES] */
void nr_sequence_carve(nr_sequence *s, nr_model *model, nr_arena *host, nr_arena *arenas);

/* Forget everything and run the vision tower. pixels NULL: no picture. */
void nr_sequence_set_image(nr_sequence *s, const nr_sides *sides, const float *pixels,
                           const nr_tap *tap);

/* Forget everything; cache.image_features hold a picture's features already. */
void nr_sequence_reuse_image(nr_sequence *s);

/* From now on ids [n] are to be read, 1 <= n <= context. Returns how many positions are there
 * already; at least n_logits are read again. */
int32_t nr_sequence_begin(nr_sequence *s, const int32_t *ids, int32_t n, int32_t n_logits);
/* One more id at the next position. The caller checks that there is room. */
void nr_sequence_append(nr_sequence *s, int32_t id);

/* Ids still to be read. */
static inline int32_t nr_sequence_left(const nr_sequence *s) {
    return s->n_ids - s->n_cached;
}
/* How many of them the next call should read when it has room for rows_max: chunks of nearly equal
 * size, so that the last is not a remainder that wastes its weights' trip through the memory. */
int32_t nr_sequence_chunk(const nr_sequence *s, int32_t rows_max);

/* A sequence's part of a forward call. */
typedef struct nr_share {
    nr_sequence *sequence;
    int32_t n_rows; /* 1 .. nr_sequence_chunk */
} nr_share;
/* One forward call over 1 .. NR_BATCH_MAX sequences of one model, each at most once; rows together
 * <= rows_max, sequences that are read to their end <= logits_rows. Those then have logits. */
void nr_sequences_read(const nr_share *shares, int n_shares, const nr_tap *tap);

/* begin, then read to the end, alone. The rows before the last logits lie in front of them.
 * Errors: CANCELLED (between chunks; what was read stays cached). */
nr_status nr_sequence_prefill(nr_sequence *s, const int32_t *ids, int32_t n, int32_t n_logits,
                              int32_t *n_reused, const nr_tap *tap, nr_error *err);

#endif
