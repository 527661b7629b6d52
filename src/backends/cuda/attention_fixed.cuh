/* SPDX-License-Identifier: MIT
 *
 * attention_fixed.cuh - what attention on tensor cores computes, and the steps that its kernels
 * share. Near the reference, not bit-equal to it (tests/tolerances.h); a row's bits depend on
 * nothing beside the row and the keys it sees: not on how many rows are computed with it, nor on
 * which kernel does it. Both sums over products are integers, so they are exact in any order:
 *
 *   q       times the scale and log2 e, relative to the row's largest |q|, rounded to 23 bits and
 *           taken apart into three signed digits to the base 256
 *   keys, values  the codes of an i8 cache; of an f32 cache three digits likewise, relative to
 *           the largest of the key or value, whose power of two stands for the code's scale
 *   score   sums of digit i of q times digit j of the key, for i + j < 3 (one for a code), each
 *           exact in int32, then added up in float, times the key's scale and the row's power of 2
 *   chunk   of 64 keys from key 0 on: its largest score m; weights 2^(score - m); their sum l, a
 *           tree over keys; weights times the values' scales, relative to the largest of them, as
 *           three digits; o = those times the values' codes or digits, as above
 *   row     chunks ascending: M' = max(M, m); L = L 2^(M-M') + l 2^(m-M'); O likewise; y = O / L
 */
#ifndef NR_ATTENTION_FIXED_CUH
#define NR_ATTENTION_FIXED_CUH

#include "cuda_ptx.cuh"

#define CHUNK 64 /* keys */
#define DIGITS 3
#define ALL 0xffffffffu
#define LOG2_E 0x1.715476p+0f

/* Powers of two: |x| * up is under 127 * 2^16 up to the largest, so digit 0 is a byte; back. */
struct fixed_point {
    float up, down;
};
/* largest: bits of |x|. Where it is not finite, down is NaN and so is all that comes of it. */
V_INLINE fixed_point fixed_point_of(uint32_t largest) {
    uint32_t e = max((largest + 0x20000u) >> 23, 30u);
    fixed_point f = {__uint_as_float((276 - e) << 23), __uint_as_float((e - 22) << 23)};
    if (largest >= 0x7f800000u) f.down = __uint_as_float(0x7fc00000u);
    return f;
}

/* x * up, rounded to an integer, as signed bytes: digit 2 lowest. */
V_INLINE uint32_t digits_of(float x, float up) {
    return ((uint32_t)__float2int_rn(__fmul_rn(x, up)) + 0x8080u) ^ 0x8080u;
}
/* The same of x >= 0, in the lower three bytes, without a conversion: 2^23 is added, whose sum has
 * the integer in its lower bits. */
V_INLINE uint32_t digits_of_weight(float x, float up) {
    return (__float_as_uint(__fmaf_rn(x, up, 8388608.0f)) + 0x8080u) ^ 0x8080u;
}
/* Digit i of four of them in word[i]. */
V_INLINE void gather_digits(uint32_t word[DIGITS], uint32_t x0, uint32_t x1, uint32_t x2,
                            uint32_t x3) {
    uint32_t low01 = __byte_perm(x0, x1, 0x5140), low23 = __byte_perm(x2, x3, 0x5140);
    word[0] = __byte_perm(__byte_perm(x0, x1, 0x0062), __byte_perm(x2, x3, 0x0062), 0x5410);
    word[1] = __byte_perm(low01, low23, 0x7632);
    word[2] = __byte_perm(low01, low23, 0x5410);
}

/* Where cosines and sines of a row of q lie; NULL: it is not to be rotated. */
V_INLINE const float *turn_of(const nr_cuda_attention_args &a, int32_t row) {
    return a.cos_sin ? a.cos_sin + (int64_t)a.positions[row] * a.head_dim : NULL;
}

/* Four values that begin at 16 bytes. */
V_INLINE void take_four(float v[4], const float *x) {
    const float4 four = *(const float4 *)x;
    v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
}

/* Values d .. d + 3 of a row of a head, rotated where cos_sin is given; zeros past dim. d is a
 * multiple of 4, dim of 8. */
V_INLINE void load_four(float v[4], const float *x, int32_t d, int32_t dim, const float *cos_sin) {
    const int32_t half = dim / 2, i = d < half ? d : d - half;
#pragma unroll
    for (int e = 0; e < 4; e++) {
        v[e] = d < dim ? x[d + e] : 0.0f;
        if (!cos_sin || d >= dim) continue;
        const float c = cos_sin[i + e], s = cos_sin[half + i + e];
        const float turned = __fmul_rn(x[d < half ? d + half + e : i + e], s);
        v[e] = d < half ? __fsub_rn(__fmul_rn(v[e], c), turned)
                        : __fadd_rn(__fmul_rn(v[e], c), turned);
    }
}

