/* SPDX-License-Identifier: MIT
 * picture_source.c - the picture of a task, on a worker's thread and through its helper. */
#include "server_internal.h"

#include <stdlib.h>

nr_status picture_load(task *t, helper *h, nr_picture **out, nr_error *err) {
    nr_status status = NR_STATUS_OK;
    double start_ms = http_now_ms();
    if (!t->picture_bytes && !t->url) return NR_STATUS_OK; /* text alone */
    if (!t->picture_bytes)
        status = helper_fetch(h, t->url, &t->cancelled, &t->picture_bytes, &t->picture_n, err);
    double fetched_ms = http_now_ms();
    t->fetch_ms = fetched_ms - start_ms;
    if (status != NR_STATUS_OK) return status;
    status = helper_decode(h, t->picture_bytes, t->picture_n, &t->cancelled, out, err);
    t->decode_ms = http_now_ms() - fetched_ms;
    free(t->picture_bytes);
    t->picture_bytes = NULL;
    return status;
}
