/* SPDX-License-Identifier: MIT
 *
 * model_thread.c - the thread that runs the model: admit, look, read, write, turn by turn. It holds
 * the lock while it looks at the queue and puts records, never while it computes.
 */
#include "scheduler_internal.h"

#include "nr_clock.h"

/* Only resting slots or nothing: until somebody does something, or the next deadline. */
static void wait_for_work(nr_scheduler *s) {
    double first_ms = 0;
    for (int32_t i = 0; i < s->config.n_slots; i++) {
        const nr_job *job = s->slots[i].job;
        if (job && job->deadline_ms > 0 && (first_ms == 0 || job->deadline_ms < first_ms))
            first_ms = job->deadline_ms;
    }
    for (const nr_job *job = s->queue; job; job = job->next)
        if (job->deadline_ms > 0 && (first_ms == 0 || job->deadline_ms < first_ms))
            first_ms = job->deadline_ms;
    struct timespec until = nr_scheduler_time(first_ms);
    if (first_ms > 0)
        pthread_cond_timedwait(&s->work, &s->lock, &until);
    else
        pthread_cond_wait(&s->work, &s->lock);
}

static void notify(nr_scheduler *s) {
    if (s->config.notify) s->config.notify(s->config.notify_ctx);
}

/* False when the scheduler is closing. */
static bool next_turn(nr_scheduler *s) {
    bool news = false, going_on;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        news |= nr_slots_end_dead(s);
        going_on = !s->stopping;
        if (!going_on) break;
        news |= nr_slots_admit(s);
        if (nr_slots_have_work(s)) break;
        if (news) { /* tell before going to sleep */
            pthread_mutex_unlock(&s->lock);
            notify(s);
            pthread_mutex_lock(&s->lock);
            news = false;
            continue;
        }
        wait_for_work(s);
    }
    pthread_mutex_unlock(&s->lock);
    if (news) notify(s);
    return going_on;
}

/* ---- computing ------------------------------------------------------------------------------ */

/* The slot's next question becomes what its sequence has to read. */
static void begin_question(nr_scheduler *s, nr_slot *slot, int32_t i_question) {
    const nr_job *job = slot->job;
    const int32_t *ids = job->ids + (int64_t)i_question * s->config.kit.model->info.context;
    int32_t n_ids = job->n_ids[i_question], image_tokens = slot->stats.image_tokens;
    double vision_ms = slot->stats.vision_ms;
    bool image_cached = slot->stats.image_cached;
    slot->i_question = i_question;
    slot->phase = NR_SLOT_READ;
    slot->since_ms = nr_clock_ms();
    slot->stats = (nr_job_stats){
        .image_tokens = image_tokens, .vision_ms = vision_ms, .image_cached = image_cached};
    slot->stats.prompt_tokens = n_ids;
    slot->stats.cached_tokens = nr_sequence_begin(&slot->sequence, ids, n_ids, 1);
    nr_answer_begin(&slot->answer, &s->config.kit, &slot->sequence, &job->settings);
}

/* The oldest slot in this phase that may run and is not in the batch yet, or NULL. */
static nr_slot *oldest(nr_scheduler *s, nr_slot_phase phase, uint64_t taken) {
    nr_slot *found = NULL;
    for (int32_t i = 0; i < s->config.n_slots; i++) {
        nr_slot *slot = &s->slots[i];
        if (slot->phase != phase || slot->rests || slot->held || (taken >> i & 1)) continue;
        if (!found || slot->order < found->order) found = slot;
    }
    return found;
}

/* Its picture's features without the tower: none are wanted, or they were kept. */
static bool recall(nr_scheduler *s, nr_slot *slot) {
    const nr_scheduler_config *c = &s->config;
    if (!slot->job->has_picture) {
        nr_sequence_set_image(&slot->sequence, c->kit.sides, NULL, NULL);
        return true;
    }
    float *features = slot->sequence.cache.image_features;
    if (!c->recall || !c->recall(c->pictures_ctx, slot->job->picture_key, features)) return false;
    nr_sequence_reuse_image(&slot->sequence);
    slot->stats.image_cached = true;
    return true;
}

