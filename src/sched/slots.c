/* SPDX-License-Identifier: MIT
 *
 * slots.c - who has a slot and who goes first, by fair.h: the queue, ends, and the decisions before
 * every turn. All of it under the scheduler's lock, on the model's thread.
 *
 * While a client waits or works that has had less than others by more than a request's worth,
 * pictures and prompts of those others wait; answers that are being written go on together with its
 * own, so that the batch is as large as it was. Where it has no slot it gets the next one, and if
 * that takes long, one whose request then has to begin again.
 *
 * Rejected: a slot kept free for whoever may come, which makes every batch smaller; putting a
 * request back at once, which costs a picture and a prompt where a slot is mostly free in a moment.
 */
#include "scheduler_internal.h"

#include "nr_clock.h"

/* A turn puts at most a text and an answer; the end always finds room behind them. */
#define RING_NEED (NR_ANSWER_PIECE_MAX + 4 * sizeof(nr_record))

static void count_end(nr_scheduler *s, nr_status status) {
    *(status == NR_STATUS_OK          ? &s->stats.n_done
      : status == NR_STATUS_CANCELLED ? &s->stats.n_cancelled
      : status == NR_STATUS_TIMEOUT   ? &s->stats.n_timed_out
                                      : &s->stats.n_failed) += 1;
}

void nr_slots_tell(nr_job *job, const nr_record *record, const char *text) {
    if (job->n_again > 0) {
        job->n_again--;
        return;
    }
    nr_ring_put(&job->ring, record, text);
    job->n_told++;
}

static void end_job(nr_scheduler *s, nr_job *job, nr_status status) {
    nr_record record = {.kind = NR_RECORD_END, .status = status};
    nr_ring_put(&job->ring, &record, NULL);
    job->state = NR_JOB_ENDED;
    count_end(s, status);
    if (job->released) nr_scheduler_return(s, job);
    pthread_cond_broadcast(&s->news);
}

void nr_slots_end(nr_scheduler *s, nr_slot *slot, nr_status status) {
    end_job(s, slot->job, status);
    slot->job = NULL;
    slot->phase = NR_SLOT_FREE;
    s->stats.n_running--;
}

/* OK: goes on. */
static nr_status verdict(const nr_scheduler *s, const nr_job *job, double now_ms) {
    if (job->cancelled || s->stopping) return NR_STATUS_CANCELLED;
    return job->deadline_ms > 0 && now_ms >= job->deadline_ms ? NR_STATUS_TIMEOUT : NR_STATUS_OK;
}

bool nr_slots_end_dead(nr_scheduler *s) {
    double now_ms = nr_clock_ms();
    bool ended = false;
    for (int32_t i = 0; i < s->config.n_slots; i++) {
        nr_slot *slot = &s->slots[i];
        nr_status status = slot->job ? verdict(s, slot->job, now_ms) : NR_STATUS_OK;
        if (status == NR_STATUS_OK) continue;
        nr_slots_end(s, slot, status);
        ended = true;
    }
    nr_job **link = &s->queue, *last = NULL;
    while (*link) {
        nr_job *job = *link;
        nr_status status = verdict(s, job, now_ms);
        if (status == NR_STATUS_OK) {
            last = job;
            link = &job->next;
            continue;
        }
        *link = job->next;
        s->stats.n_queued--;
        end_job(s, job, status);
        ended = true;
    }
    s->queue_end = last;
    return ended;
}

static void admit_to(nr_scheduler *s, nr_slot *slot, nr_job *job) {
    nr_record record = {.kind = NR_RECORD_START};
    record.stats.queued_ms = nr_clock_ms() - job->submitted_ms;
    nr_slots_tell(job, &record, NULL);
    job->state = NR_JOB_RUNNING;
    slot->job = job;
    slot->order = s->n_admitted++;
    slot->stats = (nr_job_stats){0};
    slot->phase = NR_SLOT_LOOK;
    slot->rests = false;
    slot->alone_ms = slot->turns_ms = 0;
    nr_fair_serve(&s->fair, job->client);
    s->stats.n_queued--;
    s->stats.n_running++;
}

static int32_t n_slots_of(const nr_scheduler *s, int32_t client) {
    int32_t n = 0;
    for (int32_t i = 0; i < s->config.n_slots; i++)
        n += s->slots[i].job && s->slots[i].job->client == client;
    return n;
}

/* Who should have the next slot: the oldest job of the client that goes first. Where none may be
 * free: only of clients that have no slot. Or NULL. */
static nr_job *choose_next(const nr_scheduler *s, bool without_slot) {
    nr_job *best = NULL;
    for (nr_job *job = s->queue; job; job = job->next) {
        if (without_slot && n_slots_of(s, job->client) > 0) continue;
        if (!best || nr_fair_first(&s->fair, job->client, best->client)) best = job;
    }
    return best;
}

