/* SPDX-License-Identifier: MIT
 *
 * test_rebinding.c - names that change their minds. The program goes into a network of its own
 * (namespaces of user, network and mounts; no root is needed), which has a public address on its
 * loopback, a name server on 127.0.0.1 that says what the tests want, and a server on 127.0.0.1
 * that nobody may reach. Where the system allows no namespaces, it says so and skips.
 */
#define _GNU_SOURCE
#include "../engine/engine_fixture.h"

#include "helper.h"
#include "server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>

#define PUBLIC "93.184.216.34" /* a global one; here it is ours */

static const atomic_bool never = false;
static const char *missing; /* what the system does not allow, or NULL */

/* ---- the network ----------------------------------------------------------------------------- */

static bool write_text(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool fine = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) close(fd);
    return fine;
}

static bool become_root_inside(unsigned uid) {
    char map[64];
    snprintf(map, sizeof map, "0 %u 1", uid);
    return write_text("/proc/self/uid_map", map);
}

static bool set_address(const char *name, const char *text) {
    struct ifreq r = {0};
    struct sockaddr_in a = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    inet_pton(AF_INET, text, &a.sin_addr);
    memcpy(&r.ifr_addr, &a, sizeof a);
    bool fine = ioctl(fd, SIOCSIFADDR, &r) == 0;
    r.ifr_flags = IFF_UP | IFF_RUNNING;
    fine = fine && ioctl(fd, SIOCSIFFLAGS, &r) == 0;
    close(fd);
    return fine;
}

static bool put_over(const char *path, const char *text) {
    char file[4096];
    return write_text(fixture_path(file, "%s/file", temp), text) &&
           mount(file, path, NULL, MS_BIND, NULL) == 0 && remove(file) == 0;
}

static const char *enter_network(void) {
    unsigned uid = (unsigned)getuid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) != 0) return "namespaces";
    if (!become_root_inside(uid)) return "a map of users";
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return "mounts of its own";
    if (!set_address("lo", "127.0.0.1") || !set_address("lo:1", PUBLIC)) return "addresses";
    if (!put_over("/etc/resolv.conf", "nameserver 127.0.0.1\n")) return "/etc/resolv.conf";
    if (!put_over("/etc/nsswitch.conf", "hosts: dns\n")) return "/etc/nsswitch.conf";
    return NULL;
}

/* ---- the name server ------------------------------------------------------------------------- */

enum { TYPE_A = 1, TYPE_AAAA = 28 };

/* What a name is, each time it is asked: the last stays. */
typedef struct name {
    const char *name;
    const char *answers[2]; /* addresses, with blanks between several */
    atomic_int n_asked;     /* for the kind of address that it has */
} name;

static name names[] = {{"public", {PUBLIC, PUBLIC}, 0},
                       {"later", {PUBLIC, "127.0.0.1"}, 0},
                       {"both", {PUBLIC " 127.0.0.1", PUBLIC " 127.0.0.1"}, 0},
                       {"inside", {"127.0.0.1", "127.0.0.1"}, 0},
                       {"any", {"0.0.0.0", "0.0.0.0"}, 0},
                       {"six", {"::1", "::1"}, 0},
                       {"mapped", {"::ffff:127.0.0.1", "::ffff:127.0.0.1"}, 0},
                       {"nat64", {"64:ff9b::7f00:1", "64:ff9b::7f00:1"}, 0}};

static name *name_of(const char *text) {
    for (size_t i = 0; i < NR_COUNT(names); i++)
        if (strcmp(names[i].name, text) == 0) return &names[i];
    return NULL;
}

/* Appends one answer for each address of this type; how many. */
static int put_answers(uint8_t *packet, size_t *n, const char *addresses, int type) {
    char text[128], *rest = text;
    int n_answers = 0;
    snprintf(text, sizeof text, "%s", addresses);
    for (char *one; (one = strsep(&rest, " "));) {
        uint8_t bytes[16];
        bool six = strchr(one, ':') != NULL;
        uint8_t size = six ? 16 : 4;
        if (six != (type == TYPE_AAAA) || inet_pton(six ? AF_INET6 : AF_INET, one, bytes) != 1)
            continue;
        const uint8_t head[] = {0xc0, 12, 0, (uint8_t)type, 0, 1, 0, 0, 0, 0, 0, size};
        memcpy(packet + *n, head, sizeof head);
        memcpy(packet + *n + sizeof head, bytes, size);
        *n += sizeof head + size;
        n_answers++;
    }
    return n_answers;
}

