/* SPDX-License-Identifier: MIT
 *
 * ckpt_random.h - the values of a tensor: any piece of it, from seed, name and position alone, so
 * that neither threads nor shards nor piece sizes change a byte.
 */
#ifndef CKPT_RANDOM_H
#define CKPT_RANDOM_H

#include "ckpt_list.h"

#define CKPT_TABLE_SIZE 4096 /* values of one distribution; 8 to 16 KB stay in the L1 cache */

typedef struct ckpt_random {
    const ckpt_tensor *tensor;
    nr_dtype dtype;
    uint64_t base;                   /* counter of this tensor's random bits */
    int64_t outlier[2];              /* elements made nine times as large; -1: none */
    uint32_t table[CKPT_TABLE_SIZE]; /* encoded values; 16-bit types use half of each */
} ckpt_random;

void ckpt_random_begin(ckpt_random *r, const ckpt_spec *spec, const ckpt_tensor *t);
/* Elements [first, first + n) encoded into dst; first is a multiple of 4. */
void ckpt_random_fill(const ckpt_random *r, int64_t first, int64_t n, void *dst);

#endif
