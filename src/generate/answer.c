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

/* By the logits on the host. */
static int32_t pick(const nr_answer *a) {
    const nr_answer_kit *kit = a->kit;
    int32_t vocab = kit->model->info.vocab;
    kit->be->ops->download(kit->be, kit->logits, a->sequence->logits,
                           (size_t)vocab * sizeof(float));
    if (a->settings.ignore_stop) forbid_stops(kit, vocab);
    return nr_sampler_pick(&a->settings.sampler, kit->logits, vocab, (uint64_t)a->n_tokens,
                           kit->candidates);
}

/* The largest logit's id; where it is a stop that must not be chosen, the largest of the others. */
static void take_largest(nr_answer *a, int32_t id) {
    a->id = a->settings.ignore_stop && is_stop(a->kit, id) ? pick(a) : id;
}

void nr_answers_choose(nr_answer *const *answers, int n) {
    const float *rows[NR_BATCH_MAX];
    nr_answer *greedy[NR_BATCH_MAX];
    int32_t ids[NR_BATCH_MAX];
    int n_greedy = 0;
    NR_ASSERT(n <= NR_BATCH_MAX);
    for (int i = 0; i < n; i++) {
        nr_answer *a = answers[i];
        if (a->settings.sampler.temperature > 0 || !a->kit->be->ops->argmax_each) {
            nr_answer_choose(a);
            continue;
        }
        rows[n_greedy] = a->sequence->logits;
        greedy[n_greedy++] = a;
    }
    if (n_greedy == 0) return;
    const nr_answer_kit *kit = greedy[0]->kit;
    kit->be->ops->argmax_each(kit->be, rows, n_greedy, kit->model->info.vocab, ids);
    for (int i = 0; i < n_greedy; i++) take_largest(greedy[i], ids[i]);
}

void nr_answer_choose(nr_answer *a) {
    const nr_answer_kit *kit = a->kit;
    NR_ASSERT(a->sequence->logits && a->id < 0 && !a->done);
    if (a->settings.sampler.temperature > 0)
        a->id = pick(a);
    else
        take_largest(a, kit->be->ops->argmax(kit->be, a->sequence->logits, kit->model->info.vocab));
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
