/* SPDX-License-Identifier: MIT
 *
 * test_split.c - a model on a far device (far_device.h), whole and split in every way there is,
 * gives the bytes that the CPU alone gives: sessions in turns, several questions, sampling, the
 * image cache, a scheduler's slots, traces. And at the price that was promised: memory as planned
 * to the byte on both sides, nothing allocated by a request, rows across once a boundary, steps
 * that stay whole.
 */
#include "engine_fixture.h"

#include "engine_internal.h"
#include "far_device.h"
#include "newsreader_sched.h"

#define LAYERS 3 /* of the decoder */
#define IDS_MAX 128
#define LOGITS_MAX 8192

typedef struct model_case {
    const char *preset;
    bool tied; /* the head is the table */
    char dir[4096];
} model_case;
static model_case models[] = {{"odd", false, ""}, {"odd", true, ""}, {"blip2-odd", true, ""}};
#define N_MODELS ((int)NR_COUNT(models))

/* The same checkpoint with its table as head. */
static void tie(const char *dir) {
    char path[4096], *text = fixture_read_file(fixture_path(path, "%s/config.json", dir), NULL);
    static const char key[] = "\"tie_word_embeddings\":";
    int n = 0;
    for (char *at = text; (at = strstr(at, key)); n++) {
        char *value = strstr(at, "false");
        assert_non_null(value);
        memcpy(value, "true ", 5);
        at = value;
    }
    assert_int_equal(n, 2); /* of the whole, of the text model */
    fixture_write_file(path, text, strlen(text));
    free(text);
}

static int set_up(void **state) {
    if (fixture_make_temp(state) != 0) return -1;
    for (int i = 0; i < N_MODELS; i++) {
        model_case *m = &models[i];
        fixture_path(m->dir, "%s/model-%d", temp, i);
        fixture_make_checkpoint(m->preset, m->dir, "text.num_hidden_layers=3");
        if (m->tied && strcmp(m->preset, "odd") == 0) tie(m->dir);
    }
    return 0;
}

/* ---- everything that a reading consists of ------------------------------------------------- */

typedef struct transcript {
    int32_t ids[IDS_MAX];
    int n_ids;
    float logits[LOGITS_MAX]; /* after each prompt */
    int n_logits;
} transcript;

typedef struct rig {
    nr_engine *engine;
    nr_session *session[2];
} rig;

static nr_engine_options options_of(const char *device) {
    nr_engine_options o = nr_engine_options_default();
    o.device = device;
    o.n_threads = 1;
    o.n_slots = 2;
    o.image_cache = 1;
    o.prefill_rows = 7; /* a prompt is several forward calls */
    return o;
}

static rig open_rig(const char *dir, const nr_engine_options *o) {
    rig r;
    MUST(nr_engine_open(dir, o, &r.engine, err));
    for (int i = 0; i < 2; i++) MUST(nr_session_create(r.engine, &r.session[i], err));
    return r;
}

static void close_rig(rig *r) {
    for (int i = 0; i < 2; i++) nr_session_free(r->session[i]);
    nr_engine_close(r->engine);
}

static void ask(nr_session *s, const char *question, float temperature, transcript *t) {
    nr_generation_options g = nr_generation_options_default();
    nr_step step = {0};
    nr_backend *be = s->kit.be;
    int32_t vocab = s->engine->model->info.vocab;
    g.max_tokens = 12;
    g.ignore_stop = true;
    g.temperature = temperature;
    g.seed = 5;
    MUST(nr_session_ask(s, question, &g, err));
    assert_true(t->n_logits + vocab <= LOGITS_MAX);
    be->ops->download(be, t->logits + t->n_logits, s->sequence.logits,
                      (size_t)vocab * sizeof(float));
    t->n_logits += vocab;
    while (!step.done) {
        MUST(nr_session_step(s, &step, err));
        assert_true(t->n_ids < IDS_MAX);
        t->ids[t->n_ids++] = step.id;
    }
}

/* Two sessions in turns, two pictures, one of them twice: then it is in the image cache. */
static void read_pages(rig *r, const nr_picture *const pictures[2], transcript *t) {
    *t = (transcript){0};
    MUST(nr_session_set_picture(r->session[0], pictures[0], NR_FIT_AUTO, err));
    MUST(nr_session_set_picture(r->session[1], pictures[1], NR_FIT_AUTO, err));
    ask(r->session[0], "What is the headline?", 0, t);
    ask(r->session[1], "Who wrote it?", 0, t);
    ask(r->session[0], "When, and for whom?", 0.8f, t);
    MUST(nr_session_set_picture(r->session[0], pictures[1], NR_FIT_AUTO, err));
    assert_true(nr_session_get_stats(r->session[0]).image_cached);
    ask(r->session[0], "Who wrote it?", 0, t);
    MUST(nr_session_set_picture(r->session[1], NULL, NR_FIT_AUTO, err));
    ask(r->session[1], "Tell me.", 0, t);
}

