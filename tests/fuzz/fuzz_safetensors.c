/* SPDX-License-Identifier: MIT
 *
 * fuzz_safetensors.c - a whole file in memory. What is accepted must be a partition of the data:
 * every tensor where the last one ended, each as long as its shape says, found by its name.
 */
#include "nr_alloc.h"
#include "safetensors.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void check(bool ok) {
    if (!ok) abort();
}

static void check_directory(const nr_safetensors *st, size_t size) {
    uint64_t end = st->data_begin;
    for (int32_t i = 0; i < st->n_tensors; i++) {
        const nr_safetensor *t = &st->tensors[i];
        check(t->offset == end && t->bytes <= size - end);
        end += t->bytes;
        int64_t n = 1;
        for (int d = 0; d < t->n_dims; d++) {
            check(t->dims[d] >= 0);
            n *= t->dims[d];
        }
        check(n == t->n_elements);
        if (t->dtype != NR_DTYPE_COUNT) check(t->bytes == (uint64_t)n * nr_dtype_bytes(t->dtype));
        check(nr_safetensors_name_is_fit(t->name));
        check(nr_safetensors_find(st, t->name) == t);
    }
    check(end == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    nr_safetensors st;
    nr_error err = {0};
    uint64_t live = nr_alloc_get_stats().live_count;
    uint8_t *copy = malloc(size ? size : 1); /* exactly sized: a read past the end is seen */
    if (size > 0) memcpy(copy, data, size);
    nr_status status = nr_safetensors_parse(copy, size, &st, &err);
    free(copy);
    if (status == NR_STATUS_OK) {
        check_directory(&st, size);
        (void)nr_safetensors_metadata(&st, "format");
        nr_safetensors_reset(&st);
    } else {
        check(err.message[0] != '\0' && !st.tensors);
    }
    check(nr_alloc_get_stats().live_count == live);
    return 0;
}
