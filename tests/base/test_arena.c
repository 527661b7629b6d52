/* SPDX-License-Identifier: MIT
 *
 * Arenas: what measuring counts is what carving takes; blocks are aligned, apart and zeroed; sizes
 * that wrap are refused; a refused mapping leaves nothing behind.
 */
#include "base_test.h"
#include "nr_alloc.h"
#include "nr_arena.h"

#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define HAS_ASAN 1
#else
#define HAS_ASAN 0
#define __asan_address_is_poisoned(p) ((void)(p), 0)
#endif

#define N_BLOCKS 5
static const size_t counts[N_BLOCKS] = {1, 3, 64, 0, 1000};
static const size_t item_bytes[N_BLOCKS] = {1, 8, 1, 4, 12};

static void carve(nr_arena *a, uint8_t *blocks[N_BLOCKS]) {
    for (int i = 0; i < N_BLOCKS; i++) blocks[i] = nr_arena_take(a, counts[i], item_bytes[i]);
}

static void measuring_counts_what_carving_takes(void **state) {
    (void)state;
    uint64_t live = nr_alloc_get_stats().live_count;
    nr_arena a = nr_arena_measure();
    uint8_t *blocks[N_BLOCKS];
    carve(&a, blocks);
    for (int i = 0; i < N_BLOCKS; i++) assert_null(blocks[i]);
    size_t measured = a.used;
    nr_error err;
    assert_int_equal(nr_arena_alloc(&a, false, "test", &err), NR_STATUS_OK);
    assert_int_equal(a.cap, measured);
    assert_int_equal(a.used, 0);
    carve(&a, blocks);
    assert_int_equal(a.used, measured);
    for (int i = 0; i < N_BLOCKS; i++) {
        size_t bytes = counts[i] * item_bytes[i];
        assert_int_equal((uintptr_t)blocks[i] % NR_ALIGN_BYTES, 0);
        for (size_t k = 0; k < bytes; k++) assert_int_equal(blocks[i][k], 0);
        memset(blocks[i], 0xa0 + i, bytes);
    }
    for (int i = 0; i < N_BLOCKS; i++)
        for (size_t k = 0; k < counts[i] * item_bytes[i]; k++)
            assert_int_equal(blocks[i][k], 0xa0 + i); /* nobody wrote into a neighbour */
    nr_arena_free(&a);
    assert_null(a.base);
    assert_int_equal(nr_alloc_get_stats().live_count, live);
}

static void red_zone_follows_every_block(void **state) {
    (void)state;
    if (!HAS_ASAN) {
        print_message("red zones exist only under AddressSanitizer\n");
        skip();
    }
    nr_arena a = nr_arena_measure();
    uint8_t *blocks[N_BLOCKS];
    carve(&a, blocks);
    assert_int_equal(nr_arena_alloc(&a, false, "test", NULL), NR_STATUS_OK);
    carve(&a, blocks);
    for (int i = 0; i < N_BLOCKS; i++) {
        size_t bytes = counts[i] * item_bytes[i];
        if (bytes > 0) assert_false(__asan_address_is_poisoned(blocks[i] + bytes - 1));
        assert_true(__asan_address_is_poisoned(blocks[i] + bytes));
    }
    nr_arena_free(&a);
}

static void sizes_that_wrap_are_refused(void **state) {
    (void)state;
    static const size_t bad[][2] = {
        {SIZE_MAX, 2}, {SIZE_MAX / 2, 3}, {SIZE_MAX, 1}, {(size_t)1 << 33, (size_t)1 << 33}};
    for (size_t i = 0; i < NR_COUNT(bad); i++) {
        nr_arena a = nr_arena_measure();
        assert_null(nr_arena_take(&a, 10, 10));
        assert_null(nr_arena_take(&a, bad[i][0], bad[i][1]));
        nr_error err;
        assert_int_equal(nr_arena_alloc(&a, false, "weights", &err), NR_STATUS_LIMIT);
        assert_non_null(strstr(err.message, "weights"));
        assert_null(a.base);
        nr_arena_free(&a);
    }
    nr_arena sum = nr_arena_measure(); /* each fits, together they do not */
    for (int i = 0; i < 4; i++) (void)nr_arena_take(&sum, SIZE_MAX / 5, 1);
    assert_int_equal(nr_arena_alloc(&sum, false, "sum", NULL), NR_STATUS_LIMIT);
}

static void refused_mapping_names_the_bytes(void **state) {
    (void)state;
    uint64_t live = nr_alloc_get_stats().live_count;
    nr_arena a = nr_arena_measure();
    (void)nr_arena_take(&a, 4096, 1);
    nr_error err;
    nr_alloc_fail_nth(1, false);
    assert_int_equal(nr_arena_alloc(&a, true, "scratch", &err), NR_STATUS_NO_MEMORY);
    nr_alloc_fail_nth(0, false);
    assert_non_null(strstr(err.message, "scratch"));
    assert_non_null(strstr(err.message, HAS_ASAN ? "4160" : "4096"));
    nr_arena_free(&a);
    assert_int_equal(nr_alloc_get_stats().live_count, live);
}

static void empty_arena_can_be_allocated(void **state) {
    (void)state;
    nr_arena a = nr_arena_measure();
    assert_int_equal(nr_arena_alloc(&a, false, "nothing", NULL), NR_STATUS_OK);
    nr_arena_free(&a);
    nr_arena_free(&a);
}

static void arena_within_measures_and_carves(void **state) {
    (void)state;
    nr_arena inner = nr_arena_within(NULL, 0);
    uint8_t *blocks[N_BLOCKS];
    carve(&inner, blocks);
    size_t inner_bytes = inner.used;
    nr_arena outer = nr_arena_measure();
    (void)nr_arena_take(&outer, inner_bytes, 1);
    assert_int_equal(nr_arena_alloc(&outer, false, "outer", NULL), NR_STATUS_OK);
    uint8_t *block = nr_arena_take(&outer, inner_bytes, 1);
    inner = nr_arena_within(block, inner_bytes);
    carve(&inner, blocks);
    assert_int_equal(inner.used, inner_bytes);
    assert_ptr_equal(blocks[0], block);
    memset(block, 1, inner_bytes);
    nr_arena_free(&inner); /* the block stays */
    assert_int_equal(block[inner_bytes - 1], 1);
    nr_arena_free(&outer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measuring_counts_what_carving_takes),
        cmocka_unit_test(red_zone_follows_every_block),
        cmocka_unit_test(sizes_that_wrap_are_refused),
        cmocka_unit_test(refused_mapping_names_the_bytes),
        cmocka_unit_test(empty_arena_can_be_allocated),
        cmocka_unit_test(arena_within_measures_and_carves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
