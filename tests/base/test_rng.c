/* SPDX-License-Identifier: MIT
 *
 * Random numbers: the mixer against SplitMix64's published outputs (its state counts in steps of
 * 0x9e37..., so output k of seed s is mix(s + k * step)), and what counting guarantees.
 */
#include "base_test.h"
#include "nr_base.h"
#include "nr_rng.h"

static void mixer_is_splitmix64(void **state) {
    (void)state;
    static const uint64_t seed_1234567[] = {6457827717110365317u, 3203168211198807973u,
                                            9817491932198370423u, 4593380528125082431u,
                                            16408922859458223821u};
    for (uint64_t k = 0; k < NR_COUNT(seed_1234567); k++)
        assert_true(nr_rng_mix(1234567 + k * 0x9e3779b97f4a7c15u) == seed_1234567[k]);
    assert_true(nr_rng_mix(0) == 0xe220a8397b1dcdafu);
}

static void streams_and_steps_differ(void **state) {
    (void)state;
    assert_true(nr_rng_u64(1, 2, 3) == nr_rng_u64(1, 2, 3));
    assert_true(nr_rng_u64(1, 2, 3) != nr_rng_u64(1, 2, 4));
    assert_true(nr_rng_u64(1, 2, 3) != nr_rng_u64(1, 3, 3));
    assert_true(nr_rng_u64(1, 2, 3) != nr_rng_u64(2, 2, 3));
    assert_true(nr_rng_u64(1, 2, 3) != nr_rng_u64(2, 1, 3));
}

static void uniform_is_uniform(void **state) {
    (void)state;
    enum { N = 100000, N_BINS = 16 };
    int bins[N_BINS] = {0};
    double sum = 0;
    for (uint64_t i = 0; i < N; i++) {
        float u = nr_rng_uniform(42, 7, i);
        assert_true(u >= 0.0f && u < 1.0f);
        bins[(int)(u * N_BINS)]++;
        sum += (double)u;
    }
    assert_true(sum / N > 0.495 && sum / N < 0.505); /* 5 sigma: 0.0046 */
    for (int i = 0; i < N_BINS; i++) assert_in_range(bins[i], N / N_BINS - 400, N / N_BINS + 400);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixer_is_splitmix64),
        cmocka_unit_test(streams_and_steps_differ),
        cmocka_unit_test(uniform_is_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
