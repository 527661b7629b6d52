/* SPDX-License-Identifier: MIT
 *
 * ops_ref.c - every op as the plain loop that defines it: one thread, one element at a time, in
 * the order of arithmetic that backend.h fixes. Faster backends are tested against these loops bit
 * by bit, and these loops against what other software computed. Not meant to be fast.
 *
 * vec_math.inc is compiled here over single floats, so exp and the activations are the same
 * sequence of operations as in the vector kernels.
 */
#include "backend.h"
#include "host_memory.h"
#include "nr_alloc.h"
#include "nr_limits.h"
#include "pack.h"
#include "quant.h"

#include <math.h>
#include <string.h>

#define LANES 16

#define V_INLINE static inline
typedef float vf;
V_INLINE vf v_set1(float a) { return a; }
V_INLINE vf v_add(vf a, vf b) { return a + b; }
V_INLINE vf v_sub(vf a, vf b) { return a - b; }
V_INLINE vf v_mul(vf a, vf b) { return a * b; }
V_INLINE vf v_div(vf a, vf b) { return a / b; }
V_INLINE vf v_fma(vf a, vf b, vf c) { return fmaf(a, b, c); }
V_INLINE vf v_max(vf a, vf b) { return a > b ? a : b; }
V_INLINE vf v_min(vf a, vf b) { return a < b ? a : b; }
V_INLINE vf v_abs(vf a) { return fabsf(a); }
V_INLINE vf v_select_lt(vf x, vf y, vf a, vf b) { return x < y ? a : b; }
V_INLINE vf v_exp2_of_magic(vf t) {
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits + 126u) << 23;
    memcpy(&t, &bits, sizeof t);
    return t;
}
#include "vec_math.inc"

typedef struct ref_backend {
    nr_backend base;
    uint8_t *scratch; /* borrowed */
    size_t scratch_bytes;
} ref_backend;

/* Lane i with i+8, then i+4, i+2, i+1. */
static float sum_lanes(float lanes[LANES]) {
    for (int step = LANES / 2; step > 0; step /= 2)
        for (int i = 0; i < step; i++) lanes[i] += lanes[i + step];
    return lanes[0];
}

/* Codes of a token with the linear's outlier columns and the token's own spikes left out; returns
 * the scale. */
static float quantize_token(int8_t *xq, const float *x, const nr_linear *w, nr_spikes *spikes) {
    int32_t excluded[NR_LINEAR_OUTLIERS_MAX + NR_QUANT_SPIKES], n = 0, i_outlier = 0, i_spike = 0;
    *spikes = nr_spikes_empty();
    for (int32_t k = 0, j = 0; k < w->n_in; k++) {
        if (j < w->n_outliers && w->outlier_columns[j] == k) j++;
        else nr_spikes_add(spikes, fabsf(x[k]), k);
    }
    (void)nr_spikes_finish(spikes);
    while (i_outlier < w->n_outliers ||
           (i_spike < NR_QUANT_SPIKES && spikes->columns[i_spike] >= 0)) {
        bool spike = i_spike < NR_QUANT_SPIKES && spikes->columns[i_spike] >= 0;
        bool outlier = i_outlier < w->n_outliers;
        if (spike && outlier) spike = spikes->columns[i_spike] < w->outlier_columns[i_outlier];
        excluded[n++] = spike ? spikes->columns[i_spike++] : w->outlier_columns[i_outlier++];
    }
    return nr_quantize_row(xq, x, w->n_in, excluded, n);
}

