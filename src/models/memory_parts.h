/* SPDX-License-Identifier: MIT
 *
 * memory_parts.h - rows and columns of the ledger that a model's weights are booked in
 * (nr_arena.h): which part of the model, and what kind of data. A part sets its row where its
 * carving begins.
 */
#ifndef NR_MEMORY_PARTS_H
#define NR_MEMORY_PARTS_H

#include "nr_arena.h"

typedef enum nr_part { NR_PART_LANGUAGE, NR_PART_VISION, NR_PART_BRIDGE, NR_PART_HEAD } nr_part;

typedef enum nr_kind {
    NR_KIND_OTHER,   /* norms, positions, rotary tables */
    NR_KIND_MATRIX,  /* packed codes, or f32 rows */
    NR_KIND_SCALES,  /* scales, row sums, biases */
    NR_KIND_OUTLIERS /* columns kept in float */
} nr_kind;

_Static_assert(NR_PART_HEAD < NR_LEDGER_ROWS && NR_KIND_OUTLIERS < NR_LEDGER_COLS, "ledger size");

static inline void nr_part_begin(nr_arena *a, nr_part part) {
    a->row = (uint8_t)part;
}

#endif
