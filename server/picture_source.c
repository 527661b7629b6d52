/* SPDX-License-Identifier: MIT
 * picture_source.c - the picture of a task, from the bytes that came with it. */
#include "server_internal.h"

#include <stdio.h>
#include <stdlib.h>

nr_status picture_load(task *t, nr_picture **out, nr_error *err) {
    if (!t->picture_bytes && !t->url) return NR_STATUS_OK; /* text alone */
    if (!t->picture_bytes) {
        *err = (nr_error){.status = NR_STATUS_UNSUPPORTED, .file = __FILE__, .line = __LINE__};
        snprintf(err->message, sizeof err->message,
                 "fetching URLs is not there yet: send a data: URL");
        return NR_STATUS_UNSUPPORTED;
    }
    double start_ms = http_now_ms();
    nr_status status = nr_picture_read(t->picture_bytes, t->picture_n, out, err);
    t->decode_ms = http_now_ms() - start_ms;
    free(t->picture_bytes);
    t->picture_bytes = NULL;
    return status;
}
