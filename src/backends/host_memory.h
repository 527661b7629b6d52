/* SPDX-License-Identifier: MIT
 *
 * host_memory.h - the memory side of nr_backend_ops for backends that compute in host memory: the
 * CPU's and the reference's. Documented there.
 */
#ifndef NR_HOST_MEMORY_H
#define NR_HOST_MEMORY_H

#include "backend.h"

nr_status nr_host_arena_alloc(nr_backend *be, nr_arena *a, const char *what, nr_error *err);
void nr_host_arena_free(nr_backend *be, nr_arena *a);
void nr_host_copy(nr_backend *be, void *dst, const void *src, size_t bytes);
void nr_host_pack_rows(nr_backend *be, nr_linear *w, int32_t row0, int32_t n_rows,
                       const void *host_rows);

#endif