static void read_in(const char *dir, const nr_engine_options *o, transcript *t) {
    nr_picture *pictures[2] = {fixture_picture(90, 61), fixture_picture(50, 77)};
    rig r = open_rig(dir, o);
    read_pages(&r, (const nr_picture *const *)pictures, t);
    close_rig(&r);
    for (int i = 0; i < 2; i++) nr_picture_free(pictures[i]);
}

static void assert_same(const transcript *a, const transcript *b, const char *what) {
    if (a->n_ids != b->n_ids || memcmp(a->ids, b->ids, sizeof a->ids[0] * (size_t)a->n_ids) != 0)
        fail_msg("%s: other tokens", what);
    if (a->n_logits != b->n_logits ||
        memcmp(a->logits, b->logits, sizeof a->logits[0] * (size_t)a->n_logits) != 0)
        fail_msg("%s: other logits", what);
}

/* ---- every split ---------------------------------------------------------------------------- */

/* All on the far device, then every number of layers there with the vision tower on either side. */
static int list_splits(nr_engine_options out[2 * LAYERS + 2]) {
    int n = 0;
    for (int32_t layers = LAYERS; layers >= 0; layers--)
        for (int cpu = 0; cpu < 2; cpu++) {
            if (layers == 0 && cpu) continue; /* nothing would be left there */
            out[n] = options_of("cuda:0");
            out[n].gpu_layers = layers;
            out[n++].vision = cpu ? NR_VISION_CPU : NR_VISION_GPU;
        }
    return n;
}

static const char *name_of(const nr_engine_options *o) {
    static char name[64];
    snprintf(name, sizeof name, "%d layers and vision %s", o->gpu_layers,
             o->vision == NR_VISION_CPU ? "aside" : "there");
    return name;
}

static void compare(nr_precision precision, nr_kv_type kv) {
    static transcript want, got;
    nr_engine_options splits[2 * LAYERS + 2];
    int n = list_splits(splits);
    for (int i = 0; i < N_MODELS; i++) {
        nr_engine_options cpu = options_of("cpu");
        cpu.precision = precision;
        cpu.kv = kv;
        read_in(models[i].dir, &cpu, &want);
        for (int k = 0; k < n; k++) {
            splits[k].precision = precision;
            splits[k].kv = kv;
            read_in(models[i].dir, &splits[k], &got);
            assert_same(&want, &got, name_of(&splits[k]));
        }
    }
    assert_int_equal(far.n_open, 0);
}

static void test_int8(void **state) {
    (void)state;
    compare(NR_PRECISION_INT8, NR_KV_AUTO);
}

static void test_int8_f16_cache(void **state) {
    (void)state;
    compare(NR_PRECISION_INT8, NR_KV_F16);
}

static void test_f32(void **state) {
    (void)state;
    compare(NR_PRECISION_F32, NR_KV_AUTO);
}

static void read_headline(const nr_engine_options *o, transcript *t) {
    nr_picture *page = NULL;
    rig r = open_rig("models/reader", o);
    *t = (transcript){0};
    MUST(nr_picture_read_file("samples/harbour-courier.png", &page, err));
    MUST(nr_session_set_picture(r.session[0], page, NR_FIT_AUTO, err));
    ask(r.session[0], "What is the headline?", 0, t);
    nr_picture_free(page);
    close_rig(&r);
}

/* The model that people use first, whole and in two halves. */
static void test_reader(void **state) {
    static transcript want, got;
    nr_engine_options o = options_of("cpu");
    (void)state;
    o.prefill_rows = 0;
    read_headline(&o, &want);
    o.device = "cuda:0";
    read_headline(&o, &got);
    assert_same(&want, &got, "whole");
    o.gpu_layers = 3;
    read_headline(&o, &got);
    assert_same(&want, &got, "half");
}

/* ---- its price ------------------------------------------------------------------------------ */

