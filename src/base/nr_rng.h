/* SPDX-License-Identifier: MIT
 *
 * nr_rng.h - counter-based random numbers: the value depends only on (seed, stream, step), so a
 * sampled token does not change with batching or restarts. Mixer: SplitMix64 finaliser
 * (Steele, Lea, Flood 2014), applied twice.
 */
#ifndef NR_RNG_H
#define NR_RNG_H

#include <stdint.h>

static inline uint64_t nr_rng_mix(uint64_t z) {
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t nr_rng_u64(uint64_t seed, uint64_t stream, uint64_t step) {
    return nr_rng_mix(nr_rng_mix(seed ^ nr_rng_mix(stream)) + step);
}

/* Uniform in [0, 1), 24 bits. */
static inline float nr_rng_uniform(uint64_t seed, uint64_t stream, uint64_t step) {
    return (float)(nr_rng_u64(seed, stream, step) >> 40) * (1.0f / 16777216.0f);
}

#endif
