/* SPDX-License-Identifier: MIT
 *
 * tok_normalize.c - runs the normalizer's steps from one buffer to the other. Each step checks its
 * room, so a step that lengthens text more than expected is an error and never an overrun.
 */
#include "tok_internal.h"

#include <string.h>

static nr_status too_long(size_t cap, nr_error *err) {
    NR_FAIL(LIMIT, "normalised text is longer than %zu bytes", cap);
}

static nr_status prepend(const nr_affix *a, const uint8_t *src, size_t n, uint8_t *dst, size_t cap,
                         size_t *n_out, nr_error *err) {
    size_t extra = n ? a->n : 0; /* nothing is put before nothing */
    if (n > cap || extra > cap - n) return too_long(cap, err);
    memcpy(dst, a->bytes, extra);
    memcpy(dst + extra, src, n);
    *n_out = n + extra;
    return NR_STATUS_OK;
}

static nr_status replace(const nr_norm_step *s, nr_span src_span, const uint8_t *src, uint8_t *dst,
                         size_t cap, size_t *n_out, nr_error *err) {
    size_t i = src_span.begin, n = src_span.end, o = 0;
    while (i < n) {
        const uint8_t *hit = memchr(src + i, s->from.bytes[0], n - i);
        size_t plain = hit ? (size_t)(hit - src) - i : n - i;
        bool match = hit && n - i - plain >= s->from.n &&
                     memcmp(hit, s->from.bytes, s->from.n) == 0;
        if (hit && !match) plain++;
        if (plain > cap - o) return too_long(cap, err);
        memcpy(dst + o, src + i, plain);
        o += plain;
        i += plain;
        if (!match) continue;
        if (s->to.n > cap - o) return too_long(cap, err);
        memcpy(dst + o, s->to.bytes, s->to.n);
        o += s->to.n;
        i += s->from.n;
    }
    *n_out = o;
    return NR_STATUS_OK;
}

nr_status nr_tok_normalize(const nr_tokenizer *tok, nr_norm_bufs bufs, const uint8_t *text,
                           size_t n_bytes, uint8_t **out, size_t *n_out, nr_error *err) {
    int to = 0;
    if (tok->n_norm == 0) { /* words may get a prefix in place: always work on a copy */
        if (n_bytes > bufs.cap) return too_long(bufs.cap, err);
        memcpy(bufs.buf[0], text, n_bytes);
        *out = bufs.buf[0];
        *n_out = n_bytes;
        return NR_STATUS_OK;
    }
    const uint8_t *src = text;
    size_t n = n_bytes;
    for (uint32_t i = 0; i < tok->n_norm; i++) {
        const nr_norm_step *s = &tok->norm[i];
        uint8_t *dst = bufs.buf[to];
        switch (s->kind) {
        case NR_NORM_PREPEND: NR_TRY(prepend(&s->to, src, n, dst, bufs.cap, &n, err)); break;
        case NR_NORM_REPLACE:
            NR_TRY(replace(s, (nr_span){0, n}, src, dst, bufs.cap, &n, err));
            break;
        case NR_NORM_BERT:
            NR_TRY(nr_tok_bert_normalize(s, src, n, dst, bufs.cap, &n, err));
            break;
        }
        src = dst;
        *out = dst;
        to = 1 - to;
    }
    *n_out = n;
    return NR_STATUS_OK;
}
