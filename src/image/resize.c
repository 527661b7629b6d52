/* SPDX-License-Identifier: MIT
 *
 * resize.c - separable resampling in fixed point, as Pillow does it for 8-bit pictures.
 *
 * Weights of one output position: the filter, widened by the scale when shrinking (antialias), at
 * the source positions whose centres lie within its support; normalised to sum 1 in double, then
 * rounded half away from zero to 22 fractional bits (8 bits of pixel, 2 of headroom for the
 * overshoot of bicubic, 22 of weight: 32). Pixels: int32 sum of u8 * weight plus one half, shifted
 * down, clipped to 0..255. Rows first, to u8, then columns. An axis whose size does not change is
 * copied.
 *
 * Scratch: [weights x][weights y][one double vector][row ring][canvas row][plain row]. The rows
 * between the passes live in a ring just tall enough for one output row, so the memory does not
 * grow with the height of the source and the ring stays in cache.
 *
 * Tried and dropped: two channels in one 64-bit multiplication (gain within the noise).
 */
#include "resize.h"

#include <math.h>
#include <string.h>

#include "nr_limits.h"

#define WEIGHT_BITS 22
#define OUT_SIDE_MAX (1 << 24)

/* One axis: weights of the computed positions. */
typedef struct axis {
    int32_t in_size, out_size, first, count; /* computed: out positions [first, first + count) */
    int32_t stride;    /* weights kept for a position: most that one can have */
    bool identity;     /* sizes equal: positions are copied */
    double scale, support;
    int32_t *begin, *n; /* [count]: first source position and how many */
    int32_t *weight;    /* [count, stride] fixed point */
} axis;

typedef struct layout {
    axis x, y;
    double *sums;         /* [max stride]: one position's weights before rounding */
    uint8_t *ring;        /* u8 [y.stride, x.count, 3]: rows after the first pass */
    uint8_t *canvas_row;  /* u8 [x.in_size, 3]; only when the canvas is wider than the picture */
    uint8_t *plain_row;   /* u8 [x.count, 3]: a canvas row without picture, after the first pass */
    int32_t *sum_row;     /* i32 [x.count * 3]: accumulators of the second pass */
} layout;

static double filter_support(nr_resize_filter filter) {
    return filter == NR_RESIZE_FILTER_BICUBIC ? 2.0 : 1.0;
}

