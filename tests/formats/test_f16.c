/* SPDX-License-Identifier: MIT
 *
 * test_f16.c - half floats against their definition, for all 65,536 of them.
 */
#include "fmt_test.h"

#include "dtype.h"

#include <math.h>

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* sign, 5 bits of exponent, 10 of mantissa: the value as IEEE 754 defines it, or the bits of the
 * infinity or NaN with the same payload */
static uint32_t defined(uint16_t h) {
    int sign = h >> 15, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 31) return (uint32_t)sign << 31 | 0x7f800000u | (uint32_t)mantissa << 13;
    double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return bits_of((float)(sign ? -magnitude : magnitude));
}

static uint16_t all[65536];

static void widens_every_half(void **state) {
    (void)state;
    float *row = malloc(sizeof all / sizeof all[0] * sizeof *row);
    nr_dtype_to_f32(row, all, NR_DTYPE_F16, 65536);
    for (int i = 0; i < 65536; i++) {
        assert_int_equal(bits_of(row[i]), defined(all[i]));
        assert_int_equal(bits_of(nr_f16_to_f32(all[i])), defined(all[i]));
    }
    free(row);
}

static void widens_rows_of_any_length(void **state) {
    (void)state;
    float row[200];
    for (int first = 0x3b00; first < 0x3b04; first++)
        for (int n = 0; n < 199; n++) {
            for (int i = 0; i < 200; i++) row[i] = -7;
            nr_dtype_to_f32(row, all + first, NR_DTYPE_F16, n);
            for (int i = 0; i < n; i++) assert_int_equal(bits_of(row[i]), defined(all[first + i]));
            assert_true(row[n] == -7);
            for (int i = 0; i < 200; i++) row[i] = -7;
            nr_dtype_to_f32(row, all + first, NR_DTYPE_BF16, n);
            for (int i = 0; i < n; i++)
                assert_int_equal(bits_of(row[i]), (uint32_t)all[first + i] << 16);
            assert_true(row[n] == -7);
        }
}

static void narrows_to_nearest_even(void **state) {
    (void)state;
    for (int i = 0; i < 65536; i++) {
        float value = nr_f16_to_f32(all[i]);
        if (isnan(value)) {
            assert_true((nr_f32_to_f16(value) & 0x7fff) > 0x7c00);
            continue;
        }
        assert_int_equal(nr_f32_to_f16(value), all[i]);
        if ((all[i] & 0x7fff) >= 0x7bff) continue; /* the largest has no upper neighbour */
        float next = nr_f16_to_f32((uint16_t)(all[i] + 1)), middle = (value + next) / 2;
        uint16_t even = (uint16_t)(all[i] & 1 ? all[i] + 1 : all[i]);
        assert_int_equal(nr_f32_to_f16(middle), even);
        assert_int_equal(nr_f32_to_f16(nextafterf(middle, value)), all[i]);
        assert_int_equal(nr_f32_to_f16(nextafterf(middle, next)), all[i] + 1);
    }
    assert_int_equal(nr_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(nr_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(nr_f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(nr_f32_to_f16(0x1p-25f), 0); /* halfway to the smallest: even is 0 */
    assert_int_equal(nr_f32_to_f16(0x1.000002p-25f), 1);
    assert_int_equal(nr_f32_to_f16(-0x1p-40f), 0x8000);
}

static void finds_what_is_not_finite(void **state) {
    (void)state;
    float row[200];
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 200; i++) row[i] = i % 2 ? 3.4e38f : -1e-45f;
    for (int n = 0; n <= 200; n++) assert_int_equal(nr_f32_find_not_finite(row, n), n);
    for (int i = 0; i < 200; i++) {
        float kept = row[i];
        row[i] = bad[i % 4];
        assert_int_equal(nr_f32_find_not_finite(row, 200), i);
        assert_int_equal(nr_f32_find_not_finite(row, i), i);
        row[199] = NAN;
        assert_int_equal(nr_f32_find_not_finite(row, 200), i);
        row[199] = 1;
        row[i] = kept;
    }
}

int main(void) {
    for (int i = 0; i < 65536; i++) all[i] = (uint16_t)i;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widens_every_half),
        cmocka_unit_test(widens_rows_of_any_length),
        cmocka_unit_test(narrows_to_nearest_even),
        cmocka_unit_test(finds_what_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
