/* SPDX-License-Identifier: MIT
 *
 * http.c - see http.h. A connection goes IDLE -> HEAD -> BODY -> BUSY -> FLUSH and round again;
 * each state has an absolute deadline of its own. A reply that comes before the body was read ends
 * the connection: its sending side is shut, and what the client still sends is left unread for a
 * moment so that the reply arrives before the reset.
 */
#define _GNU_SOURCE
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINGER_SECONDS 1
#define ACCEPT_PAUSE_MS 100
#define SEND_BYTES 65536 /* what the kernel keeps of a reply; by itself it would take megabytes */

typedef enum conn_state {
    CONN_IDLE,
    CONN_HEAD,
    CONN_BODY,
    CONN_BUSY,
    CONN_FLUSH,
    CONN_LINGER
} conn_state;

struct http_conn {
    http *server;
    http_conn *prev, *next;
    struct bufferevent *bev; /* owns */
    struct event *closed;    /* owns; the peer has shut its side */
    struct event *timer;     /* owns */
    conn_state state;
    bool keep;               /* another request may follow */
    bool unread;             /* a body that was refused may still be coming */
    char *head;              /* owns; bytes that exchange->head points into */
    http_exchange *exchange; /* owns; NULL between requests */
    uint64_t body_have;
};

struct http {
    struct event_base *base;
    http_options options;
    http_callbacks callbacks;
    void *ctx;
    struct evconnlistener *listener;
    struct event *resume; /* accepts again after a pause */
    http_conn *conns;
    int n_conns, port;
    bool stopping;
};

double http_now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