/* The value of sums of products of digits: acc0 2^16 + acc1 2^8 + acc2. */
V_INLINE float sum_of_digits(int32_t acc0, int32_t acc1, int32_t acc2) {
    return __fmaf_rn((float)(acc0 * 256 + acc1), 256.0f, (float)acc2);
}

V_INLINE uint32_t magnitude(float x) {
    return __float_as_uint(x) & 0x7fffffffu;
}

/* Score to weight; factor: the row's. m: the chunk's largest score. */
V_INLINE float weight_of(float score, float factor, float m) {
    return exp2_fast(__fmaf_rn(score, factor, -m));
}

/* The state of a row, and what a chunk does to it. */
struct row_state {
    float m, l; /* largest score so far, sum of weights relative to it */
};
struct chunk_factors {
    float old_part, new_part;
};
V_INLINE chunk_factors add_chunk(row_state *s, float m, float l) {
    chunk_factors f = {1.0f, 0.0f};
    if (m == -INFINITY) return f; /* the row sees nothing of it */
    float largest = v_max(s->m, m);
    f.old_part = exp2_fast(__fsub_rn(s->m, largest));
    f.new_part = exp2_fast(__fsub_rn(m, largest));
    s->l = __fmaf_rn(s->l, f.old_part, __fmul_rn(l, f.new_part));
    s->m = largest;
    return f;
}

/* Keys and values of a head as tiles take them: rows of `pitch` bytes, `bytes` of them filled, a
 * plane a digit. */
struct head_rows {
    const int8_t *k, *v;
    const float *k_scale, *v_scale;
    int64_t plane;
    int32_t pitch, bytes, n_scales; /* scales: how many may be read */
};

/* A chunk in shared memory; 16 bytes more than a row, so that the eight rows of a matrix lie in
 * different banks. */
template <int DIM, int PLANES> struct __align__(16) chunk_tile {
    static const int PITCH = DIM + 16;
    int8_t k[PLANES][CHUNK][PITCH], v[PLANES][CHUNK][PITCH];
    float k_scale[CHUNK], v_scale[CHUNK];
};

/* Copies of a chunk, begun by all threads of the block; zeros from key `end` on and past the filled
 * bytes. Scales past the end may be anything. */
template <int DIM, int PLANES, int THREADS_>
V_INLINE void begin_chunk(chunk_tile<DIM, PLANES> *t, const head_rows &h, int32_t first,
                          int32_t end) {
    const int PIECES = DIM / 16;
#pragma unroll
    for (int p = 0; p < PLANES; p++)
#pragma unroll 4
        for (int32_t i = threadIdx.x; i < CHUNK * PIECES; i += THREADS_) {
            int32_t row = i / PIECES, at = i % PIECES * 16;
            bool valid = first + row < end && at < h.bytes;
            int64_t from = p * h.plane + (int64_t)(first + row) * h.pitch + at;
            copy_16(&t->k[p][row][at], valid ? h.k + from : h.k, valid);
            copy_16(&t->v[p][row][at], valid ? h.v + from : h.v, valid);
        }
    if (threadIdx.x < CHUNK / 2) {
        int32_t i = threadIdx.x % 16 * 4;
        const float *from = threadIdx.x < 16 ? h.k_scale : h.v_scale;
        bool valid = first + i + 4 <= h.n_scales;
        copy_16(threadIdx.x < 16 ? &t->k_scale[i] : &t->v_scale[i], valid ? from + first + i : from,
                valid);
    }
}

/* Keys 16 n .. 16 n + 15 at bytes d .. d + 31 as columns of two products. */
template <int PITCH>
V_INLINE void load_keys(uint32_t b[4], const int8_t (*k)[PITCH], int n, int d) {
    int lane = threadIdx.x % 32;
    load_matrices(b, &k[16 * n + lane % 8 + lane / 16 * 8][d + lane / 8 % 2 * 16]);
}

/* Values 16 j .. 16 j + 15 of keys 32 h .. 32 h + 31 as columns of two products: even ones in b[0],
 * b[1], odd ones in b[2], b[3]. The k of the products are keys in the order in which a lane has
 * their scores: bytes 4t .. 4t+3 of each 16 are keys 2t, 2t+1, 8+2t, 9+2t. */
template <int PITCH>
V_INLINE void load_values(uint32_t b[4], const int8_t (*v)[PITCH], int h, int j) {
    uint32_t r[4];
    load_matrices_transposed(r, &v[32 * h + threadIdx.x % 32][16 * j]);
    b[0] = __byte_perm(r[0], r[1], 0x6420), b[1] = __byte_perm(r[2], r[3], 0x6420);
    b[2] = __byte_perm(r[0], r[1], 0x7531), b[3] = __byte_perm(r[2], r[3], 0x7531);
}

