/* SPDX-License-Identifier: MIT
 *
 * trace.c - every stage of one question into a safetensors file, for comparison with what
 * transformers computes. Collects in memory first, because the file's header names all shapes.
 */
#include "engine_internal.h"

#include "nr_alloc.h"
#include "safetensors.h"

#include <stdio.h>
#include <string.h>

#define TRACE_TOKENS 24
#define TRACE_LOGITS 4
#define STAGES_MAX (4 * NR_LAYERS_MAX)

typedef struct stage {
    char name[128];
    float *rows; /* owns */
    int64_t n_rows, n_cols;
} stage;

typedef struct trace {
    nr_session *session;
    stage *stages; /* owns [STAGES_MAX] */
    int n_stages;
    bool out_of_memory;
    float *logits; /* owns [TRACE_LOGITS, vocab] */
    int64_t greedy_ids[TRACE_TOKENS];
} trace;

static void record(void *ctx, const char *name, const float *rows, int64_t n_rows, int64_t n_cols) {
    trace *t = ctx;
    size_t bytes = (size_t)n_rows * (size_t)n_cols * sizeof *rows;
    stage *s = t->n_stages < STAGES_MAX ? &t->stages[t->n_stages] : NULL;
    float *copy = rows && s ? nr_malloc(bytes) : NULL;
    if (!copy) {
        t->out_of_memory = true;
        return;
    }
    memcpy(copy, rows, bytes);
    *s = (stage){.rows = copy, .n_rows = n_rows, .n_cols = n_cols};
    snprintf(s->name, sizeof s->name, "stage.%s", name);
    t->n_stages++;
}

static nr_status prefill(trace *t, const char *prompt, const nr_tap *tap, nr_error *err) {
    nr_session *s = t->session;
    nr_engine *e = s->engine;
    nr_backend *be = s->kit.be;
    int32_t n_ids, n_reused, vocab = e->model->info.vocab;
    NR_TRY(nr_session_build_prompt(s, prompt, false, &n_ids, err));
    NR_FAIL_IF(n_ids + TRACE_TOKENS > e->model->info.context, CONTEXT_FULL,
               "prompt of %d tokens and %d to generate do not fit the context of %d", n_ids,
               TRACE_TOKENS, e->model->info.context);
    NR_FAIL_IF(n_ids > e->model->info.rows_max, ARG,
               "trace of %d tokens, the engine was opened for %d at a time", n_ids,
               e->model->info.rows_max);
    int32_t n_logits = NR_MIN(TRACE_LOGITS, n_ids);
    NR_TRY(nr_sequence_prefill(&s->sequence, s->prompt_ids, n_ids, n_logits, &n_reused, tap, err));
    be->ops->download(be, t->logits, s->sequence.logits - (int64_t)(n_logits - 1) * vocab,
                      (size_t)n_logits * (size_t)vocab * sizeof(float));
    return NR_STATUS_OK;
}

/* Greedy ids as transformers' generate with min_new_tokens = max_new_tokens = 24. */
static nr_status generate(trace *t, const char *prompt, nr_error *err) {
    nr_generation_options o = nr_generation_options_default();
    nr_step step = {0};
    o.max_tokens = TRACE_TOKENS;
    o.ignore_stop = true;
    NR_TRY(nr_session_ask(t->session, prompt, &o, err));
    for (int i = 0; i < TRACE_TOKENS; i++) {
        NR_TRY(nr_session_step(t->session, &step, err));
        t->greedy_ids[i] = step.id;
    }
    return NR_STATUS_OK;
}

static nr_status declare(const trace *t, nr_safetensors_writer *w, nr_error *err) {
    const nr_model_info *info = &t->session->engine->model->info;
    if (t->session->sequence.cache.n_image_rows > 0) {
        int64_t dims[4] = {1, 3, info->preprocess.out_height, info->preprocess.out_width};
        NR_TRY(nr_safetensors_writer_add(w, "pixel_values", NR_DTYPE_F32, 4, dims, err));
    }
    for (int i = 0; i < t->n_stages; i++) {
        int64_t dims[3] = {1, t->stages[i].n_rows, t->stages[i].n_cols};
        NR_TRY(nr_safetensors_writer_add(w, t->stages[i].name, NR_DTYPE_F32, 3, dims, err));
    }
    int64_t logits_dims[2] = {TRACE_LOGITS, info->vocab}, ids_dims[1] = {TRACE_TOKENS};
    NR_TRY(nr_safetensors_writer_add(w, "logits", NR_DTYPE_F32, 2, logits_dims, err));
    return nr_safetensors_writer_add(w, "greedy_ids", NR_DTYPE_I64, 1, ids_dims, err);
}

static nr_status put(const trace *t, nr_safetensors_writer *w, nr_error *err) {
    const nr_model_info *info = &t->session->engine->model->info;
    const nr_preprocess_settings *p = &info->preprocess;
    if (t->session->sequence.cache.n_image_rows > 0)
        NR_TRY(nr_safetensors_writer_put(w, t->session->pixels,
                                         3 * (size_t)p->out_width * (size_t)p->out_height *
                                             sizeof(float),
                                         err));
    for (int i = 0; i < t->n_stages; i++) {
        size_t n = (size_t)t->stages[i].n_rows * (size_t)t->stages[i].n_cols;
        NR_TRY(nr_safetensors_writer_put(w, t->stages[i].rows, n * sizeof(float), err));
    }
    NR_TRY(nr_safetensors_writer_put(w, t->logits,
                                     TRACE_LOGITS * (size_t)info->vocab * sizeof(float), err));
    return nr_safetensors_writer_put(w, t->greedy_ids, sizeof t->greedy_ids, err);
}

static nr_status write_file(const trace *t, const char *out_path, nr_error *err) {
    nr_safetensors_writer *w = NULL;
    NR_TRY(nr_safetensors_writer_create(&w, err));
    nr_status status = NR_STATUS_OK;
    NR_TRY_GOTO(declare(t, w, err));
    NR_TRY_GOTO(nr_safetensors_writer_open(w, out_path, err));
    NR_TRY_GOTO(put(t, w, err));
    NR_TRY_GOTO(nr_safetensors_writer_commit(w, err));
done:
    nr_safetensors_writer_free(w);
    return status;
}

static nr_status run(trace *t, const nr_picture *picture, const char *prompt, nr_fit fit,
                     nr_error *err) {
    nr_session *s = t->session;
    nr_tap tap = {.fn = record, .ctx = t};
    t->stages = nr_calloc(STAGES_MAX, sizeof *t->stages);
    t->logits = nr_calloc(TRACE_LOGITS * (size_t)s->engine->model->info.vocab, sizeof(float));
    NR_FAIL_IF(!t->stages || !t->logits, NO_MEMORY, "trace");
    NR_TRY(nr_session_take_picture(s, picture, fit, &tap, err));
    NR_TRY(prefill(t, prompt, &tap, err));
    NR_FAIL_IF(t->out_of_memory, NO_MEMORY, "trace of %d stages", t->n_stages);
    return generate(t, prompt, err);
}

nr_status nr_trace(nr_engine *engine, const nr_picture *picture, const char *prompt, nr_fit fit,
                   const char *out_path, nr_error *err) {
    trace t = {0};
    NR_TRY(nr_session_create(engine, &t.session, err));
    nr_status status = run(&t, picture, prompt, fit, err);
    if (status == NR_STATUS_OK) status = write_file(&t, out_path, err);
    for (int i = 0; i < t.n_stages; i++) nr_free(t.stages[i].rows);
    nr_free(t.stages);
    nr_free(t.logits);
    nr_session_free(t.session);
    return status;
}
