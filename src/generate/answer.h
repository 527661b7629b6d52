/* SPDX-License-Identifier: MIT
 *
 * answer.h - the answer that grows on a sequence: token by token chosen, turned into text, checked
 * against stop tokens, stop texts and limits. The same code for one session and for many slots.
 *
 *   nr_answer_begin(&a, &kit, &sequence, &settings)   // the prompt is begun or read
 *   loop: read the sequence to its end (sequence.h)
 *         nr_answer_choose(&a)                        // at once: the logits do not live long
 *         nr_answer_give(&a, &text, &id, err)         // until a.done
 *
 * A token is given out before the model reads it, so the last one of an answer costs no forward
 * pass.
 */
#ifndef NR_ANSWER_H
#define NR_ANSWER_H

#include "detok.h"
#include "sampler.h"
#include "sequence.h"
#include "stop.h"

/* What the answers of one model share. Scratch belongs to the thread that runs the model. */
typedef struct nr_answer_kit {
    nr_model *model;
    const nr_sides *sides; /* of the model */
    nr_backend *be;        /* where its logits are */
    const nr_tokenizer *tokenizer;
    const int32_t *stop_ids; /* [n_stop_ids] */
    int n_stop_ids;
    float *logits;            /* scratch, host [vocab] */
    nr_candidate *candidates; /* scratch [vocab] */
} nr_answer_kit;

/* Takes the scratch. */
void nr_answer_kit_carve(nr_answer_kit *kit, const nr_model *model, nr_arena *host);

typedef struct nr_answer_settings {
    nr_sampler sampler;
    int32_t max_tokens; /* 1 or more */
    bool ignore_stop;   /* stop ids are not chosen */
    nr_stop_texts stop; /* texts that end the answer; not part of it */
} nr_answer_settings;

/* Bytes of room that one nr_answer_give needs. */
#define NR_ANSWER_PIECE_MAX (2 * NR_DETOK_PIECE_MAX + NR_STOP_BYTES_MAX)

typedef struct nr_answer {
    const nr_answer_kit *kit; /* borrows */
    nr_sequence *sequence;    /* borrows */
    nr_answer_settings settings;
    nr_detok detok;
    nr_stop_filter filter;
    int32_t id;       /* chosen and not yet given out; -1: none */
    int32_t n_tokens; /* given out */
    bool done;
    bool stopped; /* done by a stop token or text, not by a limit */
} nr_answer;

void nr_answer_begin(nr_answer *a, const nr_answer_kit *kit, nr_sequence *sequence,
                     const nr_answer_settings *settings);

/* The sequence has been read to its end, just now: choose what follows. */
void nr_answer_choose(nr_answer *a);
/* The same for n answers of one kit, up to NR_BATCH_MAX. */
void nr_answers_choose(nr_answer *const *answers, int n);

/* Append to text (room for NR_ANSWER_PIECE_MAX) what the chosen token completes, whole UTF-8
 * characters; *id is the token, -1 when the answer ended without one. Unless done, the token is now
 * to be read. */
nr_status nr_answer_give(nr_answer *a, nr_text_buf *text, int32_t *id, nr_error *err);

#endif