/* ---- rows of a warp: 16, the lane 4g+t has g and g + 8 ---- */

/* Values 16 i + 4 t .. + 3 of a row of a head of DIM values, all i, rotated where cos_sin is given:
 * as load_four, but 16 bytes at a time, and each value is loaded once. */
template <int DIM>
V_INLINE void load_row(float v[DIM / 16][4], const float *x, const float *cos_sin) {
    const int t = threadIdx.x % 4, HALF = DIM / 32;
#pragma unroll
    for (int i = 0; i < DIM / 16; i++) take_four(v[i], x + 16 * i + 4 * t);
    if (!cos_sin) return;
#pragma unroll
    for (int i = 0; i < HALF; i++) {
        float c[4], s[4];
        take_four(c, cos_sin + 16 * i + 4 * t);
        take_four(s, cos_sin + DIM / 2 + 16 * i + 4 * t);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const float low = v[i][e], high = v[i + HALF][e];
            v[i][e] = __fsub_rn(__fmul_rn(low, c[e]), __fmul_rn(high, s[e]));
            v[i + HALF][e] = __fadd_rn(__fmul_rn(high, c[e]), __fmul_rn(low, s[e]));
        }
    }
}

/* The warp's rows g and g + 8 of q as left sides of the products, and their factors. Rows past the
 * last are zero. */
template <int DIM>
V_INLINE void load_queries(uint32_t a[DIM / 32][DIGITS][4], float factor[2],
                           const nr_cuda_attention_args &args, int32_t row0, int32_t head,
                           int32_t n_rows) {
    const int32_t t = threadIdx.x % 4, g = threadIdx.x % 32 / 4, dim = args.head_dim;
    const float scale = __fmul_rn(args.scale, LOG2_E);
    const bool whole = DIM % 32 == 0 && dim == DIM && args.ldq % 4 == 0 &&
                       ((uintptr_t)args.q | (uintptr_t)args.cos_sin) % 16 == 0;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int32_t row = threadIdx.x / 32 * 16 + g + 8 * h;
        const bool any = row < n_rows;
        const float *x = args.q + (row0 + row) * args.ldq + (int64_t)head * dim;
        const float *cos_sin = any ? turn_of(args, row0 + row) : NULL;
        float v[DIM / 16][4];
        uint32_t largest = 0;
        if (whole && any) {
            load_row<DIM>(v, x, cos_sin);
        } else {
#pragma unroll
            for (int i = 0; i < DIM / 16; i++)
                load_four(v[i], x, 16 * i + 4 * t, any ? dim : 0, cos_sin);
        }
#pragma unroll
        for (int i = 0; i < DIM / 16; i++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                v[i][e] = __fmul_rn(v[i][e], scale);
                largest = max(largest, magnitude(v[i][e]));
            }
        }
        largest = max(largest, __shfl_xor_sync(ALL, largest, 1));
        largest = max(largest, __shfl_xor_sync(ALL, largest, 2));
        const fixed_point f = fixed_point_of(largest);
        factor[h] = f.down;
#pragma unroll
        for (int i = 0; i < DIM / 16; i++) {
            uint32_t word[DIGITS];
            gather_digits(word, digits_of(v[i][0], f.up), digits_of(v[i][1], f.up),
                          digits_of(v[i][2], f.up), digits_of(v[i][3], f.up));
#pragma unroll
            for (int j = 0; j < DIGITS; j++) a[i / 2][j][i % 2 * 2 + h] = word[j];
        }
    }
}

/* The sum of a row's weights over the lanes that share it: a tree by the bits of the key's number,
 * from 0, then 3 to 5, then 1 and 2. */
V_INLINE float sum_weights(const float x[CHUNK / 8][4], int half) {
    float sum[CHUNK / 8];
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++) sum[n] = __fadd_rn(x[n][2 * half], x[n][2 * half + 1]);
#pragma unroll
    for (int step = 1; step < CHUNK / 8; step *= 2)
#pragma unroll
        for (int n = 0; n < CHUNK / 8; n += 2 * step) sum[n] = __fadd_rn(sum[n], sum[n + step]);
    sum[0] = __fadd_rn(sum[0], __shfl_xor_sync(ALL, sum[0], 1));
    return __fadd_rn(sum[0], __shfl_xor_sync(ALL, sum[0], 2));
}

/* weigh_chunk, where MASKED some of the keys may not be seen by some of the rows. Each step is done
 * for both rows, so that there is something to do while one waits for its own result. */
