/* SPDX-License-Identifier: MIT
 *
 * server_internal.h - what the files of the service share.
 *
 * Threads: the event loop's owns sockets, routes and tasks; a few workers fetch, decode and submit
 * pictures; the scheduler's runs the model. A task goes loop -> workers -> loop and is the loop's
 * again from then on. Workers and the scheduler wake the loop through one eventfd.
 */
#ifndef SERVER_INTERNAL_H
#define SERVER_INTERNAL_H

#include "helper.h"
#include "http.h"
#include "log.h"
#include "newsreader.h"
#include "newsreader_sched.h"
#include "server.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define SERVER_BODY_MAX ((uint64_t)32 << 20)    /* a 20 MiB picture in base64, and some */
#define SERVER_KEYS_MAX NR_CLIENTS_MAX
#define SERVER_NAMES_MAX 16
#define SERVER_WORKERS 8  /* mostly wait for pictures to come */
#define SERVER_DECODERS 2 /* of them may decode at the same time, where nothing else is said */
#define SERVER_SLOTS 4
#define SERVER_PROMPT_MAX 32768

typedef struct server_options {
    const char *host, *key_file;
    int32_t port, queue;
    const char *names[SERVER_NAMES_MAX]; /* further names a Host header may have */
    int n_names;
    net_range nets[SERVER_NAMES_MAX]; /* that may be fetched from beside public addresses */
    int n_nets;
    bool quiet;
    int32_t request_seconds, drain_seconds, connections_max;
    uint64_t bodies_bytes_max; /* of all requests together */
    json_t *config;            /* owns; strings above are borrowed from it */
    char *key_path;            /* owns */
} server_options;

typedef struct server server;
typedef struct task task;
typedef struct route route;

/* What a key holds of what all share. */
typedef struct key_use {
    int32_t n_places; /* the loop's, like bytes */
    uint64_t bytes;
    int n_workers;  /* under the server's lock, like the next two */
    int n_decoding; /* of them with a picture in a decoder */
    uint64_t turn;  /* when a worker last took a task of it; 0: never */
} key_use;

/* One field of a request: a question with the name its answer gets. */
typedef struct answer {
    const char *name; /* static; NULL for a free prompt */
    FILE *out;        /* owns; writes text until it is complete */
    char *text;       /* owns; NUL-terminated */
    size_t n_bytes;
    bool begun;       /* something was said */
    bool never_null;  /* a field whose schema has no null: "" where the page has none */
    nr_finish finish;
    nr_session_stats stats;
} answer;

/* How a route replies. Called on the loop's thread; the exchange is there. */
typedef struct task_shape {
    void (*begin)(task *t); /* the model has been given it; or NULL */
    void (*text)(task *t, int i_question, const char *text, size_t n); /* a piece; or NULL */
    void (*end)(task *t); /* all answers are complete: replies */
    void (*fail)(task *t, int status, const char *code, const char *message); /* replies */
} task_shape;

/* A request for the model. */
struct task {
    server *server;
    const task_shape *shape;
    http_exchange *exchange; /* NULL: the client is gone */
    struct task *next;       /* in the list it is in */
    uint64_t bytes_admitted;
    int key; /* whose it is: index of its key, 0 where there are no keys */
    char id[32];
    /* what is asked */
    char *url;              /* owns; as the client wrote it, or NULL */
    uint8_t *picture_bytes; /* owns; NULL: none */
    size_t picture_n;
    bool picture_fetched; /* picture_bytes are helper_fetch's */
    char *prompt; /* owns; NULL: fields */
    nr_fit fit;
    answer answers[NR_REQUEST_QUESTIONS_MAX];
    const char *questions[NR_REQUEST_QUESTIONS_MAX];
    char framed[NR_REQUEST_QUESTIONS_MAX][128]; /* fields' questions */
    int n_questions;
    nr_generation_options generation;
    char *stop_texts[4]; /* owns */
    bool stream, stream_usage, fields_as_json;
    double deadline_ms;
    atomic_bool cancelled;
    /* what workers found */
    nr_status status;
    nr_error error;
    bool url_failed; /* the error is of fetching or decoding, not of the model */
    double fetch_ms, decode_ms;
    int32_t width, height;
    bool damaged;
    nr_job *job; /* owns */
    /* on the way */
    bool begun;
    double queued_ms;
    double slot_ms; /* when it got its slot */
};

