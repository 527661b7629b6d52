/* SPDX-License-Identifier: MIT
 *
 * test_quantize.c - the INT8 folder on disk: the same logits as a direct load, every tensor of the
 * source still there, other engines' layout; nothing left behind when it cannot be completed.
 */
#include "engine_fixture.h"

#include "engine_internal.h"

#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* Logits after one question about one picture; free() them. */
static float *logits_of(const char *model, nr_precision precision, int32_t *vocab) {
    nr_engine *engine = NULL;
    nr_session *session = NULL;
    nr_picture *picture = fixture_picture(80, 70);
    nr_engine_options o = nr_engine_options_default();
    o.precision = precision;
    MUST(nr_engine_open(model, &o, &engine, err));
    MUST(nr_session_create(engine, &session, err));
    MUST(nr_session_set_picture(session, picture, NR_FIT_CHECKPOINT, err));
    MUST(nr_session_ask(session, "What is the headline?", NULL, err));
    *vocab = nr_engine_get_info(engine).vocab_size;
    float *logits = malloc((size_t)*vocab * sizeof(float));
    memcpy(logits, session->sequence.logits, (size_t)*vocab * sizeof(float));
    nr_picture_free(picture);
    nr_session_free(session);
    nr_engine_close(engine);
    return logits;
}

static void check_round_trip(const char *preset, const char *options) {
    char source[4096], out[4096], path[4096];
    int32_t vocab;
    fixture_path(source, "%s/%s", temp, preset);
    fixture_path(out, "%s/%s-int8", temp, preset);
    fixture_make_checkpoint(preset, source, options);
    MUST(nr_quantize(source, out, NULL, err));
    float *direct = logits_of(source, NR_PRECISION_INT8, &vocab);
    float *loaded = logits_of(out, NR_PRECISION_INT8, &vocab);
    assert_memory_equal(direct, loaded, (size_t)vocab * sizeof(float));
    free(loaded);
    loaded = logits_of(out, NR_PRECISION_F32, &vocab); /* dequantised: close to INT8 weights */
    assert_true(fixture_cosine(direct, loaded, vocab) > 0.98);
    free(loaded);
    free(direct);
    json_t *config = json_load_file(fixture_path(path, "%s/config.json", out), 0, NULL);
    json_t *quantization = json_object_get(config, "quantization_config");
    assert_string_equal(json_string_value(json_object_get(quantization, "quant_method")),
                        "compressed-tensors");
    bool tied = strncmp(preset, "blip2", 5) == 0;
    json_t *ignore = json_object_get(quantization, "ignore");
    assert_true(json_is_array(ignore));
    assert_int_equal(json_array_size(ignore), tied ? 1 : 0); /* its head is the table */
    json_decref(config);
    nr_weights *before = NULL, *after = NULL;
    MUST(nr_weights_open(source, &before, err));
    MUST(nr_weights_open(out, &after, err));
    for (int i = 0; i < nr_weights_count(before); i++)
        assert_non_null(nr_weights_find(after, nr_weights_at(before, i)->name));
    nr_weights_close(before);
    nr_weights_close(after);
}

static void test_round_trip_tiny(void **state) {
    (void)state;
    check_round_trip("tiny", "");
}

static void test_round_trip_odd(void **state) {
    (void)state;
    check_round_trip("odd", "--dtype bf16 --names new");
}

static void test_round_trip_blip2(void **state) {
    (void)state;
    check_round_trip("blip2-tiny", "--shard-bytes 300000");
    check_round_trip("blip2-odd", "--dtype bf16 --names new");
}

