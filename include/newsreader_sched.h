/* SPDX-License-Identifier: MIT
 *
 * newsreader_sched.h - many requests at once on one engine: a thread of its own runs the model for
 * several requests together, the others wait in a bounded queue. What a request is answered does
 * not depend on the others, byte for byte.
 *
 *   nr_sched *sched; nr_job *job; nr_event event; nr_error err;
 *   nr_sched_open(engine, NULL, &sched, &err);            // engine as in newsreader.h
 *   const char *questions[] = {"What is the headline?"};
 *   nr_request request = nr_request_default();
 *   request.picture = picture; request.questions = questions; request.n_questions = 1;
 *   nr_sched_submit(sched, &request, &job, &err);          // BUSY: try again later
 *   do event = nr_job_next(job, -1);                       // TEXT: event.text, event.n_bytes
 *   while (event.kind != NR_EVENT_END);                    // event.status
 *   nr_job_close(job);
 *   nr_sched_close(sched);
 *
 * Threads: every function may be called from any thread; one job is for one thread at a time,
 * except nr_job_cancel. While a scheduler is open its engine and sessions of it are the
 * scheduler's.
 *
 * Everything is allocated by nr_sched_open: submitting, answering and closing a job allocate
 * nothing. An engine opened with options.scheduler has all of it in its plan and under its ceiling.
 */
#ifndef NEWSREADER_SCHED_H
#define NEWSREADER_SCHED_H

#include "newsreader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nr_sched nr_sched;
typedef struct nr_job nr_job;

typedef struct nr_sched_options {
    uint32_t struct_bytes;     /* set by nr_sched_options_default */
    int32_t n_slots;           /* requests answered at the same time, each with a cache: 1 to 64;
                              default 4 */
    int32_t n_queued;          /* requests that may wait, 0 to 4096; default 32 */
    void (*notify)(void *ctx); /* or NULL: some job has events. Called on the model's thread, which
                                  waits for it; must not call into the scheduler */
    void *notify_ctx;
} nr_sched_options;
NR_API nr_sched_options nr_sched_options_default(void);

/* Bytes that a scheduler will allocate on top of the engine's weights and scratch; exact.
 * Errors: ARG, LIMIT. */
NR_API nr_status nr_sched_bytes(const nr_engine *engine, const nr_sched_options *options,
                                uint64_t *bytes, nr_error *err);
/* options may be NULL. Transfers *out. Errors: ARG, NO_MEMORY, LIMIT, CEILING (under a ceiling, and
 * larger than the engine's plan). */
NR_API nr_status nr_sched_open(nr_engine *engine, const nr_sched_options *options, nr_sched **out,
                               nr_error *err);
NR_API void nr_sched_drain(nr_sched *sched); /* submit says BUSY from now on; jobs go on */
/* Accepts NULL. Jobs must be closed; those that still run are given up. */
NR_API void nr_sched_close(nr_sched *sched);

#define NR_REQUEST_QUESTIONS_MAX 8
#define NR_CLIENTS_MAX 256

typedef struct nr_request {
    uint32_t struct_bytes;
    const nr_picture *picture; /* or NULL: none */
    nr_fit fit;
    const char *const *questions; /* [n_questions] UTF-8; each is answered on its own, the picture
                                     is looked at once */
    int32_t n_questions;          /* 1 to NR_REQUEST_QUESTIONS_MAX */
    nr_generation_options generation; /* of each answer */
    int32_t deadline_ms; /* from now, waiting included; 0: none. Then it ends with TIMEOUT */
    int32_t client; /* whose it is, 0 to NR_CLIENTS_MAX - 1: requests of one client are answered in
                       order, the model's time is shared between several */
} nr_request;
NR_API nr_request nr_request_default(void);

/* Preprocess the picture and make the prompts on the calling thread (one caller at a time, others
 * wait), then queue. The request and what it names may be freed afterwards. Transfers *out.
 * Errors: BUSY (slots and queue are full, or draining), ARG, FORMAT, CONTEXT_FULL, LIMIT. */
NR_API nr_status nr_sched_submit(nr_sched *sched, const nr_request *request, nr_job **out,
                                 nr_error *err);

typedef enum nr_event_kind {
    NR_EVENT_NONE,   /* nothing within the time */
    NR_EVENT_START,  /* a slot took the request: queued_ms */
    NR_EVENT_TEXT,   /* a piece of answer i_question: text, n_bytes */
    NR_EVENT_ANSWER, /* answer i_question is complete: finish, stats */
    NR_EVENT_END     /* the last event: status */
} nr_event_kind;

typedef struct nr_event {
    nr_event_kind kind;
    int32_t i_question;
    const char *text; /* whole UTF-8 characters; borrows until the next call on the job */
    size_t n_bytes;
    nr_finish finish;
    nr_session_stats stats; /* times by the clock, other requests' part of the batches included */
    double queued_ms;
    nr_status status; /* OK, CANCELLED, TIMEOUT */
} nr_event;

/* Waits up to timeout_ms; 0: not, -1: for ever. A job that nobody reads from stops when 48 KiB are
 * waiting, and keeps its slot. */
NR_API nr_event nr_job_next(nr_job *job, int32_t timeout_ms);
NR_API void nr_job_cancel(nr_job *job); /* within one step; the END event then says CANCELLED */
NR_API void nr_job_close(nr_job *job);  /* in whatever state; accepts NULL */

/* Now, and since open. */
typedef struct nr_sched_stats {
    int32_t n_slots, n_running, n_queued;
    int32_t n_free; /* requests that would be taken now */
    uint64_t n_submitted, n_done, n_cancelled, n_timed_out, n_failed;
    uint64_t n_put_back; /* had to give their slots to clients that had none, and began again */
    uint64_t n_pictures, n_prompt_tokens, n_answer_tokens;
    uint64_t n_batches, n_batch_rows; /* forward calls and the tokens they read */
    double vision_ms, forward_ms;
} nr_sched_stats;
NR_API nr_sched_stats nr_sched_get_stats(nr_sched *sched);

#ifdef __cplusplus
}
#endif

#endif