/* Times, by which bucket they fall into; see api_metrics.c. */
#define HISTOGRAM_BUCKETS 16
typedef struct histogram {
    uint64_t n[HISTOGRAM_BUCKETS];
    double sum_ms;
} histogram;

/* Of requests that the model has answered. WHOLE is from the head to the last word. */
typedef enum stage {
    STAGE_FETCH,
    STAGE_DECODE_IMAGE,
    STAGE_QUEUE,
    STAGE_VISION,
    STAGE_PREFILL,
    STAGE_GENERATE,
    STAGE_WHOLE,
    STAGE_COUNT
} stage;

typedef struct counters {
    uint64_t requests[6]; /* by first digit of the status */
    uint64_t refused_busy, gone, bytes_in, bytes_out;
    histogram http; /* of all requests */
    histogram stages[STAGE_COUNT];
    uint64_t allocations_at_start;
} counters;

struct server {
    server_options options;
    server_log log;
    struct event_base *base;
    http *http;
    nr_engine *engine;
    nr_sched *sched;
    nr_ladder_report report; /* which model was chosen, and why */
    const char *model;       /* its name; in report */
    int32_t n_decoders;      /* pictures that the plan has room for at a time */
    uint64_t ram_bytes_max;  /* the ceiling; 0: none */
    uint64_t vram_bytes_max;  /* of the card; 0: none */
    char *keys[SERVER_KEYS_MAX];
    int n_keys;
    key_use uses[SERVER_KEYS_MAX];
    int wake_fd;
    struct event *wake, *stop[2], *tick, *drain_limit;
    /* the loop's */
    int32_t n_admitted, admitted_max;
    uint64_t bytes_admitted, n_tasks;
    task *active;
    http_exchange *watchers[64]; /* of /memory_status/stream */
    int n_watchers;
    bool draining;
    int exit_code;
    counters counters;
    double slot_ms;       /* how long a request has its slot; a moving average, for Retry-After */
    double promised_ms;   /* until when places were promised to those who were refused */
    char *openapi, *docs; /* own */
    /* workers */
    pthread_t workers[SERVER_WORKERS];
    helper helpers[SERVER_WORKERS]; /* one each */
    atomic_int next_helper;
    int n_workers;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t work;
    pthread_cond_t decoded; /* a decoder is free again */
    task *todo; /* the oldest first */
    task *done;
    int n_busy;     /* workers */
    int n_decoding; /* of n_decoders */
    uint64_t n_turns;
    bool stopping;
};

/* ---- routes.c */
struct route {
    const char *method, *path;
    void (*handle)(server *s, http_exchange *x);
    unsigned flags;
    const char *summary, *request, *response; /* schema names of schemas.json, or NULL */
};
enum {
    ROUTE_PUBLIC = 1,  /* no key */
    ROUTE_MODEL = 2,   /* takes a place in the queue */
    ROUTE_OPENAI = 4,  /* errors in OpenAI's shape */
    ROUTE_ANALYZE = 8, /* errors in the shape of /analyze_image_url */
    ROUTE_UPLOAD = 16  /* pictures and forms too, not only JSON */
};
extern const route server_routes[];
extern const int server_n_routes;
extern const http_callbacks server_callbacks;

/* Reply with an error in the shape of the exchange's route. retry_seconds 0: none. */
void server_error(http_exchange *x, int status, const char *code, const char *message,
                  int retry_seconds);
/* Takes the value over. */
void server_reply_json(http_exchange *x, int status, json_t *owned);
/* Admitted exchanges: the place is the task's from now on. */
task *server_task_create(server *s, http_exchange *x, const task_shape *shape);

/* ---- server_main.c: between blocks of weights; false when a signal said to stop */
bool server_going_on(void *server_ptr, uint64_t bytes_done, uint64_t bytes_total);

