/* SPDX-License-Identifier: MIT
 *
 * cuda_ahead.c - weights that come before they are needed. While norms, attention and codes of a
 * few rows are computed, by little more than one multiprocessor, the card's memory rests; so a
 * linear that ends asks for the first weights of the next one in the list, into the L2 cache.
 */
#include "cuda_internal.h"

#include "nr_limits.h"

/* What the memory brings in some 6 us, and less than half of the L2 cache. */
#define AHEAD_BYTES ((size_t)24 << 20)

void nr_cuda_look_ahead(nr_cuda_backend *be) {
    const nr_cuda_linear_i8_args *next = NULL;
    for (int i = be->n_ops - 1; i >= 0; i--) {
        if (be->ops[i].kind != NR_CUDA_LINEAR_I8) continue;
        nr_cuda_linear_i8_args *l = &be->ops[i].u.i8;
        if (next && l->m <= NR_BATCH_MAX) {
            l->next = next->weights;
            l->next_bytes = NR_MIN((size_t)next->n_out_pad * (size_t)next->k_pad, AHEAD_BYTES);
        }
        next = l;
    }
}