static void run_tower(nr_scheduler *s, nr_slot *slot) {
    const nr_scheduler_config *c = &s->config;
    double start_ms = c->clock_ms();
    nr_sequence_set_image(&slot->sequence, c->kit.sides, slot->job->pixels, NULL);
    if (c->keep)
        c->keep(c->pictures_ctx, slot->job->picture_key, slot->sequence.cache.image_features);
    (void)nr_sides_check(c->kit.sides, NULL); /* waits for the tower; told later */
    slot->stats.vision_ms = c->clock_ms() - start_ms;
}

/* Who needs no tower is ready at once; of those who do, the oldest is looked at. NULL: none was. */
static nr_slot *look(nr_scheduler *s) {
    uint64_t waiting = 0;
    nr_slot *looked = NULL;
    nr_slot *slot;
    while ((slot = oldest(s, NR_SLOT_LOOK, waiting))) {
        bool known = recall(s, slot);
        if (!known && looked) {
            waiting |= (uint64_t)1 << (slot - s->slots);
            continue;
        }
        if (!known) run_tower(s, slot);
        if (!known) looked = slot;
        if (slot->job->has_picture)
            slot->stats.image_tokens = s->config.kit.model->info.n_image_tokens;
        begin_question(s, slot, 0);
    }
    return looked;
}

typedef struct batch {
    nr_share shares[NR_BATCH_MAX];
    nr_slot *slots[NR_BATCH_MAX];
    int n;
    int32_t rows_left, logits_left;
    uint64_t taken; /* bit i: slot i is in */
} batch;

static void add(nr_scheduler *s, batch *b, nr_slot *slot) {
    b->taken |= (uint64_t)1 << (slot - s->slots);
    if (b->rows_left == 0) return;
    int32_t n = nr_sequence_chunk(&slot->sequence, b->rows_left);
    bool ends = n == nr_sequence_left(&slot->sequence);
    if (ends && b->logits_left == 0) return; /* next turn */
    b->logits_left -= ends;
    b->rows_left -= n;
    b->slots[b->n] = slot;
    b->shares[b->n++] = (nr_share){&slot->sequence, n};
}

/* Answers first, in turns where the model gives fewer rows of logits than there are slots; one row
 * is kept for a prompt that may come to its end. */
static void gather(nr_scheduler *s, batch *b) {
    const nr_model_info *info = &s->config.kit.model->info;
    int32_t n_slots = s->config.n_slots, first = s->turn;
    int32_t kept = info->logits_rows > 1 && oldest(s, NR_SLOT_READ, 0);
    nr_slot *slot;
    *b = (batch){.rows_left = info->rows_max, .logits_left = info->logits_rows - kept};
    for (int32_t k = 0; k < n_slots; k++) {
        int32_t i_slot = (first + k) % n_slots;
        slot = &s->slots[i_slot];
        if (slot->phase != NR_SLOT_WRITE || slot->rests) continue;
        int n = b->n;
        add(s, b, slot);
        if (b->n > n) s->turn = (i_slot + 1) % n_slots;
    }
    b->logits_left += kept;
    while ((slot = oldest(s, NR_SLOT_READ, b->taken))) add(s, b, slot);
}

/* ---- giving out ----------------------------------------------------------------------------- */

static void finish_answer(nr_scheduler *s, nr_slot *slot) {
    nr_record record = {
        .kind = NR_RECORD_ANSWER, .i_question = slot->i_question, .stopped = slot->answer.stopped};
    slot->stats.answer_tokens = slot->answer.n_tokens;
    slot->stats.decode_ms = nr_clock_ms() - slot->since_ms;
    record.stats = slot->stats;
    if (slot->job->n_again == 0) s->stats.n_answer_tokens += (uint64_t)slot->answer.n_tokens;
    nr_slots_tell(slot->job, &record, NULL);
    s->stats.n_prompt_tokens += (uint64_t)(slot->stats.prompt_tokens - slot->stats.cached_tokens);
    if (slot->i_question + 1 < slot->job->n_questions) {
        begin_question(s, slot, slot->i_question + 1);
        return;
    }
    nr_fair_learn(&s->fair, slot->alone_ms);
    nr_slots_end(s, slot, NR_STATUS_OK);
}

