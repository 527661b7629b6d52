/* SPDX-License-Identifier: MIT
 *
 * ckpt_random.c - see ckpt_random.h.
 *
 * A table of 4096 normal-like values, encoded once a tensor, is indexed by 12 random bits an
 * element: about one nanosecond each. The table itself is sums of twelve uniforms, mirrored, so it
 * needs no libm function whose last bit differs between systems.
 *
 * Scales follow what keeps activations of a pre-norm transformer near one: 1.3 / sqrt(inputs) for
 * matrices. Trained models have a few features tens of times larger than the rest; the two
 * enlarged elements of every norm weight imitate them.
 */
#include "ckpt_random.h"

#include "nr_rng.h"

#include <math.h>
#include <string.h>

#define OUTLIER_FACTOR 9.0f

static uint64_t hash_name(const char *name) { /* FNV-1a */
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return h;
}

static uint32_t encode(nr_dtype dtype, float value) {
    if (dtype == NR_DTYPE_F16) return nr_f32_to_f16(value);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (dtype == NR_DTYPE_BF16) bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return bits;
}

static float decode(nr_dtype dtype, uint32_t bits) {
    if (dtype == NR_DTYPE_F16) return nr_f16_to_f32((uint16_t)bits);
    float value;
    if (dtype == NR_DTYPE_BF16) bits <<= 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void scale_of(const ckpt_tensor *t, float *mean, float *deviation) {
    int64_t n_inputs = 1;
    for (int i = 1; i < t->n_dims; i++) n_inputs *= t->dims[i];
    *mean = t->kind == CKPT_NORM ? 1.0f : 0.0f;
    *deviation = t->kind == CKPT_MATRIX      ? 1.3f / sqrtf((float)n_inputs)
                 : t->kind == CKPT_EMBEDDING ? 0.7f
                                             : 0.2f;
}

void ckpt_random_begin(ckpt_random *r, const ckpt_spec *spec, const ckpt_tensor *t) {
    float mean, deviation;
    scale_of(t, &mean, &deviation);
    uint64_t stream = hash_name(t->name);
    r->tensor = t;
    r->dtype = spec->dtype;
    r->base = nr_rng_mix(spec->seed ^ nr_rng_mix(stream));
    for (uint64_t i = 0; i < CKPT_TABLE_SIZE / 2; i++) {
        float sum = -6.0f;
        for (uint64_t j = 0; j < 12; j++) sum += nr_rng_uniform(0, i, j);
        r->table[2 * i] = encode(spec->dtype, mean + deviation * sum);
        r->table[2 * i + 1] = encode(spec->dtype, mean - deviation * sum);
    }
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t draw = nr_rng_u64(~spec->seed, stream, i);
        r->outlier[i] = t->kind == CKPT_NORM ? (int64_t)(draw % (uint64_t)t->n_elements) : -1;
    }
    if (r->outlier[0] == r->outlier[1]) r->outlier[1] = -1;
}

static void fill_16(const ckpt_random *r, int64_t first, int64_t n, uint16_t *dst) {
    uint64_t counter = r->base + (uint64_t)first / 4;
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint64_t bits = nr_rng_mix(counter++);
        for (int j = 0; j < 4; j++)
            dst[i + j] = (uint16_t)r->table[(bits >> (16 * j)) % CKPT_TABLE_SIZE];
    }
    uint64_t bits = nr_rng_mix(counter);
    for (int j = 0; i < n; i++, j++)
        dst[i] = (uint16_t)r->table[(bits >> (16 * j)) % CKPT_TABLE_SIZE];
}

static void fill_32(const ckpt_random *r, int64_t first, int64_t n, uint32_t *dst) {
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = nr_rng_mix(r->base + (uint64_t)(first + i) / 4);
        dst[i] = r->table[(bits >> (16 * (i % 4))) % CKPT_TABLE_SIZE];
    }
}

void ckpt_random_fill(const ckpt_random *r, int64_t first, int64_t n, void *dst) {
    NR_ASSERT(first % 4 == 0);
    size_t item_bytes = nr_dtype_bytes(r->dtype);
    if (item_bytes == 2)
        fill_16(r, first, n, dst);
    else
        fill_32(r, first, n, dst);
    for (int i = 0; i < 2; i++) {
        int64_t at = r->outlier[i] - first;
        if (r->outlier[i] < 0 || at < 0 || at >= n) continue;
        uint32_t bits = 0;
        memcpy(&bits, (char *)dst + (size_t)at * item_bytes, item_bytes);
        bits = encode(r->dtype, OUTLIER_FACTOR * decode(r->dtype, bits));
        memcpy((char *)dst + (size_t)at * item_bytes, &bits, item_bytes);
    }
}
