/* SPDX-License-Identifier: MIT
 *
 * test_weights_file.c - a folder's weights: one file, shards, what is wrong with either, and reads.
 */
#include "fmt_test.h"
#include "safetensors.h"
#include "weights_file.h"

#include <math.h>
#include <pthread.h>

/* One tensor of n elements in a file of its own; data is n * item size bytes. */
static void put_tensor(const scratch *s, const char *file, const char *name, nr_dtype dtype,
                       int64_t n, const void *data) {
    nr_safetensors_writer *w;
    nr_error err = {0};
    assert_int_equal(nr_safetensors_writer_create(&w, &err), 0);
    assert_int_equal(nr_safetensors_writer_add(w, name, dtype, 1, &n, &err), 0);
    assert_int_equal(nr_safetensors_writer_open(w, scratch_path(s, file), &err), 0);
    assert_int_equal(nr_safetensors_writer_put(w, data, (size_t)n * nr_dtype_bytes(dtype), &err),
                     0);
    assert_int_equal(nr_safetensors_writer_commit(w, &err), 0);
    nr_safetensors_writer_free(w);
}

#define INDEX "model.safetensors.index.json"
#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"

static void put_two_shards(const scratch *s) {
    put_tensor(s, SHARD_1, "a", NR_DTYPE_F32, 3, (float[]){1, 2, 3});
    put_tensor(s, SHARD_2, "b", NR_DTYPE_F32, 2, (float[]){4, 5});
    put_text(s, INDEX,
             "{\"metadata\": {\"total_size\": 20}, \"weight_map\": {\"b\": \"" SHARD_2 "\","
             " \"a\": \"" SHARD_1 "\"}}");
}

static void expect_refused(const scratch *s, nr_status expected, const char *part) {
    nr_weights *w = NULL;
    nr_error err = {0};
    uint64_t live = nr_alloc_get_stats().live_count;
    nr_status status = nr_weights_open(s->dir, &w, &err);
    if (status != expected) print_message("%s\n", err.message);
    assert_int_equal(status, expected);
    assert_null(w);
    assert_message_has(err, part);
    assert_int_equal(nr_alloc_get_stats().live_count, live);
}

static void joins_shards(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    put_two_shards(&s);
    nr_weights *w;
    nr_error err = {0};
    assert_int_equal(nr_weights_open(s.dir, &w, &err), 0);
    assert_int_equal(nr_weights_count(w), 2);
    assert_int_equal(nr_weights_n_shards(w), 2);
    assert_string_equal(nr_weights_at(w, 0)->name, "a");
    assert_string_equal(nr_weights_at(w, 1)->name, "b");
    const nr_weight *b = nr_weights_find(w, "b"), *need;
    assert_string_equal(nr_weights_shard_name(w, b->i_shard), SHARD_2);
    assert_null(nr_weights_find(w, "c"));
    float values[2];
    assert_int_equal(nr_weights_read_f32(w, b, 0, 2, values, &err), 0);
    assert_true(values[0] == 4 && values[1] == 5);
    assert_int_equal(nr_weights_need(w, "b", 1, (int64_t[]){2}, &need, &err), 0);
    assert_ptr_equal(need, b);
    assert_int_equal(nr_weights_need(w, "b", 1, (int64_t[]){-1}, &need, &err), 0);
    assert_int_equal(nr_weights_need(w, "b", -1, NULL, &need, &err), 0);
    assert_int_equal(nr_weights_need(w, "b", 2, (int64_t[]){2, -1}, &need, &err), NR_STATUS_SHAPE);
    assert_message_has(err, SHARD_2 ": tensor \"b\": shape [2], expected [2, any]");
    assert_int_equal(nr_weights_need(w, "b", 1, (int64_t[]){3}, &need, &err), NR_STATUS_SHAPE);
    assert_int_equal(nr_weights_need(w, "c", 1, (int64_t[]){3}, &need, &err), NR_STATUS_NOT_FOUND);
    nr_weights_forget(w, b); /* only a hint: the data stays readable */
    assert_int_equal(nr_weights_read_f32(w, b, 1, 1, values, &err), 0);
    assert_true(values[0] == 5);
    nr_weights_close(w);
    scratch_remove(&s);
}