/* The token that was chosen for the slot, as text. */
static void give(nr_scheduler *s, nr_slot *slot) {
    nr_text_buf text = {.bytes = s->piece, .cap = NR_ANSWER_PIECE_MAX};
    int32_t id;
    if (slot->phase == NR_SLOT_READ) {
        double now_ms = nr_clock_ms();
        slot->stats.prefill_ms = now_ms - slot->since_ms;
        slot->since_ms = now_ms;
        slot->phase = NR_SLOT_WRITE;
    }
    nr_status status = nr_answer_give(&slot->answer, &text, &id, NULL);
    pthread_mutex_lock(&s->lock);
    if (text.n > 0) {
        nr_record record = {
            .kind = NR_RECORD_TEXT, .i_question = slot->i_question, .n_bytes = (uint32_t)text.n};
        nr_slots_tell(slot->job, &record, text.bytes);
        pthread_cond_broadcast(&s->news);
    }
    if (status != NR_STATUS_OK)
        nr_slots_end(s, slot, status);
    else if (slot->answer.done)
        finish_answer(s, slot);
    pthread_mutex_unlock(&s->lock);
}

/* What follows for all whose prompt or token was the last to be read. */
static void choose(const batch *b) {
    nr_answer *answers[NR_BATCH_MAX];
    int n = 0;
    for (int i = 0; i < b->n; i++)
        if (nr_sequence_left(&b->slots[i]->sequence) == 0) answers[n++] = &b->slots[i]->answer;
    nr_answers_choose(answers, n);
}

static void charge_alone(nr_scheduler *s, nr_slot *slot, double ms) {
    slot->alone_ms += ms;
    nr_fair_charge(&s->fair, slot->job->client, ms);
}

/* See fair.h: prompts are paid by their rows, a turn of answers alone by who has had least. */
static void charge_read(nr_scheduler *s, const batch *b, double ms) {
    int32_t n_rows = 0, least = b->slots[0]->job->client;
    for (int i = 0; i < b->n; i++) {
        int32_t client = b->slots[i]->job->client;
        if (b->slots[i]->phase == NR_SLOT_READ) n_rows += b->shares[i].n_rows;
        if (s->fair.used_ms[client] < s->fair.used_ms[least]) least = client;
    }
    for (int i = 0; i < b->n; i++)
        if (n_rows == 0)
            b->slots[i]->turns_ms += ms / b->n;
        else if (b->slots[i]->phase == NR_SLOT_READ)
            charge_alone(s, b->slots[i], ms * b->shares[i].n_rows / n_rows);
    if (n_rows == 0) nr_fair_charge(&s->fair, least, ms);
}

static void count_turn(nr_scheduler *s, const batch *b, nr_slot *looked, double read_ms) {
    pthread_mutex_lock(&s->lock);
    s->stats.n_pictures += looked != NULL;
    s->stats.vision_ms += looked ? looked->stats.vision_ms : 0;
    if (looked) charge_alone(s, looked, looked->stats.vision_ms);
    charge_read(s, b, read_ms);
    s->stats.forward_ms += read_ms;
    s->stats.n_batches++;
    for (int i = 0; i < b->n; i++) s->stats.n_batch_rows += (uint64_t)b->shares[i].n_rows;
    pthread_mutex_unlock(&s->lock);
}

/* The device failed: nobody's rows are worth anything. */
static bool device_failed(nr_scheduler *s) {
    nr_status status = nr_sides_check(s->config.kit.sides, NULL);
    if (status == NR_STATUS_OK) return false;
    pthread_mutex_lock(&s->lock);
    for (int32_t i = 0; i < s->config.n_slots; i++)
        if (s->slots[i].job) nr_slots_end(s, &s->slots[i], status);
    pthread_mutex_unlock(&s->lock);
    notify(s);
    return true;
}

void *nr_scheduler_thread(void *scheduler) {
    nr_scheduler *s = scheduler;
    batch b;
    while (next_turn(s)) {
        nr_slot *looked = look(s);
        double start_ms = s->config.clock_ms();
        gather(s, &b);
        if (b.n == 0) continue;
        nr_sequences_read(b.shares, b.n, NULL);
        choose(&b);
        if (device_failed(s)) continue;
        count_turn(s, &b, looked, s->config.clock_ms() - start_ms);
        for (int i = 0; i < b.n; i++)
            if (nr_sequence_left(&b.slots[i]->sequence) == 0) give(s, b.slots[i]);
        notify(s);
    }
    return NULL;
}
