/* SPDX-License-Identifier: MIT
 *
 * placement.h - what of a model goes to the card and what stays on the CPU beside it, where the
 * card does not hold all: the plan of the first placement that fits, of those that the options
 * allow, in this order:
 *
 *   everything on the card
 *   vision tower and bridge on the CPU
 *   and the embedding table and the first decoder layer, the first two, ... all but the last
 *
 * The tower leaves first because it computes once a picture, a layer once a token: a GB of tower
 * costs a request less than a GB of layers from answers of some twenty tokens on
 * (docs/MEMORY.md).
 */
#ifndef NR_PLACEMENT_H
#define NR_PLACEMENT_H

#include "engine_internal.h"

/* nr_plan_make of the placement that is chosen, which the model then has. It fits what the card has
 * free and the ceiling of input->options; where none does it is the smallest, which nr_plan_check
 * refuses. Opens the backend of NR_SIDE_HOST in input->sides where it is needed; the caller closes
 * it. Says in out->placement what is where and why, where anything left the card.
 * Errors: ARG (nothing would be left on the card), those of nr_plan_make and nr_device_open. */
nr_status nr_placement_plan(nr_plan_input *input, nr_memory_plan *out, nr_error *err);

#endif
