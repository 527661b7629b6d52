/* SPDX-License-Identifier: MIT
 *
 * helper.c - see helper.h. A packet with a file goes in (a picture's bytes, or nothing), a packet
 * with a file comes back. The helper itself only forks, waits and passes on; it reads nothing that
 * a stranger wrote but the child's report, whose every field is checked.
 */
#define _GNU_SOURCE
#include "helper.h"
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELPER_FD 3   /* the socket, inside the helper */
#define POLL_MS 20    /* how often a waiting worker looks whether its client is gone */
#define GRACE_MS 1000 /* a child's own deadline comes first */

extern char **environ;

typedef enum helper_kind { HELPER_FETCH, HELPER_DECODE, HELPER_CANCEL } helper_kind;

typedef struct helper_request {
    int32_t kind;
    uint64_t n_bytes;    /* in the file */
    uint64_t pixels_max; /* of the picture */
    char url[HELPER_URL_MAX + 1];
} helper_request;

void helper_say(helper_report *r, nr_status status, const char *fmt, ...) {
    va_list args;
    r->status = status;
    va_start(args, fmt);
    vsnprintf(r->message, sizeof r->message, fmt, args);
    va_end(args);
}

/* ---- packets with a file -------------------------------------------------------------------- */

static bool send_packet(int fd, const void *bytes, size_t n, int file) {
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = n};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (file >= 0) {
        m.msg_control = control.room;
        m.msg_controllen = sizeof control.room;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &file, sizeof file);
    }
    ssize_t sent;
    do sent = sendmsg(fd, &m, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)n;
}

/* *file is -1 where none came. */
static bool receive_packet(int fd, void *bytes, size_t n, int *file) {
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec part = {.iov_base = bytes, .iov_len = n};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = sizeof control.room};
    ssize_t got;
    do got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    struct cmsghdr *c = got > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    *file = -1;
    if (c && c->cmsg_type == SCM_RIGHTS) memcpy(file, CMSG_DATA(c), sizeof *file);
    if (got == (ssize_t)n) return true;
    if (*file >= 0) close(*file);
    *file = -1;
    return false;
}

/* ---- the helper's process ------------------------------------------------------------------- */

typedef struct nest {
    net_range nets[16];
    int n_nets;
    helper_report *report; /* shared with the child of the moment */
} nest;

static _Noreturn void run_child(const nest *n, const helper_request *r, int in_fd, int out_fd) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(HELPER_FD);
    if (r->kind == HELPER_FETCH)
        fetch_run(r->url, n->nets, n->n_nets, out_fd, n->report);
    else
        decode_run(in_fd, (size_t)r->n_bytes, r->pixels_max, out_fd, n->report);
    _exit(0);
}

/* True when it ended by itself with status 0. */
static bool await_child(pid_t pid, int timeout_ms, bool *cancelled) {
    int pidfd = pidfd_open(pid, 0), status = 0;
    struct pollfd fds[] = {{.fd = pidfd, .events = POLLIN}, {.fd = HELPER_FD, .events = POLLIN}};
    int n = pidfd >= 0 ? poll(fds, 2, timeout_ms) : 0;
    *cancelled = n > 0 && fds[1].revents != 0; /* a cancel, or the server is gone */
    if (n <= 0 || !(fds[0].revents & POLLIN)) kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (pidfd >= 0) close(pidfd);
    if (n == 0) return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Nothing that a taken-over child wrote goes further unseen. What it says is about its picture or
 * its URL, never about the service. */
static void clean_report(helper_report *r) {
    static const int32_t known[] = {NR_STATUS_OK,    NR_STATUS_FORMAT,  NR_STATUS_UNSUPPORTED,
                                    NR_STATUS_LIMIT, NR_STATUS_TIMEOUT, NR_STATUS_IO,
                                    NR_STATUS_NO_MEMORY};
    bool is_known = false;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) is_known |= r->status == known[i];
    if (!is_known) r->status = NR_STATUS_FORMAT;
    r->message[sizeof r->message - 1] = '\0';
    for (char *p = r->message; *p; p++)
        if (*p < 32 || *p > 126) *p = '?';
}