static void names_what_is_missing(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    expect_refused(&s, NR_STATUS_NOT_FOUND, "no model.safetensors and no " INDEX);
    put_text(&s, "pytorch_model.bin", "x");
    expect_refused(&s, NR_STATUS_NOT_FOUND, "pickle files are never read");
    put_two_shards(&s);
    remove(scratch_path(&s, SHARD_2));
    expect_refused(&s, NR_STATUS_NOT_FOUND, SHARD_2);
    put_text(&s, SHARD_2, "");
    expect_refused(&s, NR_STATUS_FORMAT, SHARD_2);
    put_two_shards(&s);
    assert_int_equal(truncate(scratch_path(&s, SHARD_1), 64 + 11), 0);
    expect_refused(&s, NR_STATUS_FORMAT,
                   SHARD_1 ": tensor \"a\".data_offsets: data ends at byte 12 of"
                           " 11: the file is 1 bytes short");
    put_two_shards(&s);
    put_text(&s, INDEX, "{\"weight_map\": {\"a\": \"" SHARD_1 "\", \"c\": \"" SHARD_2 "\"}}");
    expect_refused(&s, NR_STATUS_FORMAT, SHARD_2 ": no tensor \"c\"");
    scratch_remove(&s);
    expect_refused(&s, NR_STATUS_NOT_FOUND, "no such folder");
}

static void refuses_bad_indices(void **state) {
    (void)state;
    const char *const names[] = {"../x.safetensors",
                                 "/etc/x.safetensors",
                                 "a/b.safetensors",
                                 "..\\\\x.safetensors",
                                 "..",
                                 "",
                                 ".safetensors",
                                 "x.bin",
                                 "a\\nb.safetensors",
                                 ".x.safetensors"};
    scratch s;
    scratch_make(&s);
    put_two_shards(&s);
    for (size_t i = 0; i < NR_COUNT(names); i++) {
        char text[128];
        snprintf(text, sizeof text, "{\"weight_map\": {\"a\": \"%s\"}}", names[i]);
        put_text(&s, INDEX, text);
        expect_refused(&s, NR_STATUS_FORMAT, "expected a plain file name");
    }
    const char *const texts[] = {"{}",
                                 "[]",
                                 "",
                                 "{\"weight_map\": {}}",
                                 "{\"weight_map\": []}",
                                 "{\"weight_map\": {\"a\": 1}}",
                                 "{\"weight_map\": {\"a\": \"" SHARD_1 "\", \"a\": \"" SHARD_1
                                 "\"}}"};
    for (size_t i = 0; i < NR_COUNT(texts); i++) {
        put_text(&s, INDEX, texts[i]);
        expect_refused(&s, NR_STATUS_FORMAT, INDEX);
    }
    scratch_remove(&s);
}

/* One file wins over an index beside it, as in transformers; a stray tensor of a shard that the
 * index does not place is left out. */
static void prefers_the_single_file(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    put_two_shards(&s);
    nr_weights *w;
    put_text(&s, INDEX, "{\"weight_map\": {\"a\": \"" SHARD_1 "\"}}");
    assert_int_equal(nr_weights_open(s.dir, &w, NULL), 0);
    assert_int_equal(nr_weights_count(w), 1);
    assert_null(nr_weights_find(w, "b"));
    nr_weights_close(w);
    put_tensor(&s, "model.safetensors", "only", NR_DTYPE_I32, 1, (int32_t[]){9});
    assert_int_equal(nr_weights_open(s.dir, &w, NULL), 0);
    assert_non_null(nr_weights_find(w, "only"));
    assert_null(nr_weights_find(w, "a"));
    nr_weights_close(w);
    scratch_remove(&s);
}

#define N_LONG 200003 /* several staging buffers and a tail */

