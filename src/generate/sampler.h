/* SPDX-License-Identifier: MIT
 *
 * sampler.h - the next token from a row of logits. Greedy at temperature 0, ties to the lowest id;
 * else temperature, top-k, top-p in transformers' order, and one draw of a counter-based generator
 * keyed by (seed, step), so that a token does not depend on batching or restarts.
 */
#ifndef NR_SAMPLER_H
#define NR_SAMPLER_H

#include "nr_base.h"

typedef struct nr_sampler {
    float temperature; /* 0: greedy */
    int32_t top_k;     /* 0: off */
    float top_p;       /* 1: off */
    uint64_t seed;
} nr_sampler;

/* One candidate while sampling. */
typedef struct nr_candidate {
    float logit;
    int32_t id;
} nr_candidate;

/* logits [vocab]; -INFINITY never wins. candidates: scratch [vocab], unused when greedy. */
int32_t nr_sampler_pick(const nr_sampler *s, const float *logits, int32_t vocab, uint64_t step,
                        nr_candidate *candidates);

#endif
