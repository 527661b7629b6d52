/* SPDX-License-Identifier: MIT
 *
 * self_test.c - one reading of an embedded page: a masthead, a headline, a byline, two paragraphs.
 * What must come out is an answer: finite logits, text that is neither empty nor blank nor special
 * tokens alone. What it says is shown, not judged: models differ.
 */
#include "engine_internal.h"

#include "nr_json.h"

#include <math.h>
#include <string.h>

#define TOKENS 24
#define QUESTION "What is the headline?"

/* The file beside this one, byte by byte; the assembler reads it. */
extern const uint8_t page[] __attribute__((visibility("hidden")));
extern const uint8_t page_end[] __attribute__((visibility("hidden")));
__asm__(".pushsection .rodata\n"
        "page: .incbin \"src/engine/self_test_page.png\"\n"
        "page_end: .byte 0\n"
        ".popsection\n");

static nr_status take_page(nr_session *s, nr_error *err) {
    nr_picture *picture = NULL;
    if (s->engine->model->info.n_image_tokens == 0) return NR_STATUS_OK;
    NR_TRY(nr_picture_read(page, (size_t)(page_end - page), &picture, err));
    nr_status status = nr_session_set_picture(s, picture, NR_FIT_AUTO, err);
    nr_picture_free(picture);
    return status;
}

static nr_status check_logits(nr_session *s, nr_error *err) {
    int32_t n = s->engine->model->info.vocab;
    nr_backend *be = s->kit.be;
    be->ops->download(be, s->kit.logits, s->sequence.logits, (size_t)n * sizeof(float));
    for (int32_t i = 0; i < n; i++)
        NR_FAIL_IF(!isfinite(s->kit.logits[i]), SELF_TEST, "self-test: logit %d of token %d is %g",
                   i, s->stats.answer_tokens, (double)s->kit.logits[i]);
    return NR_STATUS_OK;
}

/* Append to the preview what fits: whole characters, line breaks as blanks, none in front. */
static void preview(nr_self_test *t, const nr_step *step) {
    size_t used = strlen(t->preview), n = step->n_bytes;
    const char *text = step->text;
    while (used == 0 && n > 0 && (unsigned char)*text <= ' ') {
        text++;
        n--;
    }
    if (n >= sizeof t->preview - used) return;
    memcpy(t->preview + used, text, n);
    t->preview[used + n] = '\0';
    for (char *c = t->preview + used; *c; c++)
        if ((unsigned char)*c < ' ') *c = ' ';
}

static nr_status answer(nr_session *s, nr_self_test *t, nr_error *err) {
    nr_generation_options o = nr_generation_options_default();
    nr_step step = {0};
    o.max_tokens = NR_MIN(TOKENS, s->engine->model->info.context / 4 + 1);
    NR_TRY(nr_session_ask(s, QUESTION, &o, err));
    NR_TRY(check_logits(s, err));
    while (!step.done) {
        NR_TRY(nr_session_step(s, &step, err));
        NR_TRY(check_logits(s, err));
        preview(t, &step);
    }
    NR_FAIL_IF(s->stats.answer_tokens == 0, SELF_TEST, "self-test: the answer is empty");
    NR_FAIL_IF(t->preview[0] == '\0', SELF_TEST,
               "self-test: %d tokens, but no text: special or blank ones alone",
               s->stats.answer_tokens);
    return NR_STATUS_OK;
}

nr_status nr_engine_self_test(nr_engine *engine, nr_self_test *out, nr_error *err) {
    nr_error own;
    nr_session *session = NULL;
    if (!err) err = &own;
    *out = (nr_self_test){0};
    nr_status status = nr_session_create(engine, &session, err);
    if (status == NR_STATUS_OK) status = take_page(session, err);
    if (status == NR_STATUS_OK) status = answer(session, out, err);
    out->resident_bytes = nr_memory_usage_get().resident_bytes;
    if (session) {
        nr_session_stats stats = nr_session_get_stats(session);
        out->answer_tokens = stats.answer_tokens;
        out->preprocess_ms = stats.preprocess_ms;
        out->vision_ms = stats.vision_ms;
        out->prefill_ms = stats.prefill_ms;
        out->decode_ms = stats.decode_ms;
    }
    nr_session_free(session);
    out->passed = status == NR_STATUS_OK;
    if (!out->passed) nr_json_printable(out->reason, sizeof out->reason, err->message);
    return status;
}
