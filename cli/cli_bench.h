/* SPDX-License-Identifier: MIT
 * cli_bench.h - the parts of `newsreader bench`. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "cli.h"

typedef struct cli_slots_result {
    int n_slots;
    double begun_ms;        /* until the last of the answers had begun */
    double window_ms;       /* from then until the first ended: all of them wrote */
    uint64_t window_tokens; /* read by the model in that time */
    double total_ms;
} cli_slots_result;

/* o->engine.n_slots requests at once, o->n_tokens each. The engine was opened for a scheduler.
 * Errors: as newsreader_sched.h's; ARG: too few tokens for all to write at the same time. */
nr_status cli_bench_slots(nr_engine *engine, const nr_picture *picture, const char *question,
                          const cli_options *o, cli_slots_result *out, nr_error *err);

#endif
