/* SPDX-License-Identifier: MIT
 *
 * test_reader.c - the bundled model on the sample pages: the answers that transformers gives (f32
 * and INT8 alike), which are what the pages say; blank pages are called unreadable.
 */
#include "engine_fixture.h"

#include <jansson.h>

static const char model[] = "models/reader";

static const struct {
    const char *field, *question;
} questions[] = {{"headline", "What is the headline?"},
                 {"byline", "Who wrote it?"},
                 {"site", "What site or paper is it?"},
                 {"date", "When was it published?"},
                 {"lead", "Read the first paragraph."}};

typedef struct reader {
    nr_engine *engine;
    nr_session *session;
} reader;

static reader open_reader(nr_precision precision) {
    reader r = {0};
    nr_engine_options o = nr_engine_options_default();
    o.precision = precision;
    MUST(nr_engine_open(model, &o, &r.engine, err));
    MUST(nr_session_create(r.engine, &r.session, err));
    return r;
}

static void close_reader(reader *r) {
    nr_session_free(r->session);
    nr_engine_close(r->engine);
}

/* Answer without the blank that begins it. */
static void ask(reader *r, const char *question, char *answer, size_t cap) {
    nr_step step = {0};
    size_t used = 0;
    MUST(nr_session_ask(r->session, question, NULL, err));
    while (!step.done) {
        MUST(nr_session_step(r->session, &step, err));
        assert_true(used + step.n_bytes < cap);
        memcpy(answer + used, step.text, step.n_bytes);
        used += step.n_bytes;
    }
    answer[used] = '\0';
    if (answer[0] == ' ') memmove(answer, answer + 1, used);
}

static void check_samples(nr_precision precision, const char *file, bool is_truth) {
    json_error_t problem;
    json_t *pages = json_load_file(file, 0, &problem), *page;
    size_t i;
    if (!pages) fail_msg("%s: %s", file, problem.text);
    assert_true(json_array_size(pages) >= 3);
    reader r = open_reader(precision);
    json_array_foreach(pages, i, page) {
        nr_picture *picture = NULL;
        const char *path = json_string_value(json_object_get(page, "picture"));
        MUST(nr_picture_read_file(path, &picture, err));
        MUST(nr_session_set_picture(r.session, picture, NR_FIT_AUTO, err));
        nr_picture_free(picture);
        for (size_t q = 0; q < NR_COUNT(questions); q++) {
            char answer[4096];
            const json_t *answers = json_object_get(page, is_truth ? "fields" : "answers");
            const char *want = json_string_value(json_object_get(answers, questions[q].field));
            assert_non_null(want);
            ask(&r, questions[q].question, answer, sizeof answer);
            if (strcmp(answer, want) != 0)
                fail_msg("%s, %s: \"%s\", expected \"%s\"", path, questions[q].field, answer, want);
        }
    }
    close_reader(&r);
    json_decref(pages);
}

static void test_f32_equals_transformers(void **state) {
    (void)state;
    check_samples(NR_PRECISION_F32, "tests/reader/answers.json", false);
}

static void test_int8_equals_transformers(void **state) {
    (void)state;
    check_samples(NR_PRECISION_INT8, "tests/reader/answers.json", false);
}

static void test_reads_what_the_pages_say(void **state) {
    (void)state;
    check_samples(NR_PRECISION_INT8, "samples/labels.json", true);
}

static void test_blank_is_unreadable(void **state) {
    static const uint8_t shades[] = {255, 128, 20};
    enum { W = 300, H = 400 };
    char answer[4096];
    uint8_t *rgb = malloc(3 * W * H);
    (void)state;
    reader r = open_reader(NR_PRECISION_INT8);
    for (size_t i = 0; i < NR_COUNT(shades); i++) {
        nr_picture *picture = NULL;
        memset(rgb, shades[i], 3 * W * H);
        MUST(nr_picture_from_rgb(rgb, W, H, &picture, err));
        MUST(nr_session_set_picture(r.session, picture, NR_FIT_AUTO, err));
        nr_picture_free(picture);
        ask(&r, "What is the headline?", answer, sizeof answer);
        assert_string_equal(answer, "unreadable");
    }
    free(rgb);
    close_reader(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_f32_equals_transformers),
                                       cmocka_unit_test(test_int8_equals_transformers),
                                       cmocka_unit_test(test_reads_what_the_pages_say),
                                       cmocka_unit_test(test_blank_is_unreadable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
