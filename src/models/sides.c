/* SPDX-License-Identifier: MIT
 * sides.c - see sides.h. */
#include "sides.h"

#include <string.h>

nr_status nr_sides_alloc(const nr_sides *s, nr_arena *arenas, const char *what, nr_error *err) {
    for (int i = 0; i < NR_SIDES; i++) {
        if (arenas[i].used == 0 && !arenas[i].overflow) continue;
        NR_ASSERT(s->be[i]);
        nr_status status = s->be[i]->ops->arena_alloc(s->be[i], &arenas[i], what, err);
        if (status == NR_STATUS_OK) continue;
        nr_sides_free(s, arenas);
        return status;
    }
    return NR_STATUS_OK;
}

void nr_sides_free(const nr_sides *s, nr_arena *arenas) {
    for (int i = 0; i < NR_SIDES; i++)
        if (s->be[i]) s->be[i]->ops->arena_free(s->be[i], &arenas[i]);
}

void nr_sides_begin(const nr_sides *s) {
    for (int i = 0; i < NR_SIDES; i++)
        if (s->be[i]) nr_backend_begin(s->be[i]);
}

void nr_sides_end(const nr_sides *s) {
    for (int i = 0; i < NR_SIDES; i++)
        if (s->be[i]) nr_backend_end(s->be[i]);
}

nr_status nr_sides_check(const nr_sides *s, nr_error *err) {
    for (int i = 0; i < NR_SIDES; i++)
        if (s->be[i]) NR_TRY(nr_backend_check(s->be[i], err));
    return NR_STATUS_OK;
}

void nr_sides_copy(const nr_sides *s, nr_side dst_side, void *dst, nr_side src_side,
                   const void *src, size_t bytes) {
    nr_backend *device = s->be[NR_SIDE_DEVICE];
    if (dst_side == src_side) {
        s->be[dst_side]->ops->copy(s->be[dst_side], dst, src, bytes);
    } else if (dst_side == NR_SIDE_DEVICE) {
        device->ops->upload(device, dst, src, bytes);
    } else {
        nr_backend_end(device);
        device->ops->download(device, dst, src, bytes);
        nr_backend_begin(device);
    }
}
