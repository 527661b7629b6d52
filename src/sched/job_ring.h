/* SPDX-License-Identifier: MIT
 *
 * job_ring.h - what the model's thread has to say to whoever waits for a request: records, each
 * with some bytes of text, in a ring of fixed size. Not locked: the scheduler's lock is held around
 * it.
 */
#ifndef NR_JOB_RING_H
#define NR_JOB_RING_H

#include "nr_status.h"

typedef enum nr_record_kind {
    NR_RECORD_START,  /* a slot has taken the request */
    NR_RECORD_TEXT,   /* text of an answer */
    NR_RECORD_ANSWER, /* an answer is complete */
    NR_RECORD_END     /* nothing follows */
} nr_record_kind;

/* Counts and times of one question; milliseconds by the clock. */
typedef struct nr_job_stats {
    int32_t image_tokens, prompt_tokens, cached_tokens, answer_tokens;
    bool image_cached;
    double queued_ms, vision_ms, prefill_ms, decode_ms;
} nr_job_stats;

typedef struct nr_record {
    nr_record_kind kind;
    int32_t i_question;
    uint32_t n_bytes;   /* of text behind the record */
    bool stopped;       /* ANSWER: by the model or a stop text, not by a limit */
    nr_status status;   /* END */
    nr_job_stats stats; /* START (queued_ms), ANSWER */
} nr_record;

typedef struct nr_ring {
    uint8_t *bytes; /* borrows [cap] */
    size_t cap, head, used;
} nr_ring;

static inline size_t nr_ring_room(const nr_ring *r) {
    return r->cap - r->used;
}
/* There must be room for sizeof *record + record->n_bytes. */
void nr_ring_put(nr_ring *r, const nr_record *record, const char *text);
/* False when empty. text has room for the largest text that is ever put. */
bool nr_ring_take(nr_ring *r, nr_record *record, char *text);

#endif