const char *http_status_text(int status) {
    static const struct {
        int status;
        const char *text;
    } table[] = {{200, "OK"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {411, "Length Required"},
                 {413, "Content Too Large"},
                 {414, "URI Too Long"},
                 {415, "Unsupported Media Type"},
                 {417, "Expectation Failed"},
                 {421, "Misdirected Request"},
                 {422, "Unprocessable Content"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].status == status) return table[i].text;
    return "Unknown";
}

static void set_timer(http_conn *c, int seconds) {
    evtimer_add(c->timer, &(struct timeval){.tv_sec = seconds});
}

static void end_exchange(http_conn *c, bool gone) {
    http_exchange *x = c->exchange;
    if (!x) return;
    c->exchange = NULL;
    x->gone = gone;
    c->server->callbacks.on_done(c->server->ctx, x);
    free(x->body);
    free(x);
    free(c->head);
    c->head = NULL;
}

static void conn_free(http_conn *c) {
    http *h = c->server;
    end_exchange(c, true);
    *(c->prev ? &c->prev->next : &h->conns) = c->next;
    if (c->next) c->next->prev = c->prev;
    if (h->n_conns-- == h->options.connections_max && !h->stopping)
        evconnlistener_enable(h->listener);
    if (c->closed) event_free(c->closed);
    if (c->timer) event_free(c->timer);
    bufferevent_free(c->bev);
    free(c);
}

/* ---- reading -------------------------------------------------------------------------------- */

static void on_read(struct bufferevent *bev, void *arg);

static void await_request(http_conn *c) {
    if (c->server->stopping) {
        conn_free(c);
        return;
    }
    c->state = CONN_IDLE;
    bufferevent_setwatermark(c->bev, EV_READ, 0, HTTP_HEAD_BYTES_MAX + 1);
    bufferevent_enable(c->bev, EV_READ);
    set_timer(c, c->server->options.idle_seconds);
    if (evbuffer_get_length(bufferevent_get_input(c->bev)) > 0)
        bufferevent_trigger(c->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

/* A request that cannot be handed on. */
static void refuse_raw(http_conn *c, int status) {
    char body[128], head[512];
    int n = snprintf(body, sizeof body, "{\"error\":{\"code\":%d,\"message\":\"%s\"}}\n", status,
                     http_status_text(status));
    int m = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                     "Connection: close\r\n\r\n",
                     status, http_status_text(status), n);
    evbuffer_add(bufferevent_get_output(c->bev), head, (size_t)m);
    evbuffer_add(bufferevent_get_output(c->bev), body, (size_t)n);
    c->keep = false;
    c->unread = true;
    c->state = CONN_FLUSH;
    bufferevent_disable(c->bev, EV_READ);
    set_timer(c, c->server->options.write_seconds);
}

static void begin_busy(http_conn *c) {
    c->state = CONN_BUSY;
    evtimer_del(c->timer);
    bufferevent_disable(c->bev, EV_READ);
    c->server->callbacks.on_request(c->server->ctx, c->exchange);
}

static void begin_body(http_conn *c) {
    http_exchange *x = c->exchange;
    if (x->head.content_length > x->body_max) {
        http_reply(x, 413, "application/json", NULL, "{\"error\":{\"code\":413}}", 22);
        return;
    }
    x->body = malloc((size_t)x->head.content_length + 1);
    if (!x->body) {
        http_reply(x, 503, "application/json", "Retry-After: 1\r\n", "{\"error\":{\"code\":503}}",
                   22);
        return;
    }
    x->body[x->head.content_length] = '\0';
    c->body_have = 0;
    c->state = CONN_BODY;
    set_timer(c, c->server->options.body_seconds);
    if (x->head.expect_continue && x->head.content_length > 0)
        evbuffer_add_printf(bufferevent_get_output(c->bev), "HTTP/1.1 100 Continue\r\n\r\n");
}

/* False when there is nothing more to do now. */
static bool read_head(http_conn *c) {
    struct evbuffer *in = bufferevent_get_input(c->bev);
    size_t n = evbuffer_get_length(in);
    if (n == 0) return false;
    if (c->state == CONN_IDLE) {
        c->state = CONN_HEAD;
        set_timer(c, c->server->options.head_seconds);
    }
    if (n > HTTP_HEAD_BYTES_MAX + 1) n = HTTP_HEAD_BYTES_MAX + 1;
    const char *bytes = (const char *)evbuffer_pullup(in, (ev_ssize_t)n);
    long length = bytes ? http_head_length(bytes, n) : -503;
    if (length < 0) refuse_raw(c, (int)-length);
    if (length <= 0) return false;
    http_exchange *x = calloc(1, sizeof *x);
    c->head = malloc((size_t)length + 1);
    if (!x || !c->head) {
        free(x);
        free(c->head);
        c->head = NULL;
        refuse_raw(c, 503);
        return false;
    }
    evbuffer_remove(in, c->head, (size_t)length);
    c->head[length] = '\0';
    int status = http_head_parse(c->head, (size_t)length, &x->head);
    if (status) {
        free(x);
        free(c->head);
        c->head = NULL;
        refuse_raw(c, status);
        return false;
    }
    x->conn = c;
    x->start_ms = http_now_ms();
    c->exchange = x;
    c->keep = x->head.keep_alive;
    c->body_have = 0;
    c->server->callbacks.on_head(c->server->ctx, x);
    if (c->exchange) begin_body(c);
    return c->state == CONN_BODY;
}

static void read_body(http_conn *c) {
    http_exchange *x = c->exchange;
    uint64_t left = x->head.content_length - c->body_have;
    int n = 0;
    if (left > 0)
        n = evbuffer_remove(bufferevent_get_input(c->bev), x->body + c->body_have, (size_t)left);
    if (n > 0) c->body_have += (uint64_t)n;
    if (c->body_have == x->head.content_length) begin_busy(c);
}

static void on_read(struct bufferevent *bev, void *arg) {
    http_conn *c = arg;
    (void)bev;
    if (c->state == CONN_IDLE || c->state == CONN_HEAD)
        if (!read_head(c)) return;
    if (c->state == CONN_BODY) read_body(c);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void flushed(http_conn *c) {
    if (c->keep) {
        await_request(c);
        return;
    }
    if (!c->unread) {
        conn_free(c);
        return;
    }
    shutdown(bufferevent_getfd(c->bev), SHUT_WR);
    c->state = CONN_LINGER;
    set_timer(c, LINGER_SECONDS);
}

static void on_write(struct bufferevent *bev, void *arg) {
    http_conn *c = arg;
    (void)bev;
    if (c->state == CONN_FLUSH)
        flushed(c);
    else if (c->exchange && c->exchange->streaming)
        c->server->callbacks.on_drain(c->server->ctx, c->exchange);
}

static void on_event(struct bufferevent *bev, short what, void *arg) {
    (void)bev;
    (void)what; /* end of file, reset, or no progress in write_seconds */
    conn_free(arg);
}

static void on_closed(evutil_socket_t fd, short what, void *arg) {
    http_conn *c = arg;
    (void)fd;
    (void)what;
    if (c->state != CONN_FLUSH)
        conn_free(c); /* a reply still goes out to who shut his side */
    else
        event_del(c->closed);
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    http_conn *c = arg;
    (void)fd;
    (void)what;
    static const char late[] = "{\"error\":{\"code\":408,\"message\":\"Request Timeout\"}}\n";
    if (c->state == CONN_HEAD)
        refuse_raw(c, 408);
    else if (c->state == CONN_BODY)
        http_reply(c->exchange, 408, "application/json", NULL, late, strlen(late));
    else
        conn_free(c);
}

/* Status line and headers. n_bytes < 0: a stream. */
static void write_head(http_exchange *x, int status, const char *type, const char *headers,
                       long long n_bytes) {
    http_conn *c = x->conn;
    struct evbuffer *out = bufferevent_get_output(c->bev);
    bool unread = c->state == CONN_HEAD || c->state == CONN_BODY;
    c->unread = unread && x->head.content_length > c->body_have;
    if (c->unread) c->keep = false;
    if (c->server->stopping) c->keep = false;
    if (n_bytes < 0 && x->head.minor == 0) c->keep = false;
    x->status = status;
    evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\n", status,
                        http_status_text(status), type);
    if (n_bytes >= 0)
        evbuffer_add_printf(out, "Content-Length: %lld\r\n", n_bytes);
    else if (x->head.minor == 1)
        evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n");
    evbuffer_add_printf(out,
                        "Connection: %s\r\nX-Content-Type-Options: nosniff\r\n"
                        "Cache-Control: no-store\r\n%s\r\n",
                        c->keep ? "keep-alive" : "close", headers ? headers : "");
}

static void finish(http_exchange *x) {
    http_conn *c = x->conn;
    c->state = CONN_FLUSH;
    bufferevent_disable(c->bev, EV_READ);
    set_timer(c, c->server->options.write_seconds);
    end_exchange(c, false);
}

void http_reply(http_exchange *x, int status, const char *type, const char *headers,
                const void *body, size_t n_bytes) {
    write_head(x, status, type, headers, (long long)n_bytes);
    evbuffer_add(bufferevent_get_output(x->conn->bev), body, n_bytes);
    x->sent = n_bytes;
    finish(x);
}

void http_stream_begin(http_exchange *x, int status, const char *type, const char *headers) {
    write_head(x, status, type, headers, -1);
    x->streaming = true;
    bufferevent_set_timeouts(x->conn->bev, NULL,
                             &(struct timeval){.tv_sec = x->conn->server->options.write_seconds});
}

void http_stream_write(http_exchange *x, const void *bytes, size_t n_bytes) {
    struct evbuffer *out = bufferevent_get_output(x->conn->bev);
    if (n_bytes == 0) return;
    if (x->head.minor == 1) evbuffer_add_printf(out, "%zx\r\n", n_bytes);
    evbuffer_add(out, bytes, n_bytes);
    if (x->head.minor == 1) evbuffer_add(out, "\r\n", 2);
    x->sent += n_bytes;
}

void http_stream_end(http_exchange *x) {
    if (x->head.minor == 1) evbuffer_add(bufferevent_get_output(x->conn->bev), "0\r\n\r\n", 5);
    bufferevent_set_timeouts(x->conn->bev, NULL, NULL);
    finish(x);
}

void http_drop_body(http_exchange *x) {
    free(x->body);
    x->body = NULL;
}

size_t http_backlog(const http_exchange *x) {
    return evbuffer_get_length(bufferevent_get_output(x->conn->bev));
}

/* ---- connections ---------------------------------------------------------------------------- */

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int n, void *arg) {
    http *h = arg;
    (void)listener;
    (void)address;
    (void)n;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SEND_BYTES}, sizeof(int));
    struct bufferevent *bev = bufferevent_socket_new(h->base, fd, BEV_OPT_CLOSE_ON_FREE);
    http_conn *c = bev ? calloc(1, sizeof *c) : NULL;
    if (!c) {
        if (bev)
            bufferevent_free(bev);
        else
            close(fd);
        return;
    }
    *c = (http_conn){.server = h, .bev = bev, .next = h->conns};
    if (h->conns) h->conns->prev = c;
    h->conns = c;
    if (++h->n_conns == h->options.connections_max) evconnlistener_disable(h->listener);
    c->closed = event_new(h->base, fd, EV_CLOSED | EV_PERSIST, on_closed, c);
    c->timer = evtimer_new(h->base, on_timer, c);
    if (!c->closed || !c->timer || event_add(c->closed, NULL) != 0) {
        conn_free(c);
        return;
    }
    bufferevent_setcb(bev, on_read, on_write, on_event, c);
    bufferevent_enable(bev, EV_WRITE);
    await_request(c);
}