static void unqueue(nr_scheduler *s, nr_job *job) {
    nr_job *before = NULL;
    for (nr_job *at = s->queue; at != job; at = at->next) before = at;
    *(before ? &before->next : &s->queue) = job->next;
    if (s->queue_end == job) s->queue_end = before;
    job->next = NULL;
}

/* What was done for a slot's request and would be done again; nothing where nobody reads it. */
static double lost_ms(const nr_slot *slot) {
    return slot->rests ? 0 : slot->alone_ms + slot->turns_ms;
}

/* The slot that this job should have though none is free: of a client that has several and has had
 * more, the one that least is lost with. Nobody loses anything twice. Or NULL. */
static nr_slot *choose_victim(const nr_scheduler *s, const nr_job *job) {
    nr_slot *best = NULL;
    for (int32_t i = 0; i < s->config.n_slots; i++) {
        nr_slot *slot = &s->slots[i];
        if (slot->job->put_back && lost_ms(slot) > 0) continue;
        if (n_slots_of(s, slot->job->client) < 2) continue;
        if (!nr_fair_behind(&s->fair, job->client, slot->job->client)) continue;
        if (!best || lost_ms(slot) < lost_ms(best)) best = slot;
    }
    return best;
}

/* The slot's request begins again when it is its turn, and says nothing twice. */
static void put_back(nr_scheduler *s, nr_slot *slot) {
    nr_job *job = slot->job;
    job->state = NR_JOB_QUEUED;
    job->put_back = true;
    job->n_again = job->n_told;
    job->next = s->queue;
    s->queue = job;
    if (!s->queue_end) s->queue_end = job;
    slot->job = NULL;
    slot->phase = NR_SLOT_FREE;
    s->stats.n_running--;
    s->stats.n_queued++;
    s->stats.n_put_back++;
}

static void admit_one(nr_scheduler *s, nr_slot *slot, nr_job *job) {
    unqueue(s, job);
    admit_to(s, slot, job);
}

/* Who could use the model, and how much of it they have had. */
static void weigh(nr_scheduler *s) {
    nr_fair_begin(&s->fair);
    for (int32_t i = 0; i < s->config.n_slots; i++) {
        nr_slot *slot = &s->slots[i];
        if (!slot->job) continue;
        slot->rests = nr_ring_room(&slot->job->ring) < RING_NEED;
        if (!slot->rests) nr_fair_want(&s->fair, slot->job->client);
    }
    for (const nr_job *job = s->queue; job; job = job->next) nr_fair_want(&s->fair, job->client);
    nr_fair_settle(&s->fair);
}

bool nr_slots_admit(nr_scheduler *s) {
    bool admitted = false;
    weigh(s);
    for (int32_t i = 0; i < s->config.n_slots && s->queue; i++) {
        if (s->slots[i].job) continue;
        admit_one(s, &s->slots[i], choose_next(s, false));
        admitted = true;
    }
    nr_job *job = s->queue ? choose_next(s, true) : NULL;
    nr_slot *victim = job ? choose_victim(s, job) : NULL;
    s->next_client = job ? job->client : -1;
    if (!victim || nr_clock_ms() - job->submitted_ms < lost_ms(victim)) return admitted;
    put_back(s, victim);
    admit_one(s, victim, job);
    return true;
}

/* Of those that have slots that do not rest, the one that goes first; -1: nobody. */
static int32_t first_client(const nr_scheduler *s) {
    int32_t first = -1;
    for (int32_t i = 0; i < s->config.n_slots; i++) {
        const nr_slot *slot = &s->slots[i];
        if (!slot->job || slot->rests) continue;
        if (first < 0 || nr_fair_first(&s->fair, slot->job->client, first))
            first = slot->job->client;
    }
    return first;
}

/* Picture and prompt come later: those of a client that has had more than another that runs, or of
 * one with several slots that has had more than another without. */
static bool is_held(const nr_scheduler *s, const nr_slot *slot, int32_t first) {
    int32_t client = slot->job->client, next = s->next_client;
    bool begins =
        slot->phase == NR_SLOT_LOOK || (slot->phase == NR_SLOT_READ && slot->i_question == 0);
    if (!begins) return false; /* a request that has begun to write goes on */
    if (nr_fair_behind(&s->fair, first, client)) return true;
    return next >= 0 && nr_fair_behind(&s->fair, next, client) && n_slots_of(s, client) > 1;
}

/* Who rests was decided before, who is held is now, unless nothing else could be done. */
bool nr_slots_have_work(nr_scheduler *s) {
    bool any = false, free = false;
    int32_t first = first_client(s);
    for (int32_t i = 0; i < s->config.n_slots; i++) {
        nr_slot *slot = &s->slots[i];
        if (!slot->job || slot->rests) continue;
        slot->held = is_held(s, slot, first);
        free |= !slot->held;
        any = true;
    }
    for (int32_t i = 0; i < s->config.n_slots && !free; i++) s->slots[i].held = false;
    return any;
}