/* The first label of the question says which name. */
static size_t answer_question(uint8_t packet[512], size_t n) {
    char label[64] = "";
    size_t at = 12, size = packet[12];
    if (n < 17 || size >= sizeof label || 12 + size >= n) return 0;
    memcpy(label, packet + 13, size);
    while (at < n && packet[at]) at += 1 + (size_t)packet[at];
    if (at + 5 > n) return 0;
    int type = packet[at + 2];
    name *asked = name_of(label);
    n = at + 5;
    memset(packet + 6, 0, 6); /* no answers, nothing else */
    packet[2] = 0x81;
    packet[3] = asked ? 0x80 : 0x83; /* or: no such name */
    if (!asked) return n;
    int i = NR_MIN(atomic_load(&asked->n_asked), 1);
    packet[7] = (uint8_t)put_answers(packet, &n, asked->answers[i], type);
    if (packet[7] > 0) atomic_fetch_add(&asked->n_asked, 1);
    return n;
}

static void *run_names(void *arg) {
    int fd = *(int *)arg;
    uint8_t packet[512];
    struct sockaddr_in from;
    for (;;) {
        socklen_t size = sizeof from;
        ssize_t n = recvfrom(fd, packet, 256, 0, (struct sockaddr *)&from, &size);
        if (n <= 0) return NULL;
        size_t put = answer_question(packet, (size_t)n);
        if (put) sendto(fd, packet, put, 0, (struct sockaddr *)&from, size);
    }
}

/* ---- servers --------------------------------------------------------------------------------- */

typedef struct place {
    int fd;
    atomic_int n_hits;
    pthread_t thread;
} place;

static place outside, canary, canary_six;
static int names_fd, port;
static pthread_t names_thread;

static void *run_place(void *arg) {
    place *p = arg;
    char request[2048], reply[512];
    int fd;
    while ((fd = accept(p->fd, NULL, NULL)) >= 0) {
        atomic_fetch_add(&p->n_hits, 1);
        ssize_t n = recv(fd, request, sizeof request - 1, 0);
        request[n > 0 ? n : 0] = '\0';
        snprintf(reply, sizeof reply, "HTTP/1.1 200 a\r\nContent-Length: 5\r\n\r\nbytes");
        if (strncmp(request, "GET /to-", 8) == 0)
            snprintf(reply, sizeof reply,
                     "HTTP/1.1 302 a\r\nLocation: http://%.*s.test:%d/\r\n"
                     "Content-Length: 0\r\n\r\n",
                     (int)strcspn(request + 8, " "), request + 8, port);
        send(fd, reply, strlen(reply), MSG_NOSIGNAL);
        close(fd);
    }
    return NULL;
}

