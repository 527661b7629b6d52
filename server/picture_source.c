/* SPDX-License-Identifier: MIT
 * picture_source.c - the picture of a task, on a worker's thread and through its helper. */
#include "server_internal.h"

#include <stdlib.h>

nr_status picture_fetch(task *t, helper *h, nr_error *err) {
    if (t->picture_bytes || !t->url) return NR_STATUS_OK;
    double start_ms = http_now_ms();
    nr_status status =
        helper_fetch(h, t->url, &t->cancelled, &t->picture_bytes, &t->picture_n, err);
    t->fetch_ms = http_now_ms() - start_ms;
    t->picture_fetched = status == NR_STATUS_OK;
    return status;
}

nr_status picture_decode(task *t, helper *h, nr_picture **out, nr_error *err) {
    if (!t->picture_bytes) return NR_STATUS_OK;
    double start_ms = http_now_ms();
    nr_status status = helper_decode(h, t->picture_bytes, t->picture_n, &t->cancelled, out, err);
    t->decode_ms = http_now_ms() - start_ms;
    t->damaged = h->damaged;
    picture_drop(t);
    return status;
}

void picture_drop(task *t) {
    if (t->picture_fetched)
        helper_release(t->picture_bytes, t->picture_n);
    else
        free(t->picture_bytes);
    t->picture_bytes = NULL;
    t->picture_fetched = false;
}