template <bool MASKED>
V_INLINE void weigh_rows(chunk_factors f[2], float s[CHUNK / 8][4], const int32_t visible[2],
                         const float factor[2], row_state state[2], const float *v_scale) {
    const int t = threadIdx.x % 4;
    float m[2] = {-INFINITY, -INFINITY}, largest[2] = {0.0f, 0.0f};
#pragma unroll
    for (int i = 0; i < CHUNK / 2; i++) { /* value i % 4 of columns 8 (i / 4) on */
        float *x = &s[i / 4][i % 4];
        if (MASKED && i / 4 * 8 + 2 * t + i % 2 >= visible[i % 4 / 2]) *x = -INFINITY;
        m[i % 4 / 2] = fmaxf(*x, m[i % 4 / 2]);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) m[h] = fmaxf(m[h], __shfl_xor_sync(ALL, m[h], 1));
#pragma unroll
    for (int h = 0; h < 2; h++)
        m[h] = __fmul_rn(fmaxf(m[h], __shfl_xor_sync(ALL, m[h], 2)), factor[h]);
    const float from[2] = {m[0] == -INFINITY ? 0.0f : m[0], m[1] == -INFINITY ? 0.0f : m[1]};
#pragma unroll
    for (int i = 0; i < CHUNK / 2; i++)
        s[i / 4][i % 4] = weight_of(s[i / 4][i % 4], factor[i % 4 / 2], from[i % 4 / 2]);
    const float sum[2] = {sum_weights(s, 0), sum_weights(s, 1)};
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++) {
        const float2 scale = *(const float2 *)&v_scale[8 * n + 2 * t];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float *x = &s[n][i];
            *x = __fmul_rn(*x, i % 2 ? scale.y : scale.x);
            /* scales past the end may be anything */
            if (MASKED && 8 * n + 2 * t + i % 2 >= visible[i / 2]) *x = 0.0f;
            largest[i / 2] = fmaxf(*x, largest[i / 2]);
        }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) largest[h] = fmaxf(largest[h], __shfl_xor_sync(ALL, largest[h], 1));
#pragma unroll
    for (int h = 0; h < 2; h++) largest[h] = fmaxf(largest[h], __shfl_xor_sync(ALL, largest[h], 2));
    const fixed_point p[2] = {fixed_point_of(magnitude(largest[0])),
                              fixed_point_of(magnitude(largest[1]))};
#pragma unroll
    for (int i = 0; i < CHUNK / 2; i++) {
        float *x = &s[i / 4][i % 4];
        *x = __uint_as_float(digits_of_weight(*x, p[i % 4 / 2].up));
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        f[h] = add_chunk(&state[h], m[h], sum[h]);
        f[h].new_part = __fmul_rn(f[h].new_part, p[h].down);
    }
}

/* Scores of this lane's rows (g, g + 8) to weights with the values' scales in them, and from there
 * to digits (as bits). visible: keys of the chunk that each row sees. f: what becomes of each row's
 * old sums, and of the chunk's. */
V_INLINE void weigh_chunk(chunk_factors f[2], float s[CHUNK / 8][4], const int32_t visible[2],
                          const float factor[2], row_state state[2], const float *v_scale) {
    if (min(visible[0], visible[1]) >= CHUNK)
        weigh_rows<false>(f, s, visible, factor, state, v_scale);
    else
        weigh_rows<true>(f, s, visible, factor, state, v_scale);
}

/* Digits of weights, as weigh_chunk leaves them, to left sides of the products with values. */
V_INLINE void gather_weights(uint32_t a[CHUNK / 32][DIGITS][4], const float w[CHUNK / 8][4]) {
#pragma unroll
    for (int r = 0; r < CHUNK / 8; r++) { /* register r % 4 of the left side, 32 keys r / 4 */
        const int n = r / 4 * 4 + r % 4 / 2 * 2, h = 2 * (r % 2);
        uint32_t word[DIGITS];
        gather_digits(word, __float_as_uint(w[n][h]), __float_as_uint(w[n][h + 1]),
                      __float_as_uint(w[n + 1][h]), __float_as_uint(w[n + 1][h + 1]));
#pragma unroll
        for (int i = 0; i < DIGITS; i++) a[r / 4][i][r % 4] = word[i];
    }
}

V_INLINE head_rows rows_of(const nr_cuda_attention_args &a, const nr_cuda_span &s, int32_t head) {
    const int64_t base = head / (a.n_heads / a.n_kv_heads) * (int64_t)a.cap;
    head_rows h = {(const int8_t *)s.k + base * a.head_dim,
                   (const int8_t *)s.v + base * a.head_dim,
                   s.k_scale + base,
                   s.v_scale + base,
                   0,
                   a.head_dim,
                   a.head_dim,
                   a.cap};
    return h;
}

#endif
