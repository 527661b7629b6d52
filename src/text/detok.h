/* SPDX-License-Identifier: MIT
 *
 * detok.h - text of a growing sequence, one token at a time. The pieces concatenated equal
 * nr_tokenizer_decode of the whole; each piece is valid UTF-8 by itself.
 *
 *   nr_detok_init(&d, tok, NR_DECODE_SKIP_SPECIAL);
 *   for each id: nr_detok_push(&d, id, &out, err);   // may append nothing
 *   nr_detok_finish(&d, &out, err);                  // what was held back
 *
 * What is held back: bytes of an unfinished character; and with byte-fallback vocabularies a whole
 * run of byte tokens, because the run is text only when all of it is UTF-8, else each of its bytes
 * becomes U+FFFD. A run longer than NR_DETOK_RUN_MAX bytes gives its whole characters earlier.
 */
#ifndef NR_DETOK_H
#define NR_DETOK_H

#include "tokenizer.h"

#define NR_DETOK_RUN_MAX 256 /* bytes of byte tokens in a row that are judged as one */
/* Room that suffices for what one push or finish appends. */
#define NR_DETOK_PIECE_MAX 8192

/* Caller-owned; fields are private. One thread at a time. */
typedef struct nr_detok {
    const nr_tokenizer *tok; /* borrows */
    unsigned flags;
    uint32_t n_run;     /* bytes held in run */
    uint32_t strip_left; /* leading blanks still to be removed */
    bool is_first;       /* no token has been used yet */
    bool run_is_bad;     /* the current run of byte tokens is known not to be UTF-8 */
    uint8_t run[NR_DETOK_RUN_MAX];
} nr_detok;

void nr_detok_init(nr_detok *d, const nr_tokenizer *tok, unsigned flags); /* NR_DECODE_ flags */
/* Append the text that id completes. Errors: LIMIT (less than NR_DETOK_PIECE_MAX bytes of room and
 * the piece did not fit; nothing was appended, d is unusable). */
nr_status nr_detok_push(nr_detok *d, int32_t id, nr_text_buf *out, nr_error *err);
/* Append what was held back, ready for nothing more but init. Errors: LIMIT. */
nr_status nr_detok_finish(nr_detok *d, nr_text_buf *out, nr_error *err);

#endif
