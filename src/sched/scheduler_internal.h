/* SPDX-License-Identifier: MIT
 * scheduler_internal.h - what scheduler.c, model_thread.c and slots.c share. */
#ifndef NR_SCHEDULER_INTERNAL_H
#define NR_SCHEDULER_INTERNAL_H

#include "scheduler.h"

#include <pthread.h>

typedef enum nr_slot_phase {
    NR_SLOT_FREE,
    NR_SLOT_LOOK, /* its picture waits for the vision tower */
    NR_SLOT_READ, /* its prompt is being read */
    NR_SLOT_WRITE /* its answer is being written: one token to be read */
} nr_slot_phase;

/* A cache and the request that uses it. The model's thread alone. */
typedef struct nr_slot {
    nr_sequence sequence;
    nr_answer answer;
    nr_slot_phase phase;
    bool rests;  /* its ring has no room for what a turn may give */
    bool held;   /* another client's requests begin first */
    nr_job *job; /* borrows; NULL when free */
    int32_t i_question;
    uint64_t order;     /* of admission; the oldest goes first */
    double since_ms;    /* start of the current question or answer */
    nr_job_stats stats; /* of the current question */
    double alone_ms;    /* of the model's time: its picture and prompts, and */
    double turns_ms;    /* its part of the turns in which it wrote */
} nr_slot;

struct nr_scheduler {
    nr_scheduler_config config;
    nr_arena host, caches[NR_SIDES];
    pthread_t thread;
    bool started;
    char *piece; /* [NR_ANSWER_PIECE_MAX] the model's thread's */
    nr_slot *slots;
    uint64_t n_admitted;
    int32_t turn; /* slot that goes first among answers */

    pthread_mutex_t lock; /* all below, and the marked part of every job */
    pthread_cond_t work;  /* for the model's thread */
    pthread_cond_t news;  /* for those who wait for records */
    nr_job *jobs, *free_jobs;
    nr_job *queue, *queue_end;
    nr_fair fair;
    int32_t next_client; /* without a slot, the one that goes first; -1: none */
    bool draining, stopping;
    nr_scheduler_stats stats;
};

void *nr_scheduler_thread(void *scheduler);
/* The lock is held. */
void nr_scheduler_return(nr_scheduler *s, nr_job *job);

/* ---- slots.c: the lock is held, on the model's thread */
/* A record for whoever waits, unless it was told before the request was put back. */
void nr_slots_tell(nr_job *job, const nr_record *record, const char *text);
void nr_slots_end(nr_scheduler *s, nr_slot *slot, nr_status status);
/* End whoever was cancelled or is late, running or waiting. True: somebody. */
bool nr_slots_end_dead(nr_scheduler *s);
/* Give free slots to who waits, and one that is not where that is due. True: somebody got one. */
bool nr_slots_admit(nr_scheduler *s);
/* Decides who rests and who is held. False: nothing can be done. */
bool nr_slots_have_work(nr_scheduler *s);

/* Milliseconds of nr_clock_ms as the conditions want them. */
struct timespec nr_scheduler_time(double ms);

#endif
