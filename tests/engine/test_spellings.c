/* SPDX-License-Identifier: MIT
 *
 * test_spellings.c - the names that checkpoints of different ages give the same tensors: each
 * spelling loads, and the model is the same to the bit.
 */
#include "engine_fixture.h"

#include "engine_internal.h"
#include "safetensors.h"
#include "weights_file.h"

/* Names that begin with `from` begin with `to` instead. */
typedef struct renaming {
    const char *from, *to;
} renaming;

static const char *renamed(const renaming *rules, const char *name, char dst[NR_TENSOR_NAME_MAX]) {
    for (; rules->from; rules++) {
        size_t n = strlen(rules->from);
        if (strncmp(name, rules->from, n) != 0) continue;
        snprintf(dst, NR_TENSOR_NAME_MAX, "%s%s", rules->to, name + n);
        return dst;
    }
    return name;
}

/* DIR's only file of weights anew, under other names; then `again` once more under a second name. */
static void rename_tensors(const char *dir, const renaming *rules, const renaming *again) {
    char path[4096], name[NR_TENSOR_NAME_MAX];
    nr_weights *in = NULL;
    nr_safetensors_writer *out = NULL;
    MUST(nr_weights_open(dir, &in, err));
    MUST(nr_safetensors_writer_create(&out, err));
    fixture_path(path, "%s/model.safetensors", dir);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < nr_weights_count(in); i++) {
            const nr_weight *w = nr_weights_at(in, i);
            char *bytes = malloc(w->bytes);
            bool twice = again && strcmp(w->name, again->from) == 0;
            MUST(nr_weights_read(in, w, 0, bytes, w->bytes, err));
            for (int copy = 0; copy < 1 + twice; copy++) {
                const char *to = copy ? again->to : renamed(rules, w->name, name);
                if (pass == 0)
                    MUST(nr_safetensors_writer_add(out, to, w->dtype, w->n_dims, w->dims, err));
                else
                    MUST(nr_safetensors_writer_put(out, bytes, w->bytes, err));
            }
            free(bytes);
        }
        if (pass == 0) MUST(nr_safetensors_writer_open(out, path, err));
    }
    MUST(nr_safetensors_writer_commit(out, err));
    nr_safetensors_writer_free(out);
    nr_weights_close(in);
}

/* Logits after a question about a picture; free() them. */
static float *logits_of(const char *dir, size_t *n_bytes) {
    nr_engine *engine = NULL;
    nr_session *session = NULL;
    nr_picture *picture = fixture_picture(80, 70);
    MUST(nr_engine_open(dir, NULL, &engine, err));
    MUST(nr_session_create(engine, &session, err));
    MUST(nr_session_set_picture(session, picture, NR_FIT_AUTO, err));
    MUST(nr_session_ask(session, "What is it?", NULL, err));
    *n_bytes = (size_t)engine->model->info.vocab * sizeof(float);
    float *logits = malloc(*n_bytes);
    memcpy(logits, session->sequence.logits, *n_bytes);
    nr_picture_free(picture);
    nr_session_free(session);
    nr_engine_close(engine);
    return logits;
}

static void check(const char *preset, const char *name, const renaming *rules,
                  const renaming *again) {
    char hub[4096], other[4096];
    size_t n_bytes, n_other;
    fixture_make_checkpoint(preset, fixture_path(hub, "%s/%s-hub", temp, name), "");
    fixture_make_checkpoint(preset, fixture_path(other, "%s/%s", temp, name), "");
    rename_tensors(other, rules, again);
    float *want = logits_of(hub, &n_bytes), *have = logits_of(other, &n_other);
    assert_int_equal(n_bytes, n_other);
    if (memcmp(want, have, n_bytes) != 0) fail_msg("%s: other logits", name);
    free(want);
    free(have);
}

static void test_blip2(void **state) {
    static const renaming inner[] = {
        {"vision_model.", "model.vision_model."},
        {"qformer.", "model.qformer."},
        {"query_tokens", "model.query_tokens"},
        {"language_projection.", "model.language_projection."},
        {"language_model.model.decoder.", "model.language_model.decoder."},
        {NULL, NULL}};
    static const renaming bare[] = {{"language_model.model.decoder.", "language_model.decoder."},
                                    {NULL, NULL}};
    static const renaming same[] = {{NULL, NULL}};
    static const renaming head = {"language_model.model.decoder.embed_tokens.weight",
                                  "language_model.lm_head.weight"};
    (void)state;
    check("blip2-tiny", "blip2-inner", inner, NULL);
    check("blip2-tiny", "blip2-bare", bare, NULL);
    check("blip2-tiny", "blip2-head", same, &head); /* a tied head that is stored all the same */
}

static void test_llava(void **state) {
    static const renaming newer[] = {{"vision_tower.vision_model.", "model.vision_tower."},
                                     {"multi_modal_projector.", "model.multi_modal_projector."},
                                     {"language_model.model.", "model.language_model."},
                                     {"language_model.lm_head.", "lm_head."},
                                     {NULL, NULL}};
    (void)state;
    check("tiny", "llava-newer", newer, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blip2), cmocka_unit_test(test_llava)};
    return cmocka_run_group_tests(tests, fixture_make_temp, fixture_remove_temp);
}