/* Keys' cubic with a = -1/2, written so that every product is rounded in Pillow's order. */
static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static double bilinear(double x) {
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static void axis_init(axis *a, int32_t in_size, int32_t out_size, int32_t first, int32_t count,
                      nr_resize_filter filter) {
    a->in_size = in_size;
    a->out_size = out_size;
    a->first = first;
    a->count = count;
    a->identity = in_size == out_size;
    a->scale = (double)in_size / out_size;
    double widen = NR_MAX(a->scale, 1.0);
    a->support = filter_support(filter) * widen;
    double taps = ceil(a->support) * 2 + 1;
    a->stride = taps < in_size ? (int32_t)taps : in_size;
    if (a->identity) a->stride = 1;
}

static void axis_fill(axis *a, nr_resize_filter filter, double *sums) {
    double widen = NR_MAX(a->scale, 1.0);
    double inverse = 1.0 / widen;
    for (int32_t i = 0; i < a->count; i++) {
        if (a->identity) {
            a->begin[i] = a->first + i;
            a->n[i] = 1;
            continue;
        }
        double centre = (a->first + i + 0.5) * a->scale;
        int32_t begin = (int32_t)(centre - a->support + 0.5);
        if (begin < 0) begin = 0;
        int32_t end = (int32_t)(centre + a->support + 0.5);
        if (end > a->in_size) end = a->in_size;
        int32_t n = end - begin;
        NR_ASSERT(n >= 1 && n <= a->stride);
        double total = 0.0;
        for (int32_t t = 0; t < n; t++) {
            double at = (t + begin - centre + 0.5) * inverse;
            sums[t] = filter == NR_RESIZE_FILTER_BICUBIC ? bicubic(at) : bilinear(at);
            total += sums[t];
        }
        int32_t *weight = a->weight + (size_t)i * (size_t)a->stride;
        for (int32_t t = 0; t < n; t++) {
            double w = total != 0.0 ? sums[t] / total : sums[t];
            weight[t] = (int32_t)((w < 0 ? -0.5 : 0.5) + w * (1 << WEIGHT_BITS));
        }
        a->begin[i] = begin;
        a->n[i] = n;
    }
}

/* Next block of a scratch area; counts only while base is NULL. */
static void *take(uint8_t *base, size_t *used, size_t count, size_t item_bytes, bool *wrapped) {
    size_t bytes, end;
    if (!nr_mul_size(count, item_bytes, &bytes) || !nr_add_size(bytes, NR_ALIGN_BYTES, &bytes) ||
        !nr_add_size(*used, bytes / NR_ALIGN_BYTES * NR_ALIGN_BYTES, &end)) {
        *wrapped = true;
        return NULL;
    }
    void *block = base ? base + *used : NULL;
    *used = end;
    return block;
}

static void axis_carve(axis *a, uint8_t *base, size_t *used, bool *wrapped) {
    size_t count = (size_t)a->count, weights = 0;
    if (!nr_mul_size(count, (size_t)a->stride, &weights)) *wrapped = true;
    a->begin = take(base, used, count, sizeof *a->begin, wrapped);
    a->n = take(base, used, count, sizeof *a->n, wrapped);
    a->weight = take(base, used, weights, sizeof *a->weight, wrapped);
}

/* base NULL measures. Returns the bytes used; *wrapped when a size does not fit. */
static size_t layout_carve(layout *l, const nr_resize_spec *s, uint8_t *base, bool *wrapped) {
    size_t used = 0, ring = 0;
    size_t row = (size_t)l->x.count * 3;
    axis_carve(&l->x, base, &used, wrapped);
    axis_carve(&l->y, base, &used, wrapped);
    l->sums = take(base, &used, (size_t)NR_MAX(l->x.stride, l->y.stride), sizeof *l->sums, wrapped);
    if (!nr_mul_size(row, (size_t)l->y.stride, &ring)) *wrapped = true;
    l->ring = take(base, &used, ring, 1, wrapped);
    l->sum_row = take(base, &used, row, sizeof *l->sum_row, wrapped);
    bool wide = l->x.in_size != s->src_width, tall = l->y.in_size != s->src_height;
    l->canvas_row = take(base, &used, wide || tall ? (size_t)l->x.in_size : 0, 3, wrapped);
    l->plain_row = take(base, &used, tall ? row : 0, 1, wrapped);
    return used;
}

/* Check the spec, fill in what 0 stands for, prepare both axes. */
static nr_status prepare(const nr_resize_spec *in, nr_resize_spec *s, layout *l, nr_error *err) {
    *s = *in;
    const int32_t side_max = (int32_t)NR_IMAGE_SIDE_MAX;
    NR_FAIL_IF(s->filter != NR_RESIZE_FILTER_BICUBIC && s->filter != NR_RESIZE_FILTER_BILINEAR, ARG,
               "resize: filter %d, expected 2 (bilinear) or 3 (bicubic)", (int)s->filter);
    NR_FAIL_IF(s->src_width < 1 || s->src_height < 1 || s->src_width > side_max ||
                   s->src_height > side_max,
               ARG, "resize: source %dx%d, expected sides of 1..%d", s->src_width, s->src_height,
               side_max);
    if (s->canvas_width == 0 && s->canvas_height == 0) {
        s->canvas_width = s->src_width;
        s->canvas_height = s->src_height;
    }
    NR_FAIL_IF(s->canvas_width > side_max || s->canvas_height > side_max || s->pad_left < 0 ||
                   s->pad_top < 0 || s->canvas_width - s->src_width < s->pad_left ||
                   s->canvas_height - s->src_height < s->pad_top,
               ARG, "resize: source %dx%d at %d,%d does not lie on its canvas %dx%d", s->src_width,
               s->src_height, s->pad_left, s->pad_top, s->canvas_width, s->canvas_height);
    NR_FAIL_IF(s->out_width < 1 || s->out_height < 1 || s->out_width > OUT_SIDE_MAX ||
                   s->out_height > OUT_SIDE_MAX,
               ARG, "resize: output %dx%d, expected sides of 1..%d", s->out_width, s->out_height,
               OUT_SIDE_MAX);
    if (s->window_width == 0 && s->window_height == 0) {
        s->window_width = s->out_width;
        s->window_height = s->out_height;
    }
    NR_FAIL_IF(s->window_width < 1 || s->window_height < 1 || s->window_left < 0 ||
                   s->window_top < 0 || s->out_width - s->window_width < s->window_left ||
                   s->out_height - s->window_height < s->window_top,
               ARG, "resize: window %dx%d at %d,%d does not lie in the output %dx%d",
               s->window_width, s->window_height, s->window_left, s->window_top, s->out_width,
               s->out_height);
    axis_init(&l->x, s->canvas_width, s->out_width, s->window_left, s->window_width, s->filter);
    axis_init(&l->y, s->canvas_height, s->out_height, s->window_top, s->window_height, s->filter);
    return NR_STATUS_OK;
}

nr_status nr_resize_scratch_bytes(const nr_resize_spec *spec, size_t *out_bytes, nr_error *err) {
    nr_resize_spec s = {0};
    layout l = {0};
    bool wrapped = false;
    NR_TRY(prepare(spec, &s, &l, err));
    size_t bytes = layout_carve(&l, &s, NULL, &wrapped);
    NR_FAIL_IF(wrapped, LIMIT, "resize: scratch for %dx%d wraps", s.window_width, s.window_height);
    *out_bytes = bytes;
    return NR_STATUS_OK;
}

static inline uint8_t clip(int32_t sum) {
    sum >>= WEIGHT_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* First pass: one canvas row to [x.count, 3]. */
static void resample_row(const axis *x, const uint8_t *restrict row, uint8_t *restrict dst) {
    if (x->identity) {
        memcpy(dst, row + (size_t)x->first * 3, (size_t)x->count * 3);
        return;
    }
    for (int32_t i = 0; i < x->count; i++) {
        const uint8_t *p = row + (size_t)x->begin[i] * 3;
        const int32_t *w = x->weight + (size_t)i * (size_t)x->stride;
        int32_t r = 1 << (WEIGHT_BITS - 1), g = r, b = r;
        for (int32_t t = 0, n = x->n[i]; t < n; t++) {
            r += p[3 * t] * w[t];
            g += p[3 * t + 1] * w[t];
            b += p[3 * t + 2] * w[t];
        }
        dst[3 * i] = clip(r);
        dst[3 * i + 1] = clip(g);
        dst[3 * i + 2] = clip(b);
    }
}

/* Second pass: output row i from the ring. */
static void resample_column(const layout *l, int32_t i, uint8_t *restrict dst) {
    const axis *y = &l->y;
    size_t row_bytes = (size_t)l->x.count * 3;
    const int32_t *w = y->weight + (size_t)i * (size_t)y->stride;
    int32_t slot = y->begin[i] % y->stride;
    if (y->identity) {
        memcpy(dst, l->ring + (size_t)slot * row_bytes, row_bytes);
        return;
    }
    int32_t *restrict sum = l->sum_row;
    for (size_t j = 0; j < row_bytes; j++) sum[j] = 1 << (WEIGHT_BITS - 1);
    for (int32_t t = 0; t < y->n[i]; t++) {
        const uint8_t *restrict row = l->ring + (size_t)slot * row_bytes;
        const int32_t weight = w[t];
        for (size_t j = 0; j < row_bytes; j++) sum[j] += row[j] * weight;
        if (++slot == y->stride) slot = 0;
    }
    for (size_t j = 0; j < row_bytes; j++) dst[j] = clip(sum[j]);
}

static void fill_plain(uint8_t *row, int32_t width, const uint8_t rgb[3]) {
    for (int32_t i = 0; i < width; i++) memcpy(row + (size_t)i * 3, rgb, 3);
}

/* Canvas row r through the first pass into its slot of the ring. */
static void push_row(const layout *l, const nr_resize_spec *s, const uint8_t *src, int32_t r) {
    size_t row_bytes = (size_t)l->x.count * 3, src_bytes = (size_t)s->src_width * 3;
    uint8_t *slot = l->ring + (size_t)(r % l->y.stride) * row_bytes;
    int32_t src_row = r - s->pad_top;
    if (src_row < 0 || src_row >= s->src_height) {
        memcpy(slot, l->plain_row, row_bytes);
        return;
    }
    const uint8_t *row = src + (size_t)src_row * src_bytes;
    if (l->x.in_size != s->src_width) {
        memcpy(l->canvas_row + (size_t)s->pad_left * 3, row, src_bytes);
        row = l->canvas_row;
    }
    resample_row(&l->x, row, slot);
}

nr_status nr_resize_rgb(const nr_resize_spec *spec, const uint8_t *restrict src,
                        uint8_t *restrict dst, void *scratch, size_t scratch_bytes, nr_error *err) {
    nr_resize_spec s = {0};
    layout l = {0};
    size_t needed = 0;
    bool wrapped = false;
    NR_TRY(nr_resize_scratch_bytes(spec, &needed, err));
    NR_FAIL_IF(!src || !dst || !scratch || scratch_bytes < needed, ARG,
               "resize: %zu bytes of scratch, expected %zu", scratch ? scratch_bytes : 0, needed);
    NR_ASSERT((uintptr_t)scratch % NR_ALIGN_BYTES == 0);
    NR_TRY(prepare(spec, &s, &l, err));
    layout_carve(&l, &s, scratch, &wrapped);
    axis_fill(&l.x, s.filter, l.sums);
    axis_fill(&l.y, s.filter, l.sums);
    if (l.x.in_size != s.src_width || l.y.in_size != s.src_height) {
        fill_plain(l.canvas_row, l.x.in_size, s.pad_rgb);
        if (l.y.in_size != s.src_height) resample_row(&l.x, l.canvas_row, l.plain_row);
    }
    int32_t next = 0;
    for (int32_t i = 0; i < l.y.count; i++) {
        int32_t end = l.y.begin[i] + l.y.n[i];
        for (next = NR_MAX(next, l.y.begin[i]); next < end; next++) push_row(&l, &s, src, next);
        resample_column(&l, i, dst + (size_t)i * (size_t)l.x.count * 3);
    }
    return NR_STATUS_OK;
}
