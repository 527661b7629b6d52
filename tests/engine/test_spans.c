/* SPDX-License-Identifier: MIT
 *
 * test_spans.c - rows of several sequences in one forward call give each the logits that it
 * gets alone, to the bit; so does a prompt read in pieces beside another's. Every kind of model.
 */
#include "engine_fixture.h"

#include "engine_internal.h"

/* Two pictures with a question each, on one engine. */
typedef struct pair {
    nr_engine *engine;
    nr_session *session[2];
    int32_t n[2];    /* ids of the prompts, in session[i]->prompt_ids */
    float *alone[2]; /* owns [vocab] after the prompt */
} pair;

static nr_span span_of(const pair *p, int i, int32_t begin, int32_t end, int32_t n_logits) {
    const nr_session *s = p->session[i];
    nr_span span = {.cache = &s->sequence.cache,
                    .ids = s->prompt_ids + begin,
                    .n = end - begin,
                    .pos0 = begin,
                    .n_logits = n_logits};
    for (int32_t k = 0; k < begin; k++)
        span.image_row0 += s->prompt_ids[k] == p->engine->model->info.image_token_id;
    return span;
}

static const float *forward(const pair *p, const nr_span *spans, int n_spans) {
    nr_model *model = p->engine->model;
    return model->desc->forward(model, &p->engine->sides, spans, n_spans, NULL);
}

/* A row of logits. */
static void download(const pair *p, float *dst, const float *logits) {
    nr_backend *be = p->session[0]->kit.be;
    be->ops->download(be, dst, logits, (size_t)p->engine->model->info.vocab * sizeof(float));
}

static void open_pair(pair *p, const char *preset, nr_precision precision) {
    static const char *const questions[] = {"What is the headline?", "Who wrote it, and when?"};
    char dir[4096];
    nr_engine_options o = nr_engine_options_default();
    o.precision = precision;
    fixture_path(dir, "%s/%s-%d", temp, preset, (int)precision);
    fixture_make_checkpoint(preset, dir, "");
    MUST(nr_engine_open(dir, &o, &p->engine, err));
    for (int i = 0; i < 2; i++) {
        nr_picture *picture = fixture_picture(70 + 30 * i, 80);
        MUST(nr_session_create(p->engine, &p->session[i], err));
        MUST(nr_session_set_picture(p->session[i], picture, NR_FIT_AUTO, err));
        MUST(nr_session_build_prompt(p->session[i], questions[i], false, &p->n[i], err));
        nr_picture_free(picture);
    }
    size_t bytes = (size_t)p->engine->model->info.vocab * sizeof(float);
    for (int i = 0; i < 2; i++) {
        nr_span whole = span_of(p, i, 0, p->n[i], 1);
        p->alone[i] = malloc(bytes);
        download(p, p->alone[i], forward(p, &whole, 1));
    }
    assert_memory_not_equal(p->alone[0], p->alone[1], bytes);
}

static void close_pair(pair *p) {
    for (int i = 0; i < 2; i++) {
        free(p->alone[i]);
        nr_session_free(p->session[i]);
    }
    nr_engine_close(p->engine);
}

static void expect_alone(const pair *p, int i, const float *logits) {
    size_t bytes = (size_t)p->engine->model->info.vocab * sizeof(float);
    float *found = malloc(bytes);
    download(p, found, logits);
    assert_memory_equal(found, p->alone[i], bytes);
    free(found);
}

static void check(const char *preset, nr_precision precision) {
    pair p = {0};
    open_pair(&p, preset, precision);
    int32_t vocab = p.engine->model->info.vocab, cut = p.n[0] / 3; /* within the picture's rows */
    nr_span both[] = {span_of(&p, 0, 0, p.n[0], 1), span_of(&p, 1, 0, p.n[1], 1)};
    const float *logits = forward(&p, both, 2);
    expect_alone(&p, 0, logits);
    expect_alone(&p, 1, logits + vocab);
    nr_span first[] = {span_of(&p, 1, 0, p.n[1] - 1, 0), span_of(&p, 0, 0, cut, 0)};
    nr_span rest[] = {span_of(&p, 0, cut, p.n[0], 1), span_of(&p, 1, p.n[1] - 1, p.n[1], 1)};
    (void)forward(&p, first, 2);
    logits = forward(&p, rest, 2);
    expect_alone(&p, 0, logits);
    expect_alone(&p, 1, logits + vocab);
    close_pair(&p);
}

static void test_llava(void **state) {
    (void)state;
    check("odd", NR_PRECISION_INT8);
    check("odd", NR_PRECISION_F32);
}

static void test_blip2(void **state) {
    (void)state;
    check("blip2-odd", NR_PRECISION_INT8);
    check("blip2-odd", NR_PRECISION_F32);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_llava), cmocka_unit_test(test_blip2)};
    return cmocka_run_group_tests(tests, fixture_make_temp, fixture_remove_temp);
}