/* ---- server_model.c */
/* 0, or an exit status after saying why. */
int server_model_open(server *s, const server_start *start);

/* ---- tasks.c */
bool tasks_open(server *s);
void tasks_close(server *s);
void tasks_submit(task *t);    /* to the workers; the task is not the caller's any more */
void tasks_free(task *t);      /* one that was not submitted, or is at its end */
void tasks_advance(server *s); /* events of all active tasks to their clients */
void tasks_cancel_all(server *s);
void server_wake(void *server_ptr); /* any thread */
bool answer_is_none(const answer *a); /* the model says that the page has no such field */
/* HTTP status and code for what the library says. */
int server_status_of(const task *t, const char **code);

/* ---- shares.c: so that no key takes all. Where there are several keys, each may hold as much of
 * something as it leaves free; the first of another key then always finds some. */
/* A place and the bytes of a body, or false. The loop's thread. */
bool share_take_place(server *s, int key, uint64_t bytes);
void share_return_place(server *s, int key, uint64_t bytes);
/* The task that a worker should do next, out of the list: that of the key whose turn was longest
 * ago, and of its tasks the oldest. NULL: none, or the keys that wait have their workers. The lock
 * is held. */
task *share_take_task(server *s);
void share_return_worker(server *s, int key); /* the lock is held */
/* Waits until the key may have a decoder. Both take the lock. */
void share_take_decoder(server *s, int key);
void share_return_decoder(server *s, int key);

/* ---- picture_source.c: the bytes of a picture, on a worker's thread */
nr_status picture_fetch(task *t, helper *h, nr_error *err);
nr_status picture_decode(task *t, helper *h, nr_picture **out,
                         nr_error *err); /* NULL: text alone */
void picture_drop(task *t);              /* its bytes, where there are any */

/* ---- api_input.c */
/* Body as JSON, within limits; NULL: has replied with an error. */
json_t *input_json(http_exchange *x);
/* Has replied when false. Each reads one member, absent ones leave *out alone. */
bool input_generation(http_exchange *x, const json_t *body, task *t);
bool input_set_prompt(http_exchange *x, task *t, const char *text, size_t n);
bool input_set_fields(http_exchange *x, task *t, const char *list); /* "headline,byline" */
bool input_add_field(task *t, const char *name, size_t n); /* false: none of ours, or twice */
void input_all_fields(task *t);
bool input_set_picture_url(http_exchange *x, task *t, const char *url);
nr_status input_base64(const char *text, size_t n, uint8_t **out, size_t *out_n);

/* ---- news_schema.c */
/* A question for each property of a JSON schema, where every answer that it could get fits the
 * schema. False: *problem says what it has that cannot be kept. */
bool news_schema_read(task *t, const json_t *schema, char *problem, size_t cap);

/* ---- the routes' handlers */
void api_chat(server *s, http_exchange *x);
void api_models(server *s, http_exchange *x);
void api_read(server *s, http_exchange *x);
void api_analyze(server *s, http_exchange *x);
void api_health(server *s, http_exchange *x);
void api_memory(server *s, http_exchange *x);
void api_memory_stream(server *s, http_exchange *x);
void api_metrics(server *s, http_exchange *x);
void api_openapi(server *s, http_exchange *x);
void api_docs(server *s, http_exchange *x);
void api_web(server *s, http_exchange *x);
void api_memory_tick(server *s);
json_t *api_memory_object(server *s);
/* false: out of memory */
bool openapi_build(server *s);
void metrics_count(server *s, const http_exchange *x);
void metrics_stage(server *s, stage which, double ms);

/* ---- server_options.c */
/* Defaults, the file, the command line. 0, or an exit status after saying why; *out is to be freed
 * either way. */
int server_options_read(const server_start *start, server_options *out);
void server_options_free(server_options *options);
bool server_keys_load(server *s);
void server_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- web files, made by tools/embed.c */
typedef struct web_file {
    const char *path, *type;
    const unsigned char *bytes;
    size_t n_bytes;
} web_file;
extern const web_file web_files[];
extern const int web_n_files;

#endif
