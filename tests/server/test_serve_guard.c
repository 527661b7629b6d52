/* SPDX-License-Identifier: MIT
 *
 * test_serve_guard.c - the service under those who mean it ill and under load: hostile requests,
 * keys, full queues, clients that leave or are slow, many at once. With a small checkpoint of
 * random weights.
 */
#include "serve_client.h"

#include <png.h>
#include <stdatomic.h>
#include <sys/resource.h>

#define KEY "a-key-of-twenty-chars"
#define PLACES 10 /* --slots 3 --queue 7 */

static char model[4096], keys[4096], log_path[4096];
static service running;
static char *pages[3]; /* data: URLs */

static int set_up(void **state) {
    static const char *const paths[] = {
        "samples/harbour-courier.png", "samples/northwind-daily.png", "samples/valley-gazette.png"};
    (void)state;
    fixture_temp_dir(temp);
    fixture_make_checkpoint("odd", fixture_path(model, "%s/odd", temp), "");
    fixture_write_file(fixture_path(keys, "%s/keys", temp), "# mine\n" KEY "\n",
                       strlen("# mine\n" KEY "\n"));
    const char *more[] = {"--model", model, "--slots", "3", "--queue", "7", NULL};
    for (int i = 0; i < 3; i++) pages[i] = data_url(paths[i]);
    running = serve_start(fixture_path(log_path, "%s/log", temp), more);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    int code = serve_stop(&running);
    for (int i = 0; i < 3; i++) free(pages[i]);
    fixture_remove_tree(temp);
    return code;
}

/* Refused with a status of 400 or more, and the connection closed (client_raw reads to the end). */
static void test_hostile(void **state) {
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n" H H "\r\n",
        "GET / HTTP/1.1\nHost: localhost\n\n",
        "GET /  HTTP/1.1\r\n" H "\r\n",
        "GET / HTTP/3.0\r\n" H "\r\n",
        "GET / HTTP/1.1\r\n" H " folded: a\r\n\r\n",
        "GET / HTTP/1.1\r\n" H "a : b\r\n\r\n",
        "GET / HTTP/1.1\r\n" H "a\r\n\r\n",
        "GET / HTTP/1.1\r\n" H "a: b\x01\r\n\r\n",
        "GET http://localhost/ HTTP/1.1\r\n" H "\r\n",
        "GET /%00 HTTP/1.1\r\nConnection: close\r\n" H "\r\n",
        "GET /../health HTTP/1.1\r\nConnection: close\r\n" H "\r\n",
        "GET //health HTTP/1.1\r\nConnection: close\r\n" H "\r\n",
        "CONNECT localhost:80 HTTP/1.1\r\n" H "\r\n",
        "TRACE / HTTP/1.1\r\nConnection: close\r\n" H "\r\n",
        "POST /v1/read HTTP/1.1\r\n" H "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "POST /v1/read HTTP/1.1\r\n" H "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "POST /v1/read HTTP/1.1\r\n" H "Content-Length: 2, 2\r\n\r\n{}",
        "POST /v1/read HTTP/1.1\r\n" H "Content-Length: -2\r\n\r\n{}",
        "POST /v1/read HTTP/1.1\r\n" H
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/read HTTP/1.1\r\n" H JSON_TYPE "Content-Length: 99999999999\r\n\r\n{}",
        "POST /v1/read HTTP/1.1\r\n" H JSON_TYPE "Content-Length: 33554433\r\n\r\n{}",
        "POST /v1/read HTTP/1.1\r\nConnection: close\r\n" H JSON_TYPE "\r\n",
        "POST /v1/read HTTP/1.1\r\n" H "Content-Type: text/html\r\nContent-Length: 2\r\n\r\n{}",
        "GET /health HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}",
        "GET /health HTTP/1.1\r\nConnection: close\r\nHost: evil.example\r\n\r\n",
        "GET /health HTTP/1.1\r\nConnection: close\r\nHost: localhost.evil.example\r\n\r\n",
        "GET /health HTTP/1.1\r\nConnection: close\r\nHost: localhost:80x\r\n\r\n",
        "GET /health HTTP/1.1\r\nConnection: close\r\n" H "Origin: http://evil.example\r\n\r\n",
        "GET /health HTTP/1.1\r\nConnection: close\r\n" H "Origin: null\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"};
    (void)state;
    for (size_t i = 0; i < NR_COUNT(requests); i++) {
        reply r = client_raw(&running, requests[i], strlen(requests[i]));
        if (r.status < 400 || r.status == 500) fail_msg("%d: %s", r.status, requests[i]);
        const char *second = r.bytes[0] ? strstr(r.bytes + 1, "HTTP/1.1 ") : NULL;
        if (second) fail_msg("two answers: %s", requests[i]);
        reply_free(&r);
    }
    char *long_line = malloc(20000);
    memset(long_line, 'a', 20000);
    memcpy(long_line, "GET /", 5);
    reply r = client_raw(&running, long_line, 20000);
    assert_int_equal(r.status, 431);
    reply_free(&r);
    free(long_line);
    await_idle(&running, PLACES);
}