static void linear_row_i8(const nr_linear_args *a, int64_t row, int8_t *xq) {
    const nr_linear *w = a->linear;
    const int8_t *codes = w->weights;
    const float *x = a->x + row * a->ldx;
    float *y = a->y + row * a->ldy;
    const float *residual = a->residual ? a->residual + row * a->ldy : NULL;
    int64_t n_out_padded = nr_panel_count(w->n_out) * NR_PANEL_ROWS;
    nr_spikes spikes;
    float sx = quantize_token(xq, x, w, &spikes);
    for (int32_t n = 0; n < w->n_out; n++) {
        int32_t acc = 0;
        for (int32_t k = 0; k < w->n_in; k++)
            acc += (int32_t)xq[k] * codes[nr_packed_i8_at(n, k, w->n_in)];
        float scale = sx * w->scale[n];
        float sum = w->bias ? fmaf((float)acc, scale, w->bias[n]) : (float)acc * scale;
        for (int32_t j = 0; j < w->n_outliers; j++)
            sum = fmaf(x[w->outlier_columns[j]], w->outlier_weights[j * n_out_padded + n], sum);
        for (int32_t j = 0; j < NR_QUANT_SPIKES && spikes.columns[j] >= 0; j++) {
            int32_t k = spikes.columns[j];
            sum = fmaf(x[k], (float)codes[nr_packed_i8_at(n, k, w->n_in)] * w->scale[n], sum);
        }
        sum = vm_activate(sum, a->activation);
        y[n] = residual ? residual[n] + sum : sum;
    }
}

static void linear_row_f32(const nr_linear_args *a, int64_t row) {
    const nr_linear *w = a->linear;
    const float *weights = w->weights, *x = a->x + row * a->ldx;
    float *y = a->y + row * a->ldy;
    const float *residual = a->residual ? a->residual + row * a->ldy : NULL;
    for (int32_t n = 0; n < w->n_out; n++) {
        float sum = 0.0f;
        for (int32_t k = 0; k < w->n_in; k++)
            sum = fmaf(x[k], weights[nr_packed_f32_at(n, k, w->n_in)], sum);
        if (w->bias) sum += w->bias[n];
        sum = vm_activate(sum, a->activation);
        y[n] = residual ? residual[n] + sum : sum;
    }
}

static void ref_linear(nr_backend *be, const nr_linear_args *a) {
    ref_backend *ref = (ref_backend *)be;
    bool is_i8 = a->linear->dtype == NR_DTYPE_I8;
    NR_ASSERT(!is_i8 || ref->scratch_bytes >= (size_t)a->linear->n_in);
    for (int64_t row = 0; row < a->m; row++) {
        if (is_i8) linear_row_i8(a, row, (int8_t *)ref->scratch);
        else linear_row_f32(a, row);
    }
}

static void ref_quantize_residual(nr_backend *be, float *r, const float *x, int64_t ldx, int64_t m,
                                  const nr_linear *w) {
    ref_backend *ref = (ref_backend *)be;
    int8_t *xq = (int8_t *)ref->scratch;
    NR_ASSERT(w->dtype == NR_DTYPE_I8 && ref->scratch_bytes >= (size_t)w->n_in);
    for (int64_t row = 0; row < m; row++, x += ldx, r += w->n_in) {
        nr_spikes spikes;
        float sx = quantize_token(xq, x, w, &spikes);
        for (int32_t k = 0; k < w->n_in; k++) r[k] = fmaf(-(float)xq[k], sx, x[k]);
        for (int32_t j = 0; j < NR_QUANT_SPIKES && spikes.columns[j] >= 0; j++)
            r[spikes.columns[j]] = 0.0f;
        for (int32_t j = 0; j < w->n_outliers; j++) r[w->outlier_columns[j]] = 0.0f;
    }
}

static void ref_activate(nr_backend *be, float *y, int64_t n, nr_activation activation) {
    (void)be;
    for (int64_t i = 0; i < n; i++) y[i] = vm_activate(y[i], activation);
}

