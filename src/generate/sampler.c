/* SPDX-License-Identifier: MIT
 * sampler.c - see sampler.h. Probabilities in double: one token a call, cost does not matter. */
#include "sampler.h"

#include "nr_rng.h"

#include <math.h>

static int32_t greedy(const float *logits, int32_t vocab) {
    int32_t best = 0;
    for (int32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* Larger logits first, then lower ids: a total order, so the result does not depend on the heap. */
static bool before(nr_candidate a, nr_candidate b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

static void sift_down(nr_candidate *heap, int32_t n, int32_t i) {
    for (int32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], heap[i])) return;
        nr_candidate t = heap[i];
        heap[i] = heap[child];
        heap[child] = t;
    }
}

/* Moves the best of the heap's n candidates to position n - 1. */
static void pop(nr_candidate *heap, int32_t n) {
    nr_candidate best = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = best;
    sift_down(heap, n - 1, 0);
}

static double weight(const nr_sampler *s, const nr_candidate *c, float max) {
    return exp(((double)c->logit - (double)max) / (double)s->temperature);
}

/* The candidates that stay, best first at the end of the array going down: at most top_k, and no
 * more than it takes to reach top_p of their probability. Returns how many; *total their weight. */
static int32_t shortlist(const nr_sampler *s, nr_candidate *heap, int32_t n, double *total) {
    int32_t limit = s->top_k > 0 ? NR_MIN(n, s->top_k) : n, n_popped = 0, kept = 0;
    float max = heap[0].logit;
    double sum = 0;
    if (s->top_k > 0) {
        while (n_popped < limit) pop(heap, n - n_popped++);
        for (int32_t i = 0; i < limit; i++) sum += weight(s, &heap[n - 1 - i], max);
    } else {
        for (int32_t i = 0; i < n; i++) sum += weight(s, &heap[i], max);
    }
    *total = 0;
    while (kept < limit && (kept == 0 || *total < (double)s->top_p * sum)) {
        if (kept == n_popped) pop(heap, n - n_popped++);
        *total += weight(s, &heap[n - 1 - kept++], max);
    }
    return kept;
}

int32_t nr_sampler_pick(const nr_sampler *s, const float *logits, int32_t vocab, uint64_t step,
                        nr_candidate *candidates) {
    if (s->temperature <= 0) return greedy(logits, vocab);
    int32_t n = 0;
    for (int32_t i = 0; i < vocab; i++)
        if (logits[i] > -INFINITY) candidates[n++] = (nr_candidate){logits[i], i};
    if (n == 0) return greedy(logits, vocab);
    for (int32_t i = n / 2 - 1; i >= 0; i--) sift_down(candidates, n, i);
    float max = candidates[0].logit;
    double total, seen = 0;
    int32_t kept = shortlist(s, candidates, n, &total);
    double draw = (double)nr_rng_uniform(s->seed, 0, step) * total;
    for (int32_t i = 0; i < kept; i++) {
        seen += weight(s, &candidates[n - 1 - i], max);
        if (draw < seen) return candidates[n - 1 - i].id;
    }
    return candidates[n - kept].id;
}
