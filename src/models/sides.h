/* SPDX-License-Identifier: MIT
 *
 * sides.h - where the parts of a model are. There are two sides: the device that was asked for,
 * and, where a card has not enough memory for all, the host's processor beside it. Each has a
 * backend and memory of its own, so arenas come in pairs, one a side: a part carves from the arena
 * of its side, computes with the backend of its side, and where the next part is on the other side
 * its rows are copied across, once.
 *
 *   device alone   everything on NR_SIDE_DEVICE, be it a card or the CPU; nothing on NR_SIDE_HOST
 *   split          vision tower and bridge on either side. Decoder, embedding table first:
 *                  the first layers on NR_SIDE_HOST, the others and the head on NR_SIDE_DEVICE
 *
 * The first layers stay on the host, not the last ones: the table is looked up there, rows cross
 * to the card once a forward call, and tokens are chosen where the head is, on the card. (A table
 * that is also the head lies with the head, and rows come from the card first.)
 */
#ifndef NR_SIDES_H
#define NR_SIDES_H

#include "backend.h"

typedef enum nr_side { NR_SIDE_DEVICE, NR_SIDE_HOST } nr_side;
#define NR_SIDES 2

/* Which parts leave the device. All zero: none. */
typedef struct nr_placement {
    bool vision_on_host;    /* tower and bridge */
    int32_t layers_on_host; /* of the decoder, the first ones; all of them: its head too */
} nr_placement;

typedef struct nr_sides {
    nr_backend *be[NR_SIDES]; /* HOST: in memory that is the host's; NULL where nothing is there */
} nr_sides;

/* Pairs of arenas [NR_SIDES] that have been measured: memory for each that something was taken
 * from. On failure nothing is held. Errors: NO_MEMORY, LIMIT, DEVICE. */
nr_status nr_sides_alloc(const nr_sides *s, nr_arena *arenas, const char *what, nr_error *err);
void nr_sides_free(const nr_sides *s, nr_arena *arenas); /* as nr_arena_free */

/* nr_backend_begin, _end and _check of both. */
void nr_sides_begin(const nr_sides *s);
void nr_sides_end(const nr_sides *s);
nr_status nr_sides_check(const nr_sides *s, nr_error *err);

/* Copy rows from memory of one side to memory of the other, or within one; dst_side says which
 * dst is of. Within a step: what comes from the device ends its step and begins another, so that
 * what was gathered runs as a whole. */
void nr_sides_copy(const nr_sides *s, nr_side dst_side, void *dst, nr_side src_side,
                   const void *src, size_t bytes);

#endif