static void converts_every_type(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    uint16_t *halves = malloc(N_LONG * 2);
    float *want = malloc(N_LONG * 4), *got = malloc(N_LONG * 4);
    const nr_dtype types[] = {NR_DTYPE_F32, NR_DTYPE_F16, NR_DTYPE_BF16, NR_DTYPE_I8};
    for (size_t k = 0; k < NR_COUNT(types); k++) {
        int8_t *bytes = (int8_t *)halves;
        for (int i = 0; i < N_LONG; i++) {
            if (types[k] == NR_DTYPE_F32) want[i] = (float)i * 0.37f;
            else if (types[k] == NR_DTYPE_I8) bytes[i] = (int8_t)(i * 7);
            else halves[i] = (uint16_t)(i * 31 % 0x7c00 | (i & 1 ? 0x8000 : 0));
            if (types[k] == NR_DTYPE_F16) want[i] = nr_f16_to_f32(halves[i]);
            if (types[k] == NR_DTYPE_I8) want[i] = bytes[i];
            uint32_t wide = (uint32_t)halves[i] << 16;
            if (types[k] == NR_DTYPE_BF16) memcpy(&want[i], &wide, 4);
        }
        const void *data = types[k] == NR_DTYPE_F32 ? (void *)want : (void *)halves;
        put_tensor(&s, "model.safetensors", "x", types[k], N_LONG, data);
        nr_weights *w;
        nr_error err = {0};
        assert_int_equal(nr_weights_open(s.dir, &w, &err), 0);
        const nr_weight *x = nr_weights_find(w, "x");
        assert_int_equal(nr_weights_read_f32(w, x, 0, N_LONG, got, &err), 0);
        assert_memory_equal(got, want, N_LONG * 4);
        got[5] = -99;
        assert_int_equal(nr_weights_read_f32(w, x, 70001, 5, got, &err), 0);
        assert_memory_equal(got, want + 70001, 5 * 4);
        assert_true(got[5] == -99);
        assert_int_equal(nr_weights_read_f32(w, x, N_LONG, 0, got, &err), 0);
        assert_int_equal(nr_weights_read_f32(w, x, N_LONG - 4, 5, got, &err), NR_STATUS_ARG);
        assert_int_equal(nr_weights_read_f32(w, x, -1, 1, got, &err), NR_STATUS_ARG);
        assert_int_equal(nr_weights_read_f32(w, x, 1, INT64_MAX, got, &err), NR_STATUS_ARG);
        assert_int_equal(nr_weights_read(w, x, x->bytes - 1, got, 2, &err), NR_STATUS_ARG);
        assert_int_equal(nr_weights_read(w, x, UINT64_MAX, got, 2, &err), NR_STATUS_ARG);
        nr_weights_close(w);
    }
    free(halves);
    free(want);
    free(got);
    scratch_remove(&s);
}

static void names_what_is_not_finite(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    uint16_t *halves = calloc(N_LONG, 2);
    float *got = malloc(N_LONG * 4);
    halves[150001] = 0xfc00; /* f16: -infinity */
    put_tensor(&s, "model.safetensors", "x", NR_DTYPE_F16, N_LONG, halves);
    nr_weights *w;
    nr_error err = {0};
    assert_int_equal(nr_weights_open(s.dir, &w, &err), 0);
    const nr_weight *x = nr_weights_find(w, "x");
    assert_int_equal(nr_weights_read_f32(w, x, 0, N_LONG, got, &err), NR_STATUS_NOT_FINITE);
    assert_message_has(err, "model.safetensors: tensor \"x\": element 150001 is infinite");
    assert_int_equal(nr_weights_read_f32(w, x, 150000, 3, got, &err), NR_STATUS_NOT_FINITE);
    assert_message_has(err, "element 150001 is infinite");
    assert_int_equal(nr_weights_read_f32(w, x, 150002, 3, got, &err), 0);
    nr_weights_close(w);
    put_tensor(&s, "model.safetensors", "x", NR_DTYPE_F32, 2, (float[]){1, NAN});
    assert_int_equal(nr_weights_open(s.dir, &w, &err), 0);
    assert_int_equal(nr_weights_read_f32(w, nr_weights_find(w, "x"), 0, 2, got, &err),
                     NR_STATUS_NOT_FINITE);
    assert_message_has(err, "element 1 is NaN");
    nr_weights_close(w);
    put_tensor(&s, "model.safetensors", "x", NR_DTYPE_I64, 1, (int64_t[]){1});
    assert_int_equal(nr_weights_open(s.dir, &w, &err), 0);
    assert_int_equal(nr_weights_read_f32(w, nr_weights_find(w, "x"), 0, 1, got, &err),
                     NR_STATUS_UNSUPPORTED);
    assert_message_has(err, "I64, expected F32, F16, BF16 or I8");
    nr_weights_close(w);
    free(halves);
    free(got);
    scratch_remove(&s);
}

static void notices_a_file_that_shrinks(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    put_tensor(&s, "model.safetensors", "x", NR_DTYPE_F32, 4, (float[]){1, 2, 3, 4});
    nr_weights *w;
    nr_error err = {0};
    float got[4];
    assert_int_equal(nr_weights_open(s.dir, &w, &err), 0);
    assert_int_equal(truncate(scratch_path(&s, "model.safetensors"), 70), 0);
    assert_int_equal(nr_weights_read_f32(w, nr_weights_find(w, "x"), 0, 4, got, &err),
                     NR_STATUS_FORMAT);
    assert_message_has(err, "model.safetensors: tensor \"x\": file ends at byte 70");
    nr_weights_close(w);
    scratch_remove(&s);
}