/* What is wrong with a request is said, with the right status, in the shape of the route. */
static void test_bad_bodies(void **state) {
    static const struct {
        const char *path, *body;
        int status;
    } cases[] = {
        {"/v1/chat/completions", "", 400},
        {"/v1/chat/completions", "{", 400},
        {"/v1/chat/completions", "[]", 400},
        {"/v1/chat/completions", "{}", 400},
        {"/v1/chat/completions", "{\"messages\":[]}", 400},
        {"/v1/chat/completions", "{\"messages\":[{\"role\":\"root\",\"content\":\"a\"}]}", 400},
        {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":1}]}", 400},
        {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}", 400},
        {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}",
         400},
        {"/v1/chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"max_tokens\":0}", 400},
        {"/v1/chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"max_tokens\":1e9}", 400},
        {"/v1/chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"temperature\":-1}", 400},
        {"/v1/chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"top_p\":0}", 400},
        {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"n\":2}",
         400},
        {"/v1/chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"stop\":[\"\"]}", 400},
        {"/v1/chat/completions", "{\"messages\":[],\"messages\":[]}", 400},
        {"/v1/read", "{\"image\":\"data:image/png;base64,####\"}", 400},
        {"/v1/read", "{\"image\":\"data:image/png,abc\"}", 400},
        {"/v1/read", "{\"image\":\"file:///etc/passwd\"}", 400},
        {"/v1/read", "{\"image\":\"data:image/png;base64,\"}", 422},
        {"/v1/read", "{\"image\":\"data:image/png;base64,AAAA\"}", 422},
        {"/v1/read", "{\"image\":\"data:image/png;base64,AAAA\",\"fields\":\"headline,x\"}", 400},
        {"/v1/read", "{\"image\":\"data:image/png;base64,AAAA\",\"fields\":\"date,date\"}", 400},
        {"/analyze_image_url", "{}", 400},
        {"/analyze_image_url", "{\"args\":1}", 400},
        {"/analyze_image_url", "{\"args\":[\"ftp://a\"]}", 400}};
    (void)state;
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        reply r = client_request(&running, "POST", cases[i].path, JSON_TYPE, cases[i].body,
                                 strlen(cases[i].body));
        if (r.status != cases[i].status)
            fail_msg("%s %s: %d", cases[i].path, cases[i].body, r.status);
        json_t *e = reply_json(&r, cases[i].status), *error = json_object_get(e, "error");
        if (cases[i].path[1] == 'a')
            assert_true(json_is_string(error));
        else
            assert_true(json_is_string(json_object_get(error, "type")));
        json_decref(e);
    }
    char *deep = malloc(100000);
    memset(deep, '[', 100000);
    reply r = client_request(&running, "POST", "/v1/read", JSON_TYPE, deep, 100000);
    assert_int_equal(r.status, 400);
    reply_free(&r);
    for (int i = 0; i < 99999; i += 3) memcpy(deep + i, "{},", 3);
    deep[0] = '[';
    r = client_request(&running, "POST", "/v1/read", JSON_TYPE, deep, 99999);
    assert_int_equal(r.status, 400);
    reply_free(&r);
    free(deep);
}