static int count_entries(const char *dir) {
    DIR *d = opendir(dir);
    int n = 0;
    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

static bool give_up(void *ctx, uint64_t done, uint64_t total) {
    (void)ctx;
    return done < total / 2;
}

static void test_nothing_left_when_given_up(void **state) {
    char source[4096], out[4096];
    nr_engine_options o = nr_engine_options_default();
    nr_error problem;
    (void)state;
    fixture_make_checkpoint("tiny", fixture_path(source, "%s/giveup", temp), "");
    fixture_path(out, "%s/giveup-int8", temp);
    int n_before = count_entries(temp);
    o.progress = give_up;
    assert_int_equal(nr_quantize(source, out, &o, &problem), NR_STATUS_CANCELLED);
    assert_int_equal(count_entries(temp), n_before);
}

/* A file system that refuses to grow a file: what a full disk does. */
static void test_nothing_left_when_disk_is_full(void **state) {
    char source[4096], out[4096];
    struct rlimit old, small;
    nr_error problem = {0};
    (void)state;
    fixture_make_checkpoint("tiny", fixture_path(source, "%s/full", temp), "");
    fixture_path(out, "%s/full-int8", temp);
    int n_before = count_entries(temp);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    for (rlim_t bytes = 0; bytes <= 200000; bytes += 40000) {
        small = old;
        small.rlim_cur = bytes;
        setrlimit(RLIMIT_FSIZE, &small);
        nr_status status = nr_quantize(source, out, NULL, &problem);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(status, NR_STATUS_IO);
        assert_int_equal(count_entries(temp), n_before);
    }
    MUST(nr_quantize(source, out, NULL, err));
}

/* Child processes that are killed in the midst of writing: the next one takes their folder over.
 * While one writes, another is refused. A folder of somebody else is left alone. */
static bool wait_for_kill(void *ctx, uint64_t done, uint64_t total) {
    if (done > total / 2) {
        assert_int_equal(write(*(int *)ctx, "x", 1), 1);
        pause();
    }
    return true;
}

static void test_killed(void **state) {
    char source[4096], out[4096], path[4096], byte;
    nr_error problem = {0};
    int pipe_fds[2];
    (void)state;
    fixture_make_checkpoint("tiny", fixture_path(source, "%s/killed", temp), "");
    fixture_path(out, "%s/killed-int8", temp);
    int n_before = count_entries(temp);
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        nr_engine_options o = nr_engine_options_default();
        o.progress = wait_for_kill;
        o.progress_ctx = &pipe_fds[1];
        (void)nr_quantize(source, out, &o, NULL);
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    assert_int_equal(nr_quantize(source, out, NULL, &problem), NR_STATUS_ARG);
    assert_non_null(strstr(problem.message, "another process"));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(access(out, F_OK), -1);
    MUST(nr_quantize(source, out, NULL, err));
    assert_int_equal(count_entries(temp), n_before + 1);
    fixture_remove_tree(out);
    assert_int_equal(mkdir(fixture_path(path, "%s.tmp", out), 0700), 0);
    fixture_write_file(fixture_path(path, "%s.tmp/letters", out), "x", 1);
    assert_int_equal(nr_quantize(source, out, NULL, &problem), NR_STATUS_ARG);
    assert_non_null(strstr(problem.message, "letters"));
    assert_int_equal(access(path, F_OK), 0);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void test_refusals(void **state) {
    char source[4096], out[4096], again[4096];
    nr_error problem;
    (void)state;
    fixture_make_checkpoint("tiny", fixture_path(source, "%s/refuse", temp), "");
    fixture_path(out, "%s/refuse-int8", temp);
    fixture_path(again, "%s/refuse-int8-int8", temp);
    MUST(nr_quantize(source, out, NULL, err));
    assert_int_equal(nr_quantize(source, out, NULL, &problem), NR_STATUS_ARG); /* exists */
    assert_non_null(strstr(problem.message, "exists"));
    assert_int_equal(nr_quantize(out, again, NULL, &problem), NR_STATUS_ARG); /* INT8 already */
    fixture_path(again, "%s/no/such/place", temp);
    assert_int_equal(nr_quantize(source, again, NULL, &problem), NR_STATUS_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip_tiny),
                                       cmocka_unit_test(test_round_trip_odd),
                                       cmocka_unit_test(test_round_trip_blip2),
                                       cmocka_unit_test(test_nothing_left_when_given_up),
                                       cmocka_unit_test(test_nothing_left_when_disk_is_full),
                                       cmocka_unit_test(test_killed),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, fixture_make_temp, fixture_remove_temp);
}