static void ref_embed(nr_backend *be, float *y, int64_t ldy, const int32_t *ids, int64_t m,
                      const nr_linear *table) {
    (void)be;
    int32_t n_in = table->n_in;
    int64_t n_out_padded = nr_panel_count(table->n_out) * NR_PANEL_ROWS;
    for (int64_t i = 0; i < m; i++) {
        int32_t id = ids[i];
        float *row = y + i * ldy;
        NR_ASSERT(id >= 0 && id < table->n_out);
        for (int32_t k = 0; k < n_in; k++)
            row[k] = table->dtype == NR_DTYPE_F32
                         ? ((const float *)table->weights)[nr_packed_f32_at(id, k, n_in)]
                         : (float)((const int8_t *)table->weights)[nr_packed_i8_at(id, k, n_in)] *
                               table->scale[id];
        for (int32_t j = 0; j < table->n_outliers; j++)
            row[table->outlier_columns[j]] = table->outlier_weights[j * n_out_padded + id];
    }
}

static void ref_rms_norm(nr_backend *be, float *y, const float *x, int64_t m, int32_t d,
                         const float *gamma, float eps) {
    (void)be;
    for (int64_t row = 0; row < m; row++, x += d, y += d) {
        float lanes[LANES] = {0};
        for (int32_t i = 0; i < d; i++) lanes[i % LANES] = fmaf(x[i], x[i], lanes[i % LANES]);
        float r = 1.0f / sqrtf(sum_lanes(lanes) / (float)d + eps);
        for (int32_t i = 0; i < d; i++) y[i] = (x[i] * r) * gamma[i];
    }
}

static void ref_layer_norm(nr_backend *be, float *y, const float *x, int64_t m, int32_t d,
                           const float *gamma, const float *beta, float eps) {
    (void)be;
    for (int64_t row = 0; row < m; row++, x += d, y += d) {
        float lanes[LANES] = {0}, squares[LANES] = {0};
        for (int32_t i = 0; i < d; i++) lanes[i % LANES] += x[i];
        float mean = sum_lanes(lanes) / (float)d;
        for (int32_t i = 0; i < d; i++) {
            float c = x[i] - mean;
            squares[i % LANES] = fmaf(c, c, squares[i % LANES]);
        }
        float r = 1.0f / sqrtf(sum_lanes(squares) / (float)d + eps);
        for (int32_t i = 0; i < d; i++) y[i] = fmaf((x[i] - mean) * r, gamma[i], beta[i]);
    }
}

static void ref_gated(nr_backend *be, float *y, int64_t ldy, const float *gate_up, int64_t m,
                      int32_t f, nr_activation activation) {
    (void)be;
    for (int64_t row = 0; row < m; row++, y += ldy, gate_up += 2 * (int64_t)f)
        for (int32_t i = 0; i < f; i++) y[i] = vm_activate(gate_up[i], activation) * gate_up[f + i];
}

static void ref_add_rows(nr_backend *be, float *y, int64_t ldy, const float *table,
                         const int32_t *rows, int64_t m, int32_t d) {
    (void)be;
    for (int64_t i = 0; i < m; i++)
        for (int32_t k = 0; k < d; k++) y[i * ldy + k] += table[(int64_t)rows[i] * d + k];
}

static void ref_rope(nr_backend *be, float *x, int64_t ldx, const int32_t *positions, int64_t m,
                     int32_t n_heads, int32_t head_dim, const float *cos_sin) {
    (void)be;
    int32_t half = head_dim / 2;
    for (int64_t row = 0; row < m; row++) {
        const float *c = cos_sin + (int64_t)positions[row] * head_dim, *s = c + half;
        for (int32_t h = 0; h < n_heads; h++) {
            float *a = x + row * ldx + (int64_t)h * head_dim, *b = a + half;
            for (int32_t i = 0; i < half; i++) {
                float a_i = a[i], b_i = b[i];
                a[i] = a_i * c[i] - b_i * s[i];
                b[i] = b_i * c[i] + a_i * s[i];
            }
        }
    }
}

static uint16_t clamped_f16(float x) {
    return nr_f32_to_f16(v_min(v_max(x, -65504.0f), 65504.0f));
}

static void kv_put(const nr_kv *kv, void *dst, int64_t at, float value) {
    if (kv->dtype == NR_DTYPE_F16) ((uint16_t *)dst)[at] = clamped_f16(value);
    else ((float *)dst)[at] = value;
}