/* A form, whole and cut off at many places. */
static void test_forms(void **state) {
    static const char type[] = "Content-Type: multipart/form-data; boundary=b0\r\n";
    size_t n;
    char *bytes = fixture_read_file("samples/valley-gazette.png", &n), *form = malloc(n + 1024);
    (void)state;
    size_t used = (size_t)sprintf(form, "--b0\r\nContent-Disposition: form-data; name=\"image\"; "
                                        "filename=\"a\"\r\nContent-Type: image/png\r\n\r\n");
    memcpy(form + used, bytes, n);
    used += n;
    used += (size_t)sprintf(form + used, "\r\n--b0\r\nContent-Disposition: form-data; "
                                         "name=\"fields\"\r\n\r\ndate\r\n--b0--\r\n");
    reply r = client_request(&running, "POST", "/v1/read", type, form, used);
    json_t *answer = reply_json(&r, 200);
    assert_int_equal(json_object_size(json_object_get(answer, "fields")), 1);
    json_decref(answer);
    for (size_t at = 4; at < used; at += at < 120 ? 7 : used - at < 120 ? 9 : 20011) {
        r = client_request(&running, "POST", "/v1/read", type, form, used - at);
        if (r.status != 400) fail_msg("%zu bytes missing: %d", at, r.status);
        reply_free(&r);
    }
    free(form);
    free(bytes);
}

/* Several requests in one packet, and one in many: one answer each, in order. */
static void test_keep_alive(void **state) {
    static const char two[] = "GET /health HTTP/1.1\r\n" H "\r\n"
                              "GET /v1/models HTTP/1.1\r\nConnection: close\r\n" H "\r\n";
    (void)state;
    reply r = client_raw(&running, two, strlen(two));
    const char *models = strstr(r.bytes, "\"object\":\"list\"");
    assert_non_null(models);
    assert_non_null(strstr(r.bytes, "\"status\":\"ok\""));
    assert_true(strstr(r.bytes, "\"status\":\"ok\"") < models);
    reply_free(&r);
    int fd = client_connect(&running);
    for (size_t i = 0; i < strlen(two); i++) client_send(fd, two + i, 1);
    r = client_receive(fd);
    assert_non_null(strstr(r.bytes, "\"object\":\"list\""));
    reply_free(&r);
}

/* Every route with every kind of key: nothing but /health answers without one. */
static void test_keys(void **state) {
    /* "any:a-key-of-twenty-chars" */
    static const char basic[] = "YW55OmEta2V5LW9mLXR3ZW50eS1jaGFycw==";
    const char *more[] = {"--model", model, "--api-key-file", keys, NULL};
    char path[4096], good[256], basic_line[256];
    service s = serve_start(fixture_path(path, "%s/log-keys", temp), more);
    const char *bad[] = {"",
                         "Authorization: Bearer\r\n",
                         "Authorization: Bearer x\r\n",
                         "Authorization: Bearer " KEY "x\r\n",
                         "Authorization: Bearer a-key-of-twenty-char\r\n",
                         "Authorization: " KEY "\r\n",
                         "Authorization: Basic eDp5\r\n",
                         "X-Api-Key: " KEY "\r\n"};
    (void)state;
    snprintf(good, sizeof good, "Authorization: Bearer %s\r\n", KEY);
    snprintf(basic_line, sizeof basic_line, "Authorization: Basic %s\r\n", basic);
    reply r = client_request(&s, "GET", "/openapi.json", good, NULL, 0);
    json_t *doc = reply_json(&r, 200), *ignored;
    const char *route;
    json_object_foreach(json_object_get(doc, "paths"), route, ignored) {
        bool post = json_object_get(json_object_get(json_object_get(doc, "paths"), route), "post");
        bool open = strcmp(route, "/health") == 0;
        for (size_t i = 0; i < NR_COUNT(bad); i++) {
            r = client_request(&s, post ? "POST" : "GET", route, bad[i], NULL, 0);
            if (r.status != (open ? 200 : 401)) fail_msg("%s with %s: %d", route, bad[i], r.status);
            reply_free(&r);
        }
        r = client_request(&s, "OPTIONS", route,
                           "Origin: http://evil.example\r\n"
                           "Access-Control-Request-Method: POST\r\n",
                           NULL, 0);
        assert_true(r.status >= 400 && r.status < 500);
        assert_null(strcasestr(r.bytes, "access-control-"));
        reply_free(&r);
        char query[256];
        snprintf(query, sizeof query, "%s?api_key=%s", route, KEY);
        r = client_request(&s, post ? "POST" : "GET", query, "", NULL, 0);
        assert_int_equal(r.status, open ? 200 : 401);
        reply_free(&r);
    }
    (void)ignored;
    r = client_request(&s, "GET", "/v1/models", basic_line, NULL, 0);
    assert_int_equal(r.status, 200);
    reply_free(&r);
    json_decref(doc);
    assert_int_equal(serve_stop(&s), 0);
    size_t n;
    char *text = fixture_read_file(path, &n);
    assert_true(n > 100);
    assert_null(strstr(text, "twenty")); /* keys are not in the log */
    free(text);
}