static void serve_request(nest *n, const helper_request *r, int in_fd) {
    bool cancelled = false;
    int out_fd = memfd_create("result", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool fetches = r->kind == HELPER_FETCH;
    *n->report = (helper_report){.status = NR_STATUS_INTERNAL};
    pid_t pid = out_fd >= 0 ? fork() : -1;
    if (pid == 0) run_child(n, r, in_fd, out_fd);
    bool whole =
        pid > 0 &&
        await_child(pid, (fetches ? HELPER_FETCH_MS : HELPER_DECODE_MS) + GRACE_MS, &cancelled);
    helper_report report = *n->report;
    clean_report(&report);
    if (pid < 0)
        helper_say(&report, NR_STATUS_NO_MEMORY, "no process for the picture");
    else if (!whole && cancelled)
        helper_say(&report, NR_STATUS_CANCELLED, "the client is gone");
    else if (!whole && fetches)
        helper_say(&report, NR_STATUS_IO, "image URL: could not be fetched");
    else if (!whole)
        helper_say(&report, NR_STATUS_FORMAT, "the picture cannot be decoded safely");
    send_packet(HELPER_FD, &report, sizeof report, out_fd);
    if (out_fd >= 0) close(out_fd);
}

int helper_main(int argc, char **argv) {
    static nest n;
    helper_request r;
    int in_fd;
    for (int i = 1; i < argc; i++)
        if (n.n_nets == 16 || !net_parse(argv[i], &n.nets[n.n_nets++])) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN); /* Ctrl-C is for the server, which ends us by closing the socket */
    signal(SIGTERM, SIG_IGN);
    n.report =
        mmap(NULL, sizeof *n.report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (n.report == MAP_FAILED) return 1;
    while (receive_packet(HELPER_FD, &r, sizeof r, &in_fd)) {
        r.url[HELPER_URL_MAX] = '\0';
        if (r.kind != HELPER_CANCEL) serve_request(&n, &r, in_fd); /* else: came too late */
        if (in_fd >= 0) close(in_fd);
    }
    return 0;
}

/* ---- the server's side ---------------------------------------------------------------------- */

#define FAIL(code, ...)                                                                            \
    do {                                                                                           \
        *err = (nr_error){.status = NR_STATUS_##code, .file = __FILE__, .line = __LINE__};         \
        snprintf(err->message, sizeof err->message, __VA_ARGS__);                                  \
        return NR_STATUS_##code;                                                                   \
    } while (0)

/* "newsreader serve-helper NET..." with the socket as HELPER_FD. */
static bool spawn(helper *h, int fd) {
    char nets[16][64], *argv[20] = {(char *)"newsreader", (char *)"serve-helper"};
    posix_spawn_file_actions_t actions;
    for (int i = 0; i < h->n_nets; i++) {
        net_format(&h->nets[i], nets[i], sizeof nets[i]);
        argv[2 + i] = nets[i];
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, HELPER_FD);
    posix_spawn_file_actions_addclosefrom_np(&actions, HELPER_FD + 1);
    int bad = posix_spawn(&h->pid, "/proc/self/exe", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return bad == 0;
}

static nr_status start(helper *h, nr_error *err) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        FAIL(IO, "helper process: %s", strerror(errno));
    bool fine = spawn(h, pair[1]);
    close(pair[1]);
    if (!fine) {
        close(pair[0]);
        FAIL(IO, "helper process: %s", strerror(errno));
    }
    h->fd = pair[0];
    return NR_STATUS_OK;
}

nr_status helper_open(helper *h, const net_range *nets, int n_nets, nr_error *err) {
    *h = (helper){.fd = -1, .nets = nets, .n_nets = n_nets};
    return start(h, err);
}

void helper_close(helper *h) {
    if (h->fd < 0) return;
    close(h->fd);
    while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR) continue;
    h->fd = -1;
}

/* Waits for the answer; tells the helper once when the client is gone. */
static bool await_report(helper *h, const atomic_bool *cancelled, helper_report *report,
                         int *file) {
    struct pollfd p = {.fd = h->fd, .events = POLLIN};
    bool told = false;
    while (poll(&p, 1, POLL_MS) <= 0) {
        if (told || !atomic_load(cancelled)) continue;
        static const helper_request cancel = {.kind = HELPER_CANCEL};
        told = true;
        if (!send_packet(h->fd, &cancel, sizeof cancel, -1)) break;
    }
    return receive_packet(h->fd, report, sizeof *report, file);
}

static nr_status ask(helper *h, const helper_request *r, int in_fd, const atomic_bool *cancelled,
                     helper_report *report, int *file, nr_error *err) {
    if (h->fd < 0) {
        nr_status status = start(h, err);
        if (status != NR_STATUS_OK) return status;
    }
    if (!send_packet(h->fd, r, sizeof *r, in_fd) || !await_report(h, cancelled, report, file)) {
        helper_close(h); /* it was killed; the next request starts another */
        FAIL(INTERNAL, "helper process: it ended");
    }
    if (report->status == NR_STATUS_OK) return NR_STATUS_OK;
    if (*file >= 0) close(*file);
    *err = (nr_error){.status = report->status, .file = __FILE__, .line = __LINE__};
    snprintf(err->message, sizeof err->message, "%s", report->message);
    return report->status;
}

/* Does the file hold what the report says, and will it, whoever else still has it open? */
static bool holds(int file, uint64_t n_bytes) {
    struct stat st;
    return file >= 0 && fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE) == 0 &&
           fstat(file, &st) == 0 && (uint64_t)st.st_size >= n_bytes;
}

