/* SPDX-License-Identifier: MIT
 *
 * test_image_cache.c - a picture seen before gives the same answers, to the bit, without the vision
 * tower; another fit or one other pixel is another picture; the oldest makes room.
 */
#include "engine_fixture.h"

#include "engine_internal.h"

static char tiny[4096];

static int set_up(void **state) {
    if (fixture_make_temp(state) != 0) return -1;
    fixture_make_checkpoint("tiny", fixture_path(tiny, "%s/tiny", temp), "");
    return 0;
}

typedef struct reader {
    nr_engine *engine;
    nr_session *session;
    size_t features_bytes;
} reader;

static reader open_reader(int32_t image_cache) {
    reader r;
    nr_engine_options o = nr_engine_options_default();
    o.n_threads = 2;
    o.image_cache = image_cache;
    MUST(nr_engine_open(tiny, &o, &r.engine, err));
    MUST(nr_session_create(r.engine, &r.session, err));
    const nr_model_info *info = &r.engine->model->info;
    r.features_bytes = (size_t)(info->n_image_tokens * info->hidden) * sizeof(float);
    return r;
}

static void close_reader(reader *r) {
    nr_session_free(r->session);
    nr_engine_close(r->engine);
}

/* Shows the picture; features, and the bytes of an answer, into the caller's memory. */
static bool show(reader *r, const nr_picture *picture, nr_fit fit, float *features, char *answer) {
    nr_generation_options g = nr_generation_options_default();
    nr_step step = {0};
    size_t n = 0;
    g.max_tokens = 8;
    g.ignore_stop = true;
    MUST(nr_session_set_picture(r->session, picture, fit, err));
    nr_backend *be = r->session->kit.be;
    be->ops->download(be, features, r->session->sequence.cache.image_features, r->features_bytes);
    MUST(nr_session_ask(r->session, "What is it?", &g, err));
    while (!step.done) {
        MUST(nr_session_step(r->session, &step, err));
        memcpy(answer + n, step.text, step.n_bytes);
        n += step.n_bytes;
    }
    answer[n] = '\0';
    nr_session_stats stats = nr_session_get_stats(r->session);
    assert_true(stats.image_cached == (stats.vision_ms == 0));
    return stats.image_cached;
}

static void test_same_bytes(void **state) {
    (void)state;
    reader plain = open_reader(0), cached = open_reader(2);
    nr_picture *a = fixture_picture(60, 40), *b = fixture_picture(61, 40);
    float *expected = malloc(plain.features_bytes), *found = malloc(plain.features_bytes);
    char want[512], got[512];
    for (int round = 0; round < 2; round++) {
        const nr_picture *pictures[] = {a, b};
        for (int i = 0; i < 2; i++) {
            assert_false(show(&plain, pictures[i], NR_FIT_PAD, expected, want));
            assert_int_equal(show(&cached, pictures[i], NR_FIT_PAD, found, got), round == 1);
            assert_memory_equal(found, expected, plain.features_bytes);
            assert_string_equal(got, want);
        }
    }
    free(expected);
    free(found);
    nr_picture_free(a);
    nr_picture_free(b);
    close_reader(&plain);
    close_reader(&cached);
}

static void test_what_counts(void **state) {
    (void)state;
    reader r = open_reader(2);
    nr_picture *a = fixture_picture(60, 40), *other = fixture_picture(60, 40);
    float *features = malloc(r.features_bytes);
    char text[512];
    other->image.rgb[3 * 60 * 39 + 100] ^= 1; /* one bit of one pixel */
    assert_false(show(&r, a, NR_FIT_PAD, features, text));
    assert_true(show(&r, a, NR_FIT_PAD, features, text));
    assert_false(show(&r, other, NR_FIT_PAD, features, text));
    assert_false(show(&r, a, NR_FIT_CROP, features, text)); /* takes the place of a padded */
    assert_true(show(&r, other, NR_FIT_PAD, features, text));
    assert_true(show(&r, a, NR_FIT_CROP, features, text));
    assert_false(show(&r, a, NR_FIT_PAD, features, text));
    free(features);
    nr_picture_free(a);
    nr_picture_free(other);
    close_reader(&r);
}

/* Shape is part of the key: the same pixels as 60 x 40 and as 40 x 60. */
static void test_key(void **state) {
    (void)state;
    nr_picture *a = fixture_picture(60, 40);
    nr_image turned = a->image;
    turned.width = 40;
    turned.height = 60;
    nr_image_key x = nr_image_key_of(&a->image, 1), y = nr_image_key_of(&turned, 1);
    nr_image_key again = nr_image_key_of(&a->image, 1);
    assert_memory_not_equal(&x, &y, sizeof x);
    assert_memory_equal(&x, &again, sizeof x);
    nr_picture_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bytes),
                                       cmocka_unit_test(test_what_counts),
                                       cmocka_unit_test(test_key)};
    return cmocka_run_group_tests(tests, set_up, fixture_remove_temp);
}