/* A head that is admitted holds its place while its body is missing. */
static int hold_place(const service *s) {
    char head[256];
    int n = sprintf(head, "POST /v1/read HTTP/1.1\r\nHost: localhost\r\n" JSON_TYPE
                          "Content-Length: 1000000\r\n\r\n{");
    int fd = client_connect(s);
    client_send(fd, head, (size_t)n);
    return fd;
}

static long long resident_bytes(const service *s) {
    reply r = client_get(s, "/memory_status");
    json_t *m = reply_json(&r, 200), *device = json_array_get(json_object_get(m, "devices"), 0);
    json_t *measured = json_object_get(device, "measured");
    long long n = json_integer_value(json_object_get(measured, "resident_bytes"));
    json_decref(m);
    return n;
}

/* Full: 503 with Retry-After to a client that has not sent a byte of its body. */
static void test_full(void **state) {
    int fds[PLACES];
    (void)state;
    for (int i = 0; i < PLACES; i++) fds[i] = hold_place(&running);
    for (int i = 0; i < 500 && client_places(&running) > 0; i++) usleep(10000);
    assert_int_equal(client_places(&running), 0);
    static const char head[] =
        "POST /v1/chat/completions HTTP/1.1\r\n" H JSON_TYPE "Content-Length: 1000000\r\n\r\n";
    reply r = client_raw(&running, head, strlen(head));
    assert_int_equal(r.status, 503);
    assert_non_null(strstr(r.bytes, "Retry-After: "));
    assert_non_null(strstr(r.body, "\"overloaded\""));
    reply_free(&r);
    for (int i = 0; i < PLACES; i++) close(fds[i]); /* clients that leave while sending */
    await_idle(&running, PLACES);
    r = client_post(&running, "/v1/chat/completions", chat_body(pages[0], "What?", 3));
    assert_int_equal(r.status, 200);
    reply_free(&r);
}

