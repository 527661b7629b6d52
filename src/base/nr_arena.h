/* SPDX-License-Identifier: MIT
 *
 * nr_arena.h - a bump arena whose size is known before it exists.
 *
 * The same code declares and carves: run it once over a measuring arena (base NULL: takes only
 * count), allocate exactly what was counted, run it again over the real one. Prediction and
 * allocation cannot drift apart, because they are one function.
 *
 *   nr_arena a = nr_arena_measure();
 *   model_carve(&a, ...);                        // every pointer it stored is NULL
 *   NR_TRY(nr_arena_alloc(&a, true, "weights", err)); // maps a.used bytes, rewinds
 *   model_carve(&a, ...);                        // now the pointers are real
 *   nr_arena_free(&a);
 *
 * While measuring, a ledger may be lent to the arena: every take is then also booked in the cell
 * (row, column) that the code around it has chosen, so that the sum can be shown by what it is for.
 *
 * One thread at a time. Under AddressSanitizer a poisoned red zone follows every block.
 */
#ifndef NR_ARENA_H
#define NR_ARENA_H

#include "nr_status.h"

#define NR_LEDGER_ROWS 4
#define NR_LEDGER_COLS 4
typedef struct nr_ledger {
    uint64_t bytes[NR_LEDGER_ROWS][NR_LEDGER_COLS]; /* sums to the arena's used */
} nr_ledger;

typedef struct nr_arena {
    uint8_t *base; /* owns; NULL while measuring */
    size_t cap;    /* bytes mapped */
    size_t used;   /* bytes taken, alignment included */
    bool overflow; /* a size wrapped while measuring; nr_arena_alloc refuses */
    bool borrowed; /* a view of another arena's block: no red zones, nothing to free */
    nr_ledger *ledger; /* borrows; NULL: nothing is booked */
    uint8_t row, col;  /* where takes are booked; < NR_LEDGER_ROWS, < NR_LEDGER_COLS */
} nr_arena;

nr_arena nr_arena_measure(void);

/* Map a->used bytes, take their pages, and rewind. Errors: NO_MEMORY (message names `what` and the
 * bytes), LIMIT. */
nr_status nr_arena_alloc(nr_arena *a, bool huge_pages, const char *what, nr_error *err);

/* Next block of count*item_bytes, NR_ALIGN_BYTES aligned, zeroed at first use of the arena.
 * NULL while measuring. On a real arena the measured size always suffices (asserted). */
void *nr_arena_take(nr_arena *a, size_t count, size_t item_bytes);

/* A sub-arena over a block of another arena, or a measuring one where block is NULL. Several may
 * share one block when their lifetimes are apart: measure each, take the largest, carve each. */
nr_arena nr_arena_within(void *block, size_t bytes);

void nr_arena_free(nr_arena *a); /* accepts an arena that was never allocated; leaves it empty */

#endif