/* No descriptors left, mostly: wait for some to come back. */
static void on_accept_error(struct evconnlistener *listener, void *arg) {
    http *h = arg;
    evconnlistener_disable(listener);
    evtimer_add(h->resume, &(struct timeval){.tv_usec = ACCEPT_PAUSE_MS * 1000});
}

static void on_resume(evutil_socket_t fd, short what, void *arg) {
    http *h = arg;
    (void)fd;
    (void)what;
    if (!h->stopping && h->n_conns < h->options.connections_max) evconnlistener_enable(h->listener);
}

/* "127.0.0.1" or "::1" and a port. */
static bool address_of(const char *host, int port, struct sockaddr_storage *out, socklen_t *n) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        memcpy(out, &v4, sizeof v4);
        *n = sizeof v4;
    } else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        memcpy(out, &v6, sizeof v6);
        *n = sizeof v6;
    } else {
        return false;
    }
    return true;
}

static int bound_port(struct evconnlistener *listener) {
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&a, &n) != 0) return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                         : ((struct sockaddr_in *)&a)->sin_port);
}

bool http_open(struct event_base *base, const http_options *options, http_callbacks callbacks,
               void *ctx, http **out, char *message, size_t cap) {
    struct sockaddr_storage address;
    socklen_t n;
    http *h = calloc(1, sizeof *h);
    if (!h) {
        snprintf(message, cap, "out of memory");
        return false;
    }
    *h = (http){.base = base, .options = *options, .callbacks = callbacks, .ctx = ctx};
    if (!address_of(options->host, options->port, &address, &n)) {
        snprintf(message, cap, "--host %s: expected an address such as 127.0.0.1", options->host);
        free(h);
        return false;
    }
    h->resume = evtimer_new(base, on_resume, h);
    h->listener = evconnlistener_new_bind(
        base, on_accept, h, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC, 1024,
        (struct sockaddr *)&address, (int)n);
    if (!h->listener || !h->resume) {
        snprintf(message, cap, "%s port %d: %s", options->host, options->port, strerror(errno));
        http_close(h);
        return false;
    }
    evconnlistener_set_error_cb(h->listener, on_accept_error);
    h->port = bound_port(h->listener);
    *out = h;
    return true;
}

int http_port(const http *h) {
    return h->port;
}

int http_connections(const http *h) {
    return h->n_conns;
}

void http_stop_accepting(http *h) {
    if (h->listener) evconnlistener_free(h->listener);
    h->listener = NULL;
    h->stopping = true;
    for (http_conn *c = h->conns, *next; c; c = next) {
        next = c->next;
        if (c->state == CONN_IDLE || c->state == CONN_HEAD) conn_free(c);
    }
}

void http_close(http *h) {
    if (!h) return;
    h->stopping = true;
    while (h->conns) conn_free(h->conns);
    if (h->listener) evconnlistener_free(h->listener);
    if (h->resume) event_free(h->resume);
    free(h);
}