/* One key sends all it can; the other is answered, and in its turn. */
static void test_two_keys(void **state) {
    static const char both[] = KEY "\nanother-key-of-twenty\n";
    static const char head[] = "POST /v1/read HTTP/1.1\r\n" H JSON_TYPE "Authorization: Bearer " KEY
                               "\r\nContent-Length: 1000000\r\n\r\n";
    char path[4096], file[4096];
    const char *more[] = {"--model",        model, "--slots", "3", "--queue", "5",
                          "--api-key-file", file,  NULL};
    int fds[8], n_refused = 0;
    (void)state;
    fixture_write_file(fixture_path(file, "%s/two-keys", temp), both, strlen(both));
    service s = serve_start(fixture_path(path, "%s/log-two-keys", temp), more);
    for (int i = 0; i < 8; i++) {
        fds[i] = client_connect(&s);
        client_send(fds[i], head, strlen(head));
    }
    for (int i = 0; i < 500 && client_places(&s) > 4; i++) usleep(10000);
    assert_int_equal(client_places(&s), 4); /* as many as it has taken */
    for (int i = 0; i < 8; i++) {
        struct pollfd p = {.fd = fds[i], .events = POLLIN};
        if (poll(&p, 1, i < 4 ? 0 : 5000) == 0) continue;
        char text[256] = "";
        assert_true(recv(fds[i], text, sizeof text - 1, 0) > 0);
        assert_non_null(strstr(text, "503 Service Unavailable\r\n"));
        n_refused++;
    }
    assert_int_equal(n_refused, 4);
    json_t *body = chat_body(pages[0], "What?", 3);
    char *text = json_dumps(body, JSON_COMPACT);
    reply r = client_request(&s, "POST", "/v1/chat/completions",
                             JSON_TYPE "Authorization: Bearer another-key-of-twenty\r\n", text,
                             strlen(text));
    assert_int_equal(r.status, 200);
    reply_free(&r);
    free(text);
    json_decref(body);
    for (int i = 0; i < 8; i++) close(fds[i]);
    await_idle(&s, 8);
    assert_int_equal(serve_stop(&s), 0);
}

/* Clients that leave in every phase: before an answer, after its first bytes, unread. */
static void test_leavers(void **state) {
    json_t *body = chat_body(pages[1], "Tell me.", 400);
    (void)state;
    json_object_set_new(body, "stream", json_true());
    char *text = json_dumps(body, JSON_COMPACT), *request = malloc(strlen(text) + 256), c[64];
    int head = sprintf(
        request, "POST /v1/chat/completions HTTP/1.1\r\n" H JSON_TYPE "Content-Length: %zu\r\n\r\n",
        strlen(text));
    strcpy(request + head, text);
    for (int i = 0; i < full(24, 600); i++) {
        int fd = client_connect(&running);
        client_send(fd, request, strlen(request));
        if (i % 3 == 1) usleep((useconds_t)(i % 24) * 1500);
        if (i % 3 == 2) assert_true(recv(fd, c, sizeof c, 0) > 0);
        close(fd);
        if (i % 6 == 5) await_idle(&running, PLACES);
    }
    await_idle(&running, PLACES);
    free(request);
    free(text);
    json_decref(body);
}

/* A service with n connections to it, and what it held before them. */
typedef struct crowd {
    service s;
    int n, *fds; /* own */
    long long before;
} crowd;

static crowd crowd_open(int n, const char *log) {
    const char *more[] = {"--model", model, "--slots", "1", "--connections", "20000", NULL};
    crowd c = {.n = n};
    struct rlimit limit;
    char path[4096];
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < (rlim_t)n + 100) {
        print_message("%d files may be open, %d are needed\n", (int)limit.rlim_cur, n);
        skip();
    }
    c.fds = calloc((size_t)n, sizeof *c.fds);
    c.s = serve_start(fixture_path(path, log, temp), more);
    c.before = resident_bytes(&c.s);
    for (int i = 0; i < n; i++) assert_true((c.fds[i] = client_connect(&c.s)) >= 0);
    return c;
}

/* All leave, all places are free again. */
static void crowd_close(crowd *c) {
    for (int i = 0; i < c->n; i++)
        if (c->fds[i] >= 0) close(c->fds[i]);
    await_idle(&c->s, 33);
    assert_int_equal(serve_stop(&c->s), 0);
    free(c->fds);
}

static void check_answer(const service *s) {
    reply r = client_post(s, "/v1/chat/completions", chat_body(pages[0], "What?", 3));
    assert_int_equal(r.status, 200);
    reply_free(&r);
}

/* Streams that nobody reads: some are begun, the others refused; all cost little and hold up
 * nobody. */
