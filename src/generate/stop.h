/* SPDX-License-Identifier: MIT
 *
 * stop.h - texts that end an answer when they appear in it, wherever the tokens' borders are. What
 * may still become such a text is held back, so nothing of it is ever given out.
 *
 *   for each piece: nr_stop_filter_begin(&f, &piece); append the new text to piece;
 *                   if (nr_stop_filter_end(&f, &stop, &piece, last)) the answer has ended
 */
#ifndef NR_STOP_H
#define NR_STOP_H

#include "tokenizer.h"

#define NR_STOP_TEXTS_MAX 4  /* as OpenAI's API */
#define NR_STOP_BYTES_MAX 64 /* of one text */

typedef struct nr_stop_texts {
    char bytes[NR_STOP_TEXTS_MAX][NR_STOP_BYTES_MAX];
    uint8_t n_bytes[NR_STOP_TEXTS_MAX]; /* 1 or more */
    int n;
} nr_stop_texts;

/* Copies text. Errors: LIMIT (a fifth text, or longer than NR_STOP_BYTES_MAX), ARG (empty). */
nr_status nr_stop_texts_add(nr_stop_texts *stop, const char *text, size_t n_bytes, nr_error *err);

/* Caller-owned; zeroed is ready. */
typedef struct nr_stop_filter {
    char held[NR_STOP_BYTES_MAX];
    size_t n_held;
} nr_stop_filter;

/* Put what was held back into the empty piece. */
void nr_stop_filter_begin(nr_stop_filter *f, nr_text_buf *piece);
/* True when a stop text is in the piece, which is cut there. Else its end is held back where it may
 * be the beginning of one, unless this is the last piece. */
bool nr_stop_filter_end(nr_stop_filter *f, const nr_stop_texts *stop, nr_text_buf *piece,
                        bool last);

#endif
