/* SPDX-License-Identifier: MIT
 * stop.c - see stop.h. Pieces are short and texts few: every position is tried. */
#include "stop.h"

#include <string.h>

nr_status nr_stop_texts_add(nr_stop_texts *stop, const char *text, size_t n_bytes, nr_error *err) {
    NR_FAIL_IF(n_bytes == 0, ARG, "a stop text is empty");
    NR_FAIL_IF(stop->n == NR_STOP_TEXTS_MAX, LIMIT, "more than %d stop texts", NR_STOP_TEXTS_MAX);
    NR_FAIL_IF(n_bytes > NR_STOP_BYTES_MAX, LIMIT, "a stop text of %zu bytes, at most %d", n_bytes,
               NR_STOP_BYTES_MAX);
    memcpy(stop->bytes[stop->n], text, n_bytes);
    stop->n_bytes[stop->n++] = (uint8_t)n_bytes;
    return NR_STATUS_OK;
}

void nr_stop_filter_begin(nr_stop_filter *f, nr_text_buf *piece) {
    memcpy(piece->bytes, f->held, f->n_held);
    piece->n = f->n_held;
    f->n_held = 0;
}

/* Does a stop text begin at `at`? Its end may lie beyond the piece where partial is allowed. */
static bool begins(const nr_stop_texts *stop, const char *at, size_t n_left, bool partial) {
    for (int i = 0; i < stop->n; i++) {
        size_t n = stop->n_bytes[i];
        if (n > n_left && !partial) continue;
        if (memcmp(at, stop->bytes[i], NR_MIN(n, n_left)) == 0) return true;
    }
    return false;
}

bool nr_stop_filter_end(nr_stop_filter *f, const nr_stop_texts *stop, nr_text_buf *piece,
                        bool last) {
    size_t n = piece->n;
    if (stop->n == 0) return false;
    for (size_t i = 0; i < n; i++) {
        if (!begins(stop, piece->bytes + i, n - i, false)) continue;
        piece->n = i;
        return true;
    }
    for (size_t i = 0; i < n && !last; i++) {
        if (!begins(stop, piece->bytes + i, n - i, true)) continue;
        f->n_held = n - i; /* shorter than that stop text */
        memcpy(f->held, piece->bytes + i, n - i);
        piece->n = i;
        break;
    }
    return false;
}