static void test_mute_streams(void **state) {
    static const char get[] = "GET /memory_status/stream HTTP/1.1\r\n" H "\r\n";
    crowd c = crowd_open(full(1000, 10000), "%s/log-mute");
    int n_begun = 0, n_refused = 0;
    char head[16] = "";
    (void)state;
    for (int i = 0; i < c.n; i++) client_send(c.fds[i], get, strlen(get));
    for (int i = 0; i < full(3, 30); i++) {
        check_answer(&c.s);
        usleep(1000000); /* an event a second */
    }
    for (int i = 0; i < c.n; i++) { /* looked at, not taken */
        assert_true(recv(c.fds[i], head, 12, MSG_PEEK) == 12);
        n_begun += strcmp(head, "HTTP/1.1 200") == 0;
        n_refused += strcmp(head, "HTTP/1.1 503") == 0;
    }
    long long each = (resident_bytes(&c.s) - c.before) / c.n;
    print_message("%d streams begun that nobody reads, %d refused, %lld bytes each\n", n_begun,
                  n_refused, each);
    assert_true(n_begun >= 16);
    assert_int_equal(n_begun + n_refused, c.n);
    if (!SANITIZED) assert_true(each <= 65536);
    crowd_close(&c);
}

/* Connections that say nothing cost little, and others do not wait for them. */
static void test_idle_connections(void **state) {
    crowd c = crowd_open(full(1000, 10000), "%s/log-idle");
    (void)state;
    check_answer(&c.s);
    for (int i = 0; i < c.n; i += c.n / 10) { /* they are all still there, and served */
        static const char get[] = "GET /health HTTP/1.1\r\n" H "Connection: close\r\n\r\n";
        client_send(c.fds[i], get, strlen(get));
        reply r = client_receive(c.fds[i]);
        assert_int_equal(r.status, 200);
        reply_free(&r);
        c.fds[i] = -1;
    }
    long long each = (resident_bytes(&c.s) - c.before) / c.n;
    print_message("%d idle connections, %lld bytes each\n", c.n, each);
    if (!SANITIZED) assert_true(each <= 4096);
    crowd_close(&c);
}

/* Hardly any descriptors: clients wait their turn, nothing breaks, and all are served again at
 * once when some are given back. */
static void test_few_descriptors(void **state) {
    char path[4096], command[8192], program[4096];
    int fds[200];
    (void)state;
    fixture_build_dir(program);
    fixture_path(command, "%s/few", temp);
    FILE *f = fopen(command, "w");
    fprintf(f, "#!/bin/sh\nulimit -n 64\nexec %s/newsreader \"$@\"\n", program);
    fclose(f);
    chmod(command, 0700);
    const char *more[] = {"--model", model, "--slots", "1", NULL};
    service s = serve_start_program(command, fixture_path(path, "%s/log-few", temp), more);
    for (int i = 0; i < 200; i++) assert_true((fds[i] = client_connect(&s)) >= 0);
    usleep(300000);
    for (int i = 0; i < 200; i++) close(fds[i]);
    double start_ms = client_now_ms();
    reply r = client_post(&s, "/v1/chat/completions", chat_body(pages[0], "What?", 3));
    double ms = client_now_ms() - start_ms;
    assert_int_equal(r.status, 200);
    reply_free(&r);
    print_message("served %.0f ms after 200 connections to a service with 64 descriptors\n", ms);
    assert_true(ms < 2000);
    assert_int_equal(serve_stop(&s), 0);
}

/* ---- many at once --------------------------------------------------------------------------- */

enum { KINDS_MAX = 50, THREADS_MAX = 64 };
static char *kind_pages[KINDS_MAX], *golden[KINDS_MAX]; /* data: URLs; answers alone */
static int n_kinds, n_rounds;

/* A picture of its own for every kind. */
static char *make_page(int kind) {
    enum { SIDE = 40 };
    uint8_t rgb[SIDE * SIDE * 3];
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = SIDE, .height = SIDE, .format = PNG_FORMAT_RGB};
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(i * (size_t)(kind + 3) % 251);
    return data_url_of_pixels(&image, rgb);
}

static json_t *kind_body(int kind) {
    static const char *const questions[] = {"What is the headline?", "Who wrote it?", "Tell me.",
                                            "When?"};
    json_t *body = chat_body(kind_pages[kind], questions[kind % 4], 20 + kind % 12);
    if (kind % 2) json_object_set_new(body, "temperature", json_real(0.8));
    json_object_set_new(body, "seed", json_integer(kind));
    return body;
}