static uint64_t host_arenas(const nr_memory_plan *p, const nr_engine *e) {
    static const char *const arenas[] = {"weights",         "kv cache",    "picture features",
                                         "picture preprocessing", "prompt and", "scratch",
                                         "image cache"};
    uint64_t sum = 0;
    for (int i = 0; i < p->n_parts; i++)
        for (size_t k = 0; k < NR_COUNT(arenas); k++)
            if (!p->parts[i].on_device && !strncmp(p->parts[i].name, arenas[k], strlen(arenas[k])))
                sum += p->parts[i].bytes;
    if (e->model->info.features_side == NR_SIDE_HOST) sum -= sizeof(nr_image_entry);
    return sum - 2 * nr_encoder_bytes(e->tokenizer, nr_prompt_room(e->model->info.context));
}

/* Planned by itself, opened, reserved, mapped: the same bytes. far_device.h sees to it that arenas
 * find room in what was reserved; here none of it is left over but the rounding. */
static void test_planned(void **state) {
    nr_engine_options splits[2 * LAYERS + 2];
    int n = list_splits(splits);
    (void)state;
    for (int i = 0; i < N_MODELS * n; i++) {
        const char *dir = models[i / n].dir;
        nr_memory_plan p;
        MUST(nr_memory_plan_read(dir, &splits[i % n], &p, err));
        uint64_t before = nr_alloc_get_stats().page_bytes;
        rig r = open_rig(dir, &splits[i % n]);
        nr_memory_plan opened = nr_engine_get_plan(r.engine);
        assert_memory_equal(opened.parts, p.parts, sizeof p.parts);
        assert_string_equal(opened.placement, p.placement);
        assert_int_equal(opened.ram_bytes, p.ram_bytes);
        assert_int_equal(p.ram_bytes + p.vram_bytes, p.total_bytes);
        assert_int_equal(nr_device_usage_get(r.engine).reserved_bytes, p.vram_bytes);
        assert_int_equal(nr_alloc_get_stats().page_bytes - before, host_arenas(&p, r.engine));
        const far_backend *f = (far_backend *)(void *)r.engine->sides.be[NR_SIDE_DEVICE];
        uint64_t taken = 0;
        for (int k = 0; k < f->n_ranges; k++) taken += f->ranges[k].bytes;
        assert_true(p.vram_bytes - taken <= p.rounding_bytes);
        assert_true(taken + p.rounding_bytes >= p.vram_bytes);
        close_rig(&r);
        assert_int_equal(nr_alloc_get_stats().page_bytes, before);
    }
}

typedef struct price {
    uint64_t up, down, steps;
} price;

static price spent_since(const far_report *before) {
    return (price){far.n_up - before->n_up, far.n_down - before->n_down,
                   far.n_steps - before->n_steps};
}

/* Copies of a picture and of a token for this split, and steps of a token. */
static void expected(const model_case *m, const nr_engine_options *o, price *picture,
                     price *token) {
    bool split = o->gpu_layers > 0 && o->gpu_layers < LAYERS, there = o->vision == NR_VISION_GPU;
    bool table = m->tied ? o->gpu_layers > 0 : o->gpu_layers == LAYERS;
    *picture = (price){.up = there ? 1 : table, .down = there && !table, .steps = there};
    *token = (price){.up = split, .down = split && m->tied, .steps = o->gpu_layers > 0};
    if (split && m->tied) token->steps = 2; /* the table, then the last layers */
}

static void assert_price(const price *want, price got, const char *what,
                         const nr_engine_options *o) {
    if (want->up != got.up || want->down != got.down || want->steps != got.steps)
        fail_msg("%s, %s: %d up, %d down, %d steps, expected %d, %d, %d", name_of(o), what,
                 (int)got.up, (int)got.down, (int)got.steps, (int)want->up, (int)want->down,
                 (int)want->steps);
}

static void check_price(const model_case *m, const nr_engine_options *o) {
    nr_picture *picture = fixture_picture(90, 61);
    nr_generation_options g = nr_generation_options_default();
    nr_step step = {0};
    price of_picture, of_token;
    rig r = open_rig(m->dir, o);
    g.ignore_stop = true;
    g.max_tokens = 8;
    expected(m, o, &of_picture, &of_token);
    far_report before = far;
    uint64_t calls = nr_alloc_get_stats().calls;
    MUST(nr_session_set_picture(r.session[0], picture, NR_FIT_AUTO, err));
    assert_price(&of_picture, spent_since(&before), "picture", o);
    MUST(nr_session_ask(r.session[0], "What is the headline?", &g, err));
    MUST(nr_session_step(r.session[0], &step, err)); /* costs no forward call */
    while (!step.done) {
        far_report start = far;
        MUST(nr_session_step(r.session[0], &step, err));
        assert_price(&of_token, spent_since(&start), "token", o);
    }
    assert_int_equal(nr_alloc_get_stats().calls, calls);
    assert_int_equal(far.n_broken, before.n_broken);
    close_rig(&r);
    nr_picture_free(picture);
}

