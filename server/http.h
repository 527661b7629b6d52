/* SPDX-License-Identifier: MIT
 *
 * http.h - HTTP/1.1 on libevent's bufferevents: connections, deadlines, replies and streams. One
 * thread, the event loop's, calls everything here and is called from here.
 *
 *   http_open(base, &options, callbacks, ctx, &http, message)
 *   per request: on_head (nothing of the body was read; a reply now refuses it), on_request (body
 *   complete), then, at once or later, http_reply or http_stream_begin .. _end; on_done, once.
 *
 * libevent's own evhttp shows a request only after its body was read, so neither a key nor a full
 * queue could refuse a body, and it reads heads more leniently than http_parse.h; that is why it is
 * not used.
 */
#ifndef HTTP_H
#define HTTP_H

#include "http_parse.h"

#include <event2/event.h>

typedef struct http http;
typedef struct http_conn http_conn;

/* A request and what has become of it. */
typedef struct http_exchange {
    http_conn *conn;
    http_head head;
    char *body;        /* owns [content_length + 1], NUL behind it */
    uint64_t body_max; /* on_head sets it; longer bodies are refused */
    void *user;        /* the handler's */
    double start_ms;
    int status;    /* of the reply, 0: none yet */
    uint64_t sent; /* bytes of body */
    bool streaming;
    bool gone; /* in on_done: the client left before the end */
} http_exchange;

typedef struct http_callbacks {
    void (*on_head)(void *ctx, http_exchange *x);
    void (*on_request)(void *ctx, http_exchange *x);
    void (*on_drain)(void *ctx, http_exchange *x); /* a stream's backlog has become small */
    void (*on_done)(void *ctx, http_exchange *x);  /* release user; x is freed afterwards */
} http_callbacks;

typedef struct http_options {
    const char *host; /* literal address */
    int port;         /* 0: any; http_port tells */
    int connections_max;
    int head_seconds, body_seconds, idle_seconds, write_seconds; /* absolute, but idle and write */
} http_options;

/* False with a message when the address cannot be had. */
bool http_open(struct event_base *base, const http_options *options, http_callbacks callbacks,
               void *ctx, http **out, char *message, size_t cap);
int http_port(const http *h);
int http_connections(const http *h);
void http_stop_accepting(http *h); /* idle connections are closed, others end after their reply */
void http_close(http *h);          /* ends everything; accepts NULL */

/* The whole answer. headers: further lines, each with CRLF, or NULL. x is gone afterwards. */
void http_reply(http_exchange *x, int status, const char *type, const char *headers,
                const void *body, size_t n_bytes);
/* Answer in pieces. */
void http_stream_begin(http_exchange *x, int status, const char *type, const char *headers);
void http_stream_write(http_exchange *x, const void *bytes, size_t n_bytes);
void http_stream_end(http_exchange *x);      /* x is gone afterwards */
size_t http_backlog(const http_exchange *x); /* bytes given here that the client has not taken */

void http_drop_body(http_exchange *x); /* it was read and is not needed any more */

const char *http_status_text(int status);
double http_now_ms(void);

#endif