nr_status helper_fetch(helper *h, const char *url, const atomic_bool *cancelled, uint8_t **out,
                       size_t *n_bytes, nr_error *err) {
    helper_request r = {.kind = HELPER_FETCH};
    helper_report report;
    int file;
    snprintf(r.url, sizeof r.url, "%s", url);
    nr_status status = ask(h, &r, -1, cancelled, &report, &file, err);
    if (status != NR_STATUS_OK) return status;
    size_t n = (size_t)report.n_bytes;
    bool whole = n > 0 && n <= HELPER_BYTES_MAX && holds(file, n);
    void *bytes = whole ? mmap(NULL, n, PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
    if (file >= 0) close(file);
    if (whole && bytes == MAP_FAILED) FAIL(NO_MEMORY, "image URL: no room for its bytes");
    if (!whole) FAIL(FORMAT, "image URL: nothing there");
    *out = bytes;
    *n_bytes = n;
    return NR_STATUS_OK;
}

void helper_release(uint8_t *bytes, size_t n_bytes) {
    munmap(bytes, n_bytes);
}

static nr_status take_pixels(const helper *h, const helper_report *report, int file,
                             nr_picture **out, nr_error *err) {
    uint64_t n_pixels = (uint64_t)(uint32_t)report->width * (uint32_t)report->height;
    uint64_t n = 3 * n_pixels;
    if (report->width < 1 || report->height < 1 || report->n_bytes != n || !holds(file, n) ||
        (h->pixels_max > 0 && n_pixels > h->pixels_max))
        FAIL(FORMAT, "the picture cannot be decoded safely");
    void *pixels = mmap(NULL, (size_t)n, PROT_READ, MAP_PRIVATE, file, 0);
    if (pixels == MAP_FAILED) FAIL(NO_MEMORY, "picture of %d x %d", report->width, report->height);
    nr_status status = nr_picture_from_rgb(pixels, report->width, report->height, out, err);
    munmap(pixels, (size_t)n);
    return status;
}

nr_status helper_decode(helper *h, const uint8_t *bytes, size_t n_bytes,
                        const atomic_bool *cancelled, nr_picture **out, nr_error *err) {
    helper_request r = {.kind = HELPER_DECODE, .n_bytes = n_bytes, .pixels_max = h->pixels_max};
    helper_report report;
    int in_fd = memfd_create("picture", MFD_CLOEXEC), file = -1;
    if (n_bytes == 0) {
        if (in_fd >= 0) close(in_fd);
        FAIL(FORMAT, "the picture has no bytes");
    }
    if (in_fd < 0 || write(in_fd, bytes, n_bytes) != (ssize_t)n_bytes) {
        if (in_fd >= 0) close(in_fd);
        FAIL(NO_MEMORY, "no room to hand the picture on");
    }
    nr_status status = ask(h, &r, in_fd, cancelled, &report, &file, err);
    close(in_fd);
    if (status != NR_STATUS_OK) return status;
    h->damaged = report.damaged != 0;
    status = take_pixels(h, &report, file, out, err);
    if (file >= 0) close(file);
    return status;
}
