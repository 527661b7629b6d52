/* SPDX-License-Identifier: MIT
 * answer.c - see answer.h. */
#include "answer.h"

#include "nr_limits.h"

#include <math.h>

void nr_answer_kit_carve(nr_answer_kit *kit, const nr_model *model, nr_arena *host) {
    size_t vocab = (size_t)model->info.vocab;
    kit->logits = nr_arena_take(host, vocab, sizeof *kit->logits);
    kit->candidates = nr_arena_take(host, vocab, sizeof *kit->candidates);
}

void nr_answer_begin(nr_answer *a, const nr_answer_kit *kit, nr_sequence *sequence,
                     const nr_answer_settings *settings) {
    *a = (nr_answer){.kit = kit, .sequence = sequence, .settings = *settings, .id = -1};
    nr_detok_init(&a->detok, kit->tokenizer, NR_DECODE_SKIP_SPECIAL);
}

static bool is_stop(const nr_answer_kit *kit, int32_t id) {
    for (int i = 0; i < kit->n_stop_ids; i++)
        if (kit->stop_ids[i] == id) return true;
    return false;
}

static void forbid_stops(const nr_answer_kit *kit, int32_t vocab) {
    for (int i = 0; i < kit->n_stop_ids; i++)
        if (kit->stop_ids[i] < vocab) kit->logits[kit->stop_ids[i]] = -INFINITY;
}

static bool is_greedy(const nr_answer *a) {
    return a->settings.sampler.temperature <= 0 && !a->settings.ignore_stop;
}

void nr_answers_choose(nr_answer *const *answers, int n) {
    const float *rows[NR_BATCH_MAX];
    nr_answer *greedy[NR_BATCH_MAX];
    int32_t ids[NR_BATCH_MAX];
    int n_greedy = 0;
    NR_ASSERT(n <= NR_BATCH_MAX);
    for (int i = 0; i < n; i++) {
        if (!is_greedy(answers[i]) || !answers[i]->kit->be->ops->argmax_each) {
            nr_answer_choose(answers[i]);
            continue;
        }
        rows[n_greedy] = answers[i]->sequence->logits;
        greedy[n_greedy++] = answers[i];
    }
    if (n_greedy == 0) return;
    const nr_answer_kit *kit = greedy[0]->kit;
    kit->be->ops->argmax_each(kit->be, rows, n_greedy, kit->model->info.vocab, ids);
    for (int i = 0; i < n_greedy; i++) greedy[i]->id = ids[i];
}

void nr_answer_choose(nr_answer *a) {
    const nr_answer_kit *kit = a->kit;
    const float *logits = a->sequence->logits;
    int32_t vocab = kit->model->info.vocab;
    NR_ASSERT(logits && a->id < 0 && !a->done);
    if (is_greedy(a)) {
        a->id = kit->be->ops->argmax(kit->be, logits, vocab);
        return;
    }
    kit->be->ops->download(kit->be, kit->logits, logits, (size_t)vocab * sizeof(float));
    if (a->settings.ignore_stop) forbid_stops(kit, vocab);
    a->id = nr_sampler_pick(&a->settings.sampler, kit->logits, vocab, (uint64_t)a->n_tokens,
                            kit->candidates);
}

nr_status nr_answer_give(nr_answer *a, nr_text_buf *text, int32_t *id, nr_error *err) {
    NR_ASSERT(a->id >= 0 && !a->done);
    nr_text_buf piece = {.bytes = text->bytes + text->n, .cap = text->cap - text->n};
    int32_t chosen = a->id;
    a->id = -1;
    nr_stop_filter_begin(&a->filter, &piece);
    if (is_stop(a->kit, chosen)) {
        chosen = -1;
        a->done = a->stopped = true;
    } else {
        a->n_tokens++;
        a->done = a->n_tokens >= a->settings.max_tokens ||
                  a->sequence->n_ids >= a->kit->model->info.context;
        NR_TRY(nr_detok_push(&a->detok, chosen, &piece, err));
    }
    if (a->done) NR_TRY(nr_detok_finish(&a->detok, &piece, err));
    if (nr_stop_filter_end(&a->filter, &a->settings.stop, &piece, a->done))
        a->done = a->stopped = true;
    if (!a->done) nr_sequence_append(a->sequence, chosen);
    text->n += piece.n;
    *id = chosen;
    return NR_STATUS_OK;
}