/* The answer's text as JSON, since random weights say zero bytes too; again where the queue was
 * full. */
static char *ask_kind(int kind) {
    for (;;) {
        reply r = client_post(&running, "/v1/chat/completions", kind_body(kind));
        if (r.status == 503) {
            reply_free(&r);
            usleep(20000);
            continue;
        }
        json_t *chat = reply_json(&r, 200);
        json_t *choice = json_array_get(json_object_get(chat, "choices"), 0);
        char *text = json_dumps(json_object_get(choice, "message"), JSON_ENCODE_ANY);
        json_decref(chat);
        return text;
    }
}

static atomic_int n_right;

static void *run_client(void *arg) {
    int first = *(int *)arg;
    for (int i = 0; i < n_rounds; i++) {
        int kind = (first * 5 + i * 7) % n_kinds;
        char *text = ask_kind(kind);
        if (strcmp(text, golden[kind]) != 0)
            fail_msg("kind %d: \"%s\", alone \"%s\"", kind, text, golden[kind]);
        free(text);
        atomic_fetch_add(&n_right, 1);
    }
    return NULL;
}

static void test_many_at_once(void **state) {
    pthread_t threads[THREADS_MAX];
    int first[THREADS_MAX], n_threads = full(8, THREADS_MAX);
    (void)state;
    n_kinds = full(12, KINDS_MAX);
    n_rounds = full(6, 80);
    for (int i = 0; i < n_kinds; i++) {
        kind_pages[i] = make_page(i);
        golden[i] = ask_kind(i);
        assert_true(i == 0 || strcmp(golden[i], golden[i - 1]) != 0);
    }
    for (int i = 0; i < n_threads; i++) {
        first[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, run_client, &first[i]), 0);
    }
    for (int i = 0; i < n_threads; i++) pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&n_right), n_threads * n_rounds);
    print_message("%d clients, %d answers, all as alone\n", n_threads, n_threads * n_rounds);
    for (int i = 0; i < n_kinds; i++) {
        free(golden[i]);
        free(kind_pages[i]);
    }
    await_idle(&running, PLACES);
}

static char *talk(json_t *messages) {
    reply r = client_post(&running, "/v1/chat/completions",
                          json_pack("{s:o, s:i}", "messages", messages, "max_tokens", 20));
    json_t *chat = reply_json(&r, 200);
    char *text = strdup(chat_content(chat));
    json_decref(chat);
    return text;
}

#define PICTURE "type", "image_url", "image_url", "url", pages[0]

/* Earlier turns of a conversation stand in the template's own form; a picture goes first. */
static void test_conversation(void **state) {
    (void)state;
    char *turns =
        talk(json_pack("[{s:s, s:[{s:s, s:s}, {s:s, s:{s:s}}]}, {s:s, s:s}, {s:s, s:s}]", "role",
                       "user", "content", "type", "text", "text", "Who?", PICTURE, "role",
                       "assistant", "content", "Ann.", "role", "user", "content", "When?"));
    char *whole =
        talk(json_pack("[{s:s, s:[{s:s, s:s}, {s:s, s:{s:s}}]}]", "role", "user", "content", "type",
                       "text", "text", "Who? ASSISTANT: Ann. USER: When?", PICTURE));
    char *lines = talk(json_pack("[{s:s, s:[{s:s, s:s}, {s:s, s:{s:s}}]}]", "role", "user",
                                 "content", "type", "text", "text", "Who?\nAnn.\nWhen?", PICTURE));
    assert_string_equal(turns, whole);
    assert_string_not_equal(turns, lines);
    free(turns);
    free(whole);
    turns = talk(json_pack("[{s:s, s:s}, {s:s, s:[{s:s, s:s}, {s:s, s:{s:s}}]}]", "role", "system",
                           "content", "Who?\nAnn.", "role", "user", "content", "type", "text",
                           "text", "When?", PICTURE));
    assert_string_equal(turns, lines);
    free(turns);
    free(lines);
}