typedef struct reader {
    const nr_weights *w;
    pthread_t thread;
    int n_wrong;
} reader;

static void *read_many(void *arg) {
    reader *r = arg;
    const nr_weight *x = nr_weights_find(r->w, "x");
    float got[1000];
    for (int64_t first = 0; first + 1000 <= N_LONG; first += 997) {
        if (nr_weights_read_f32(r->w, x, first, 1000, got, NULL) != NR_STATUS_OK) r->n_wrong++;
        for (int i = 0; i < 1000; i++) r->n_wrong += got[i] != (float)(first + i);
    }
    return NULL;
}

static void reads_from_several_threads(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    float *values = malloc(N_LONG * 4);
    for (int i = 0; i < N_LONG; i++) values[i] = (float)i;
    put_tensor(&s, "model.safetensors", "x", NR_DTYPE_F32, N_LONG, values);
    nr_weights *w;
    assert_int_equal(nr_weights_open(s.dir, &w, NULL), 0);
    reader readers[3];
    for (int i = 0; i < 3; i++) {
        readers[i] = (reader){.w = w};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_many, &readers[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(readers[i].thread, NULL);
        assert_int_equal(readers[i].n_wrong, 0);
    }
    nr_weights_close(w);
    free(values);
    scratch_remove(&s);
}

static nr_status open_and_close(void *ctx, nr_error *err) {
    nr_weights *w;
    NR_TRY(nr_weights_open(ctx, &w, err));
    nr_weights_close(w);
    return NR_STATUS_OK;
}

static void survives_failing_allocations(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    put_two_shards(&s);
    sweep_allocations(open_and_close, s.dir);
    put_tensor(&s, "model.safetensors", "only", NR_DTYPE_F32, 1, (float[]){9});
    sweep_allocations(open_and_close, s.dir);
    scratch_remove(&s);
}

/* Reading must work when there is no memory at all. */
static void reads_without_memory(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    put_two_shards(&s);
    nr_weights *w;
    nr_error err = {0};
    assert_int_equal(nr_weights_open(s.dir, &w, &err), 0);
    uint64_t calls = nr_alloc_get_stats().calls;
    float got[3];
    assert_int_equal(nr_weights_read_f32(w, nr_weights_find(w, "a"), 0, 3, got, &err), 0);
    assert_int_equal(nr_alloc_get_stats().calls, calls);
    nr_weights_close(w);
    scratch_remove(&s);
}

static void opens_real_checkpoints(void **state) {
    (void)state;
    const char *const names[] = {"golden/llava-tiny", "golden/blip2-tiny", "golden/llava-next-tiny",
                                 "golden/llama3-tiny"};
    for (size_t i = 0; i < NR_COUNT(names); i++) {
        nr_weights *w;
        nr_error err = {0};
        assert_int_equal(nr_weights_open(shared_or_skip(names[i]), &w, &err), 0);
        assert_true(nr_weights_count(w) >= 20);
        for (int k = 0; k < nr_weights_count(w); k++) {
            const nr_weight *t = nr_weights_at(w, k);
            float *values = malloc((size_t)t->n_elements * sizeof *values);
            nr_status status = nr_weights_read_f32(w, t, 0, t->n_elements, values, &err);
            if (status != NR_STATUS_OK) print_message("%s\n", err.message);
            assert_int_equal(status, NR_STATUS_OK);
            free(values);
        }
        nr_weights_close(w);
    }
    nr_weights *w;
    const nr_weight *t;
    assert_int_equal(nr_weights_open(shared_or_skip("golden/llava-tiny"), &w, NULL), 0);
    assert_int_equal(nr_weights_count(w), 105);
    assert_int_equal(nr_weights_need(w, "vision_tower.embeddings.patch_embedding.weight", 4,
                                     (int64_t[]){64, 3, 14, 14}, &t, NULL),
                     0);
    assert_int_equal(t->dtype, NR_DTYPE_F16);
    nr_weights_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_shards),
        cmocka_unit_test(names_what_is_missing),
        cmocka_unit_test(refuses_bad_indices),
        cmocka_unit_test(prefers_the_single_file),
        cmocka_unit_test(converts_every_type),
        cmocka_unit_test(names_what_is_not_finite),
        cmocka_unit_test(notices_a_file_that_shrinks),
        cmocka_unit_test(reads_from_several_threads),
        cmocka_unit_test(survives_failing_allocations),
        cmocka_unit_test(reads_without_memory),
        cmocka_unit_test(opens_real_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
