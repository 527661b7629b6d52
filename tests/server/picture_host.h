/* SPDX-License-Identifier: MIT
 *
 * picture_host.h - a server of one picture on 127.0.0.1, for whoever fetches URLs: the file at
 * every path, but "/moved", which redirects to it, and "/never", which does not answer.
 */
#ifndef PICTURE_HOST_H
#define PICTURE_HOST_H

#include "serve_client.h"

typedef struct picture_host {
    int listener, port;
    const char *file; /* borrows */
    pthread_t thread;
} picture_host;

static inline void picture_host_answer(int fd, const char *bytes, size_t n) {
    char request[4096], head[256];
    ssize_t got = recv(fd, request, sizeof request - 1, 0);
    if (got <= 0) return;
    request[got] = '\0';
    if (strncmp(request, "GET /never", 10) == 0) {
        while (recv(fd, request, sizeof request, 0) > 0) continue; /* until the client goes */
    } else if (strncmp(request, "GET /moved", 10) == 0) {
        client_send(fd, head,
                    (size_t)sprintf(head, "HTTP/1.1 302 Found\r\nLocation: /page.png\r\n"
                                          "Content-Length: 0\r\n\r\n"));
    } else {
        client_send(fd, head,
                    (size_t)sprintf(head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n));
        client_send(fd, bytes, n);
    }
}

static inline void *picture_host_run(void *arg) {
    const picture_host *h = arg;
    size_t n;
    char *bytes = fixture_read_file(h->file, &n);
    int fd;
    while ((fd = accept(h->listener, NULL, NULL)) >= 0) {
        picture_host_answer(fd, bytes, n);
        close(fd);
    }
    free(bytes);
    return NULL;
}

static inline void picture_host_start(picture_host *h, const char *file) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    *h = (picture_host){.file = file};
    h->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(h->listener, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(h->listener, 8), 0);
    getsockname(h->listener, (struct sockaddr *)&a, &n);
    h->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&h->thread, NULL, picture_host_run, h), 0);
}

static inline void picture_host_stop(picture_host *h) {
    shutdown(h->listener, SHUT_RDWR);
    pthread_join(h->thread, NULL);
    close(h->listener);
}

#endif
