/* SPDX-License-Identifier: MIT
 *
 * dtype.h - element types of checkpoints and buffers, and exact conversion of rows to f32.
 */
#ifndef NR_DTYPE_H
#define NR_DTYPE_H

#include "nr_base.h"

typedef enum nr_dtype {
    NR_DTYPE_F32,
    NR_DTYPE_F16,
    NR_DTYPE_BF16,
    NR_DTYPE_I8,
    NR_DTYPE_U8,
    NR_DTYPE_I32,
    NR_DTYPE_I64,
    NR_DTYPE_COUNT
} nr_dtype;

size_t nr_dtype_bytes(nr_dtype t);       /* of one element */
const char *nr_dtype_name(nr_dtype t);   /* safetensors spelling: "F16"; static */
bool nr_dtype_from_name(const char *name, nr_dtype *out);

/* n elements of f32, f16, bf16 or i8 to f32; every value converts exactly. */
void nr_dtype_to_f32(float *restrict dst, const void *restrict src, nr_dtype t, int64_t n);

/* Index of the first NaN or infinity among n values; n when all are finite. */
int64_t nr_f32_find_not_finite(const float *values, int64_t n);

float nr_f16_to_f32(uint16_t bits);
uint16_t nr_f32_to_f16(float value); /* round to nearest even; overflow gives infinity */

#endif