/* ---- too slow ------------------------------------------------------------------------------- */

typedef struct dripper {
    const char *first; /* sent at once; then a byte now and then */
    int status;
    double ms;
    pthread_t thread;
} dripper;

static void *run_dripper(void *arg) {
    dripper *d = arg;
    double start_ms = client_now_ms();
    int fd = client_connect(&running);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    client_send(fd, d->first, strlen(d->first));
    while (poll(&p, 1, 500) == 0 && client_now_ms() - start_ms < 90e3) client_send(fd, "a", 1);
    reply r = client_receive(fd);
    d->ms = client_now_ms() - start_ms;
    d->status = r.status;
    reply_free(&r);
    return NULL;
}

/* Reads nothing of a long stream. */
static void *run_mute(void *arg) {
    dripper *d = arg;
    double start_ms = client_now_ms();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)running.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){2048}, sizeof(int));
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    client_send(fd, d->first, strlen(d->first));
    while (client_places(&running) == PLACES) usleep(1000);
    while (client_places(&running) < PLACES && client_now_ms() - start_ms < 90e3) usleep(20000);
    d->ms = client_now_ms() - start_ms;
    close(fd);
    return NULL;
}

/* One byte in half a second, clients that do not read: absolute deadlines; nobody else waits. */
static void test_too_slow(void **state) {
    dripper head = {.first = "GET /health HTTP/1.1\r\nHost: localhost\r\nA: "};
    dripper body = {.first =
                        "POST /v1/read HTTP/1.1\r\n" H JSON_TYPE "Content-Length: 10000\r\n\r\n{"};
    dripper mute = {0};
    (void)state;
    if (!getenv("NR_TEST_FULL")) {
        print_message("takes two minutes: NR_TEST_FULL\n");
        skip();
    }
    json_t *asked = json_pack("{s:s, s:s, s:b, s:i}", "image", pages[0], "fields",
                              "headline,byline,site,date,lead", "stream", 1, "max_tokens", 900);
    char *text = json_dumps(asked, JSON_COMPACT), *request = malloc(strlen(text) + 256);
    sprintf(request, "POST /v1/read HTTP/1.1\r\n" H JSON_TYPE "Content-Length: %zu\r\n\r\n%s",
            strlen(text), text);
    mute.first = request;
    run_mute(&mute); /* alone, since it watches the places */
    print_message("a client that reads nothing was left after %.1f s\n", mute.ms * 1e-3);
    assert_in_range(mute.ms, 29000, 33000);
    pthread_create(&head.thread, NULL, run_dripper, &head);
    pthread_create(&body.thread, NULL, run_dripper, &body);
    for (int i = 0; i < 20; i++) {
        reply r = client_post(&running, "/v1/chat/completions", chat_body(pages[0], "What?", 3));
        assert_int_equal(r.status, 200);
        reply_free(&r);
    }
    pthread_join(head.thread, NULL);
    pthread_join(body.thread, NULL);
    print_message("head: %d after %.1f s; body: %d after %.1f s\n", head.status, head.ms * 1e-3,
                  body.status, body.ms * 1e-3);
    assert_int_equal(head.status, 408);
    assert_int_equal(body.status, 408);
    assert_in_range(head.ms, 9900, 11500);
    assert_in_range(body.ms, 59900, 61500);
    await_idle(&running, PLACES);
    json_decref(asked);
    free(text);
    free(request);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hostile),
                                       cmocka_unit_test(test_bad_bodies),
                                       cmocka_unit_test(test_forms),
                                       cmocka_unit_test(test_keep_alive),
                                       cmocka_unit_test(test_keys),
                                       cmocka_unit_test(test_full),
                                       cmocka_unit_test(test_two_keys),
                                       cmocka_unit_test(test_leavers),
                                       cmocka_unit_test(test_idle_connections),
                                       cmocka_unit_test(test_mute_streams),
                                       cmocka_unit_test(test_few_descriptors),
                                       cmocka_unit_test(test_many_at_once),
                                       cmocka_unit_test(test_conversation),
                                       cmocka_unit_test(test_too_slow)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