/* Without the scale of a code. */
static float kv_get(const nr_kv *kv, const void *src, int64_t at) {
    return kv->dtype == NR_DTYPE_I8    ? (float)((const int8_t *)src)[at]
           : kv->dtype == NR_DTYPE_F16 ? nr_f16_to_f32(((const uint16_t *)src)[at])
                                       : ((const float *)src)[at];
}

static int64_t key_at(const nr_kv *kv, int32_t head, int32_t pos, int32_t i) {
    int64_t block = (int64_t)head * (kv->cap / NR_KV_BLOCK) + pos / NR_KV_BLOCK;
    return (block * kv->head_dim + i) * NR_KV_BLOCK + pos % NR_KV_BLOCK;
}

static int64_t value_at(const nr_kv *kv, int32_t head, int32_t pos, int32_t i) {
    return ((int64_t)head * kv->cap + pos) * (int64_t)nr_round_up((size_t)kv->head_dim, LANES) + i;
}

static void put_codes(const nr_kv *kv, int32_t h, int32_t pos, const float *k, const float *v) {
    int32_t dim = kv->head_dim, dim_padded = (int32_t)nr_round_up((size_t)dim, LANES);
    int8_t codes[NR_HEAD_DIM_MAX], *keys = kv->k, *values = kv->v;
    int64_t at = (int64_t)h * kv->cap + pos;
    kv->k_scale[at] = nr_quantize_row(codes, k, dim, NULL, 0);
    for (int32_t i = 0; i < dim; i++) keys[key_at(kv, h, pos, i)] = codes[i];
    kv->v_scale[at] = nr_quantize_row(codes, v, dim, NULL, 0);
    for (int32_t i = 0; i < dim_padded; i++)
        values[value_at(kv, h, pos, i)] = i < dim ? codes[i] : 0;
}

static void ref_kv_store(nr_backend *be, const nr_kv *kv, int32_t pos0, const float *k, int64_t ldk,
                         const float *v, int64_t ldv, int64_t m) {
    (void)be;
    int32_t dim = kv->head_dim, dim_padded = (int32_t)nr_round_up((size_t)dim, LANES);
    NR_ASSERT(pos0 >= 0 && pos0 + m <= kv->cap && dim <= NR_HEAD_DIM_MAX);
    for (int32_t row = 0; row < (int32_t)m; row++)
        for (int32_t h = 0; h < kv->n_kv_heads; h++) {
            const float *k_row = k + row * ldk + (int64_t)h * dim;
            const float *v_row = v + row * ldv + (int64_t)h * dim;
            if (kv->dtype == NR_DTYPE_I8) {
                put_codes(kv, h, pos0 + row, k_row, v_row);
                continue;
            }
            for (int32_t i = 0; i < dim; i++)
                kv_put(kv, kv->k, key_at(kv, h, pos0 + row, i), k_row[i]);
            for (int32_t i = 0; i < dim_padded; i++)
                kv_put(kv, kv->v, value_at(kv, h, pos0 + row, i), i < dim ? v_row[i] : 0.0f);
        }
}

/* One query row of one head over keys 0 .. n-1; p: scratch of n floats. */
static void attend(const nr_attention_args *a, float *y, const float *q, int32_t kv_head,
                   int32_t n, float *p) {
    const nr_kv *kv = a->kv;
    const bool i8 = kv->dtype == NR_DTYPE_I8;
    const int64_t scales = (int64_t)kv_head * kv->cap;
    float largest = -INFINITY, lanes[LANES] = {0};
    for (int32_t key = 0; key < n; key++) {
        float s = 0.0f;
        for (int32_t i = 0; i < kv->head_dim; i++)
            s = fmaf(q[i] * a->scale, kv_get(kv, kv->k, key_at(kv, kv_head, key, i)), s);
        p[key] = i8 ? s * kv->k_scale[scales + key] : s;
        largest = v_max(p[key], largest);
    }
    for (int32_t key = 0; key < n; key++) {
        p[key] = vm_exp(p[key] - largest);
        lanes[key % LANES] += p[key];
    }
    float inverse = 1.0f / sum_lanes(lanes);
    for (int32_t key = 0; i8 && key < n; key++) p[key] *= kv->v_scale[scales + key];
    for (int32_t i = 0; i < kv->head_dim; i++) {
        float o = 0.0f;
        for (int32_t key = 0; key < n; key++)
            o = fmaf(p[key], kv_get(kv, kv->v, value_at(kv, kv_head, key, i)), o);
        y[i] = o * inverse;
    }
}