static int open_socket(int kind, const char *address, int at) {
    struct sockaddr_in6 six = {
        .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)at), .sin6_addr = in6addr_loopback};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)at)};
    bool is_six = strchr(address, ':') != NULL;
    int fd = socket(is_six ? AF_INET6 : AF_INET, kind | SOCK_CLOEXEC, 0);
    if (!is_six) inet_pton(AF_INET, address, &four.sin_addr);
    if (bind(fd, is_six ? (void *)&six : (void *)&four, is_six ? sizeof six : sizeof four) != 0 ||
        (kind == SOCK_STREAM && listen(fd, 8) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static void open_place(place *p, const char *address) {
    p->fd = open_socket(SOCK_STREAM, address, port);
    if (p->fd >= 0) assert_int_equal(pthread_create(&p->thread, NULL, run_place, p), 0);
}

static void close_place(place *p) {
    if (p->fd < 0) return;
    shutdown(p->fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->fd);
}

static int set_up(void **state) {
    (void)state;
    if (missing) return 0;
    port = 8080; /* nobody else is in this network */
    open_place(&outside, PUBLIC);
    open_place(&canary, "127.0.0.1");
    open_place(&canary_six, "::1");
    names_fd = open_socket(SOCK_DGRAM, "127.0.0.1", 53);
    assert_true(outside.fd >= 0 && canary.fd >= 0 && names_fd >= 0);
    assert_int_equal(pthread_create(&names_thread, NULL, run_names, &names_fd), 0);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    if (missing) return 0;
    close_place(&outside);
    close_place(&canary);
    close_place(&canary_six);
    shutdown(names_fd, SHUT_RDWR);
    pthread_join(names_thread, NULL);
    close(names_fd);
    return 0;
}

static void need_network(void) {
    for (size_t i = 0; i < NR_COUNT(names); i++) atomic_store(&names[i].n_asked, 0);
    if (!missing) return;
    print_message("this system does not allow: %s\n", missing);
    skip();
}

static nr_status fetch(helper *h, const char *host, int at, const char *path) {
    char url[256];
    uint8_t *bytes = NULL;
    size_t n;
    nr_error problem = {0};
    snprintf(url, sizeof url, "http://%s:%d%s", host, at, path);
    nr_status status = helper_fetch(h, url, &never, &bytes, &n, &problem);
    if (status == NR_STATUS_OK) helper_release(bytes, n);
    return status;
}

static int n_inside(void) {
    return atomic_load(&canary.n_hits) + atomic_load(&canary_six.n_hits);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* A public name is fetched; once it says 127.0.0.1 it is not, and no socket is opened there. A name
 * is asked once a fetch, so that there is no second answer between looking and connecting. */
static void test_changes(void **state) {
    helper h;
    (void)state;
    need_network();
    MUST(helper_open(&h, NULL, 0, err));
    for (int i = 0; i < 3; i++) {
        int before = atomic_load(&outside.n_hits);
        nr_status status = fetch(&h, "later.test", port, "/");
        assert_int_equal(status, i == 0 ? NR_STATUS_OK : NR_STATUS_IO);
        assert_int_equal(atomic_load(&outside.n_hits) - before, i == 0);
        assert_int_equal(atomic_load(&name_of("later")->n_asked), i + 1);
    }
    assert_int_equal(fetch(&h, "public.test", port, "/"), NR_STATUS_OK);
    assert_int_equal(n_inside(), 0);
    helper_close(&h);
}

/* Several addresses at once: the public one does not answer on that port, the other would. */
static void test_several(void **state) {
    helper h;
    (void)state;
    need_network();
    MUST(helper_open(&h, NULL, 0, err));
    place silent = {.fd = open_socket(SOCK_STREAM, "127.0.0.1", port + 1)};
    assert_true(silent.fd >= 0);
    assert_int_equal(pthread_create(&silent.thread, NULL, run_place, &silent), 0);
    assert_int_equal(fetch(&h, "both.test", port + 1, "/"), NR_STATUS_IO);
    assert_int_equal(atomic_load(&silent.n_hits), 0);
    assert_int_equal(fetch(&h, "both.test", port, "/"), NR_STATUS_OK); /* the public one */
    assert_int_equal(n_inside(), 0);
    close_place(&silent);
    helper_close(&h);
}

static void test_other_spellings(void **state) {
    static const char *const hosts[] = {"inside.test", "any.test", "six.test", "mapped.test",
                                        "nat64.test"};
    helper h;
    (void)state;
    need_network();
    MUST(helper_open(&h, NULL, 0, err));
    for (size_t i = 0; i < NR_COUNT(hosts); i++) {
        char path[64];
        if (fetch(&h, hosts[i], port, "/") == NR_STATUS_OK) fail_msg("%s was fetched", hosts[i]);
        snprintf(path, sizeof path, "/to-%.*s", (int)strcspn(hosts[i], "."), hosts[i]);
        if (fetch(&h, "public.test", port, path) == NR_STATUS_OK) fail_msg("%s was followed", path);
    }
    assert_int_equal(atomic_load(&outside.n_hits) > 0, 1);
    assert_int_equal(n_inside(), 0);
    helper_close(&h);
}

/* The same where 127.0.0.1 is allowed: those servers are there, and would have been reached. */
static void test_allowed(void **state) {
    net_range net;
    helper h;
    (void)state;
    need_network();
    assert_true(net_parse("127.0.0.1", &net));
    MUST(helper_open(&h, &net, 1, err));
    assert_int_equal(fetch(&h, "later.test", port, "/"), NR_STATUS_OK);
    assert_int_equal(n_inside(), 0);
    assert_int_equal(fetch(&h, "later.test", port, "/"), NR_STATUS_OK);
    assert_int_equal(n_inside(), 1);
    assert_int_equal(fetch(&h, "public.test", port, "/to-inside"), NR_STATUS_OK);
    assert_int_equal(n_inside(), 2);
    helper_close(&h);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "serve-helper") == 0) return helper_main(argc - 1, argv + 1);
    fixture_temp_dir(temp);
    missing = enter_network();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes), cmocka_unit_test(test_several),
        cmocka_unit_test(test_other_spellings), cmocka_unit_test(test_allowed)};
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    fixture_remove_tree(temp);
    return failed;
}