static void test_price(void **state) {
    nr_engine_options splits[2 * LAYERS + 2];
    int n = list_splits(splits);
    (void)state;
    for (int i = 0; i < N_MODELS; i++)
        for (int k = 0; k < n; k++) check_price(&models[i], &splits[k]);
}

/* ---- slots, traces -------------------------------------------------------------------------- */

#define N_REQUESTS 7

static void serve(const char *dir, nr_engine_options o, char answers[N_REQUESTS][512]) {
    static const char *const questions[] = {"What is the headline?", "Who wrote it?", "When?"};
    nr_engine *engine = NULL;
    nr_sched *sched = NULL;
    nr_sched_options so = nr_sched_options_default();
    nr_job *jobs[N_REQUESTS];
    nr_picture *pictures[2] = {fixture_picture(90, 61), fixture_picture(50, 77)};
    o.scheduler = true;
    o.n_slots = so.n_slots = 3;
    o.n_queued = so.n_queued = N_REQUESTS;
    MUST(nr_engine_open(dir, &o, &engine, err));
    MUST(nr_sched_open(engine, &so, &sched, err));
    for (int i = 0; i < N_REQUESTS; i++) {
        nr_request r = nr_request_default();
        r.picture = pictures[i % 2];
        r.questions = &questions[i % 3];
        r.n_questions = 1;
        r.generation.max_tokens = 4 + i;
        r.generation.ignore_stop = true;
        MUST(nr_sched_submit(sched, &r, &jobs[i], err));
    }
    for (int i = 0; i < N_REQUESTS; i++) {
        size_t used = 0;
        for (nr_event e; (e = nr_job_next(jobs[i], -1)).kind != NR_EVENT_END;) {
            if (e.kind != NR_EVENT_TEXT) continue;
            assert_true(used + e.n_bytes < 512);
            memcpy(answers[i] + used, e.text, e.n_bytes);
            used += e.n_bytes;
        }
        answers[i][used] = '\0';
        nr_job_close(jobs[i]);
    }
    nr_sched_close(sched);
    nr_engine_close(engine);
    for (int i = 0; i < 2; i++) nr_picture_free(pictures[i]);
}

static void test_slots(void **state) {
    static char want[N_REQUESTS][512], got[N_REQUESTS][512];
    nr_engine_options splits[2 * LAYERS + 2];
    int n = list_splits(splits);
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        serve(models[i].dir, options_of("cpu"), want);
        for (int k = 0; k < n; k++) {
            serve(models[i].dir, splits[k], got);
            for (int j = 0; j < N_REQUESTS; j++)
                if (strcmp(want[j], got[j]) != 0)
                    fail_msg("%s, request %d: \"%s\", expected \"%s\"", name_of(&splits[k]), j,
                             got[j], want[j]);
        }
    }
}

/* Every stage, wherever it is computed. */
static char *trace(const char *dir, nr_engine_options o, size_t *n_bytes) {
    char path[4096];
    nr_engine *engine = NULL;
    nr_picture *picture = fixture_picture(90, 61);
    o.all_layers = true;
    o.prefill_rows = 256;
    MUST(nr_engine_open(dir, &o, &engine, err));
    MUST(nr_trace(engine, picture, "What is the headline?", NR_FIT_AUTO,
                  fixture_path(path, "%s/trace.safetensors", temp), err));
    nr_engine_close(engine);
    nr_picture_free(picture);
    return fixture_read_file(path, n_bytes);
}

static void test_trace(void **state) {
    nr_engine_options splits[2 * LAYERS + 2];
    int n = list_splits(splits);
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        size_t n_want, n_got;
        char *want = trace(models[i].dir, options_of("cpu"), &n_want);
        for (int k = 0; k < n; k++) {
            char *got = trace(models[i].dir, splits[k], &n_got);
            assert_int_equal(n_got, n_want);
            if (memcmp(got, want, n_want) != 0) fail_msg("%s: another trace", name_of(&splits[k]));
            free(got);
        }
        free(want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_int8),    cmocka_unit_test(test_int8_f16_cache),
        cmocka_unit_test(test_f32),     cmocka_unit_test(test_reader),
        cmocka_unit_test(test_planned), cmocka_unit_test(test_price),
        cmocka_unit_test(test_slots),   cmocka_unit_test(test_trace)};
    return cmocka_run_group_tests(tests, set_up, fixture_remove_temp);
}