static void ref_attention(nr_backend *be, const nr_attention_args *a) {
    ref_backend *ref = (ref_backend *)be;
    int32_t dim = a->kv->head_dim, group = a->n_heads / a->kv->n_kv_heads;
    NR_ASSERT(a->n_keys > 0 && a->n_keys <= a->kv->cap);
    NR_ASSERT(ref->scratch_bytes >= (size_t)a->n_keys * sizeof(float));
    for (int64_t row = 0; row < a->m; row++) {
        int32_t n = a->n_keys;
        if (a->causal) n = (int32_t)NR_MIN((int64_t)n, a->pos0 + row + 1);
        for (int32_t h = 0; h < a->n_heads; h++)
            attend(a, a->y + row * a->ldy + (int64_t)h * dim,
                   a->q + row * a->ldq + (int64_t)h * dim, h / group, n, (float *)ref->scratch);
    }
}

static void ref_patchify(nr_backend *be, float *y, const float *pixels, int32_t side_h,
                         int32_t side_w, int32_t patch) {
    (void)be;
    for (int32_t gy = 0; gy < side_h / patch; gy++)
        for (int32_t gx = 0; gx < side_w / patch; gx++)
            for (int32_t c = 0; c < 3; c++)
                for (int32_t py = 0; py < patch; py++)
                    for (int32_t px = 0; px < patch; px++)
                        *y++ = pixels[((int64_t)c * side_h + gy * patch + py) * side_w +
                                      gx * patch + px];
}

static int32_t ref_argmax(nr_backend *be, const float *x, int32_t n) {
    (void)be;
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static size_t ref_scratch_bytes(const nr_backend *be, int64_t rows_max, int64_t n_in_max,
                                int64_t keys_max) {
    (void)be, (void)rows_max;
    return (size_t)NR_MAX(n_in_max, keys_max * (int64_t)sizeof(float));
}

static void ref_set_scratch(nr_backend *be, void *scratch, size_t bytes) {
    ref_backend *ref = (ref_backend *)be;
    ref->scratch = scratch;
    ref->scratch_bytes = bytes;
}

static void ref_close(nr_backend *be) {
    nr_free(be);
}

static const nr_backend_ops ref_ops = {
    .name = "cpu",
    .close = ref_close,
    .arena_alloc = nr_host_arena_alloc,
    .arena_free = nr_host_arena_free,
    .upload = nr_host_copy,
    .download = nr_host_copy,
    .copy = nr_host_copy,
    .scratch_bytes = ref_scratch_bytes,
    .set_scratch = ref_set_scratch,
    .pack_rows = nr_host_pack_rows,
    .linear = ref_linear,
    .quantize_residual = ref_quantize_residual,
    .activate = ref_activate,
    .embed = ref_embed,
    .rms_norm = ref_rms_norm,
    .layer_norm = ref_layer_norm,
    .gated = ref_gated,
    .add_rows = ref_add_rows,
    .rope = ref_rope,
    .kv_store = ref_kv_store,
    .attention = ref_attention,
    .patchify = ref_patchify,
    .argmax = ref_argmax,
};

nr_status nr_backend_ref_open(nr_backend **out, nr_error *err) {
    ref_backend *ref = nr_calloc(1, sizeof *ref);
    NR_FAIL_IF(!ref, NO_MEMORY, "reference backend");
    ref->base = (nr_backend){.ops = &ref_ops, .isa = "reference", .n_threads = 1};
    *out = &ref->base;
    return NR_STATUS_OK;
}
