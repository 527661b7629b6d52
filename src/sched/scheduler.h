/* SPDX-License-Identifier: MIT
 *
 * scheduler.h - many requests, one model. A thread of its own runs the model for up to n_slots
 * requests at once; the others wait in a queue of fixed size.
 *
 *   nr_scheduler_create(&config, &s, err)
 *   nr_scheduler_take(s) -> job; fill its fields; nr_scheduler_submit(job)     any thread
 *   nr_job_take_record(job, ...) until NR_RECORD_END; nr_job_release(job)      any thread
 *   nr_scheduler_free(s)
 *
 * A free slot goes to the client that has had least of the model's time, and of its requests to the
 * oldest: who floods the queue waits for himself. fair.h has the rules.
 *
 * One turn of the model's thread: at most one picture goes through the vision tower (those seen
 * before need not, where features are kept); then one forward call reads one token of every answer
 * that is being written and fills its remaining rows with prompts, the oldest request first. So a
 * new request delays running answers by at most a picture and a full batch, and nobody by a whole
 * prompt; one of a client that has had less is delayed by no picture or prompt of the others but the
 * one under way. Cancelling and deadlines act between turns.
 *
 * A request whose ring is full rests in its slot until somebody reads. Nothing is allocated between
 * create and free. What an answer is does not depend on who else is in the batch.
 *
 * Tried and dropped: pictures as decoded RGB in the queue (up to 150 MB each); the queue holds what
 * preprocessing makes of them, which is always the same size and can be planned.
 */
#ifndef NR_SCHEDULER_H
#define NR_SCHEDULER_H

#include "answer.h"
#include "fair.h"
#include "job_ring.h"

#define NR_JOB_QUESTIONS_MAX 8
#define NR_JOB_RING_BYTES ((size_t)64 << 10)
#define NR_PICTURE_KEY_BYTES 32

typedef struct nr_scheduler nr_scheduler;

typedef enum nr_job_state {
    NR_JOB_FREE,
    NR_JOB_PREPARING, /* taken, not submitted */
    NR_JOB_QUEUED,
    NR_JOB_RUNNING,
    NR_JOB_ENDED /* its last record is in the ring */
} nr_job_state;

typedef struct nr_job {
    /* filled by whoever took it, read by the model's thread after submit */
    bool has_picture;
    uint8_t picture_key[NR_PICTURE_KEY_BYTES]; /* what config.recall knows it by */
    float *pixels; /* [pixels_n] as the model's preprocessing makes them */
    int32_t *ids;  /* [NR_JOB_QUESTIONS_MAX, context] prompts */
    int32_t n_ids[NR_JOB_QUESTIONS_MAX];
    int32_t n_questions;
    nr_answer_settings settings;
    double deadline_ms; /* of nr_clock_ms; 0: none */
    int32_t client;     /* 0 .. NR_JOB_CLIENTS_MAX - 1 */
    /* the scheduler's, under its lock */
    nr_scheduler *scheduler;
    struct nr_job *next; /* in the free list or the queue */
    nr_job_state state;
    bool cancelled, released;
    bool put_back;      /* it had to give its slot to another */
    uint32_t n_told;    /* records but the last that are or were in the ring */
    uint32_t n_again;   /* of them, that it will come to a second time */
    double submitted_ms;
    nr_ring ring;
    char *text; /* [NR_ANSWER_PIECE_MAX] of the record taken last */
} nr_job;

typedef struct nr_scheduler_config {
    nr_answer_kit kit;         /* scratch is carved here */
    int32_t n_slots;           /* 1 .. NR_BATCH_MAX */
    int32_t n_jobs;            /* running and queued together; > n_slots */
    size_t pixels_n;           /* floats of one picture; 0: text only */
    /* Features of pictures seen before; both NULL: none are kept. Called on the model's thread.
     * recall fills features (device) and says true, or leaves them alone. */
    bool (*recall)(void *ctx, const uint8_t *key, float *features);
    void (*keep)(void *ctx, const uint8_t *key, const float *features);
    void *pictures_ctx;
    void (*notify)(void *ctx); /* or NULL: there are new records. Model's thread, no lock held */
    void *notify_ctx;
    double (*clock_ms)(void); /* or NULL: by which the model's time is shared out; model's thread */
} nr_scheduler_config;

/* What create allocates, into measuring arenas (caches: [NR_SIDES]); of the kit only the model is
 * looked at. */
void nr_scheduler_measure(const nr_scheduler_config *config, nr_arena *host, nr_arena *caches);
/* Transfers *out; the model belongs to its thread until free. Errors: NO_MEMORY, LIMIT. */
nr_status nr_scheduler_create(const nr_scheduler_config *config, nr_scheduler **out, nr_error *err);
/* Ends what runs or waits as CANCELLED. All jobs must have been released. Accepts NULL. */
void nr_scheduler_free(nr_scheduler *s);

/* A job to fill; NULL when all are in use or after drain. */
nr_job *nr_scheduler_take(nr_scheduler *s);
void nr_scheduler_submit(nr_job *job);
void nr_scheduler_drain(nr_scheduler *s); /* take refuses from now on */

/* Next record and, in job->text, its bytes. Waits up to timeout_ms (0: not, -1: for ever). False
 * when there is none. One thread at a time for a job. */
bool nr_job_take_record(nr_job *job, int32_t timeout_ms, nr_record *out);
void nr_job_stop(nr_job *job); /* ends with CANCELLED unless it has ended; any thread */
/* Give a taken job back, in whatever state; it is cancelled where it still runs. */
void nr_job_release(nr_job *job);

/* Now, and since create. */
typedef struct nr_scheduler_stats {
    int32_t n_queued, n_running, n_free; /* n_free: jobs that take could give */
    uint64_t n_submitted, n_done, n_cancelled, n_timed_out, n_failed, n_put_back;
    uint64_t n_pictures, n_prompt_tokens, n_answer_tokens, n_batches, n_batch_rows;
    double vision_ms, forward_ms;
} nr_scheduler_stats;
nr_scheduler_stats nr_scheduler_get_stats(nr_scheduler *s);

#endif
