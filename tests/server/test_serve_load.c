/* SPDX-License-Identifier: MIT
 *
 * test_serve_load.c - more requests than the bundled model can answer: how soon they are refused,
 * and what that costs those that are not. Short here; NR_TEST_FULL=1 takes a minute, and then the
 * times must hold: run it alone (docs/RELIABILITY.md has the command).
 */
#include "load.h"

#include <dirent.h>

static service running;
static char *request;
static size_t n_request;

/* `POST path` with the sample page as its body. */
static char *make_request(const char *path, const char *headers, size_t *n_bytes) {
    size_t n;
    char *picture = fixture_read_file("samples/valley-gazette.png", &n), *text = malloc(n + 1024);
    int head = sprintf(text,
                       "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s"
                       "Content-Type: image/png\r\nContent-Length: %zu\r\n\r\n",
                       path, headers, n);
    memcpy(text + head, picture, n);
    free(picture);
    *n_bytes = (size_t)head + n;
    return text;
}

static int set_up(void **state) {
    char log[4096];
    static const char *const more[] = {"--threads", "2", "--max-pixels", "2000000", NULL};
    (void)state;
    fixture_temp_dir(temp);
    request = make_request("/v1/read", "", &n_request);
    running = serve_start(fixture_path(log, "%s/log", temp), more);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    int code = serve_stop(&running);
    free(request);
    fixture_remove_tree(temp);
    return code;
}

/* As many clients as there are slots, and some that wait: requests a second. */
static double measure_peak(double seconds) {
    load *l = load_create(&running, request, n_request);
    l->n_clients = 8;
    load_run(l, 1); /* warm */
    int before = l->n_ok;
    double start_ms = client_now_ms();
    load_run(l, seconds);
    double rate = (l->n_ok - before) / (client_now_ms() - start_ms) * 1e3;
    load_land(l);
    assert_int_equal(l->n_other + l->n_lost + l->n_busy, 0);
    load_free(l);
    return rate;
}

static void test_overload(void **state) {
    double seconds = full(3, 60), peak = measure_peak(full(2, 20));
    load *l = load_create(&running, request, n_request);
    (void)state;
    l->every_ms = 1e3 / (10 * fmax(peak, 1));
    load_run(l, 2); /* fills the queue */
    int before = l->n_ok, before_busy = l->n_busy;
    double start_ms = client_now_ms();
    load_run(l, seconds);
    double rate = (l->n_ok - before) / (client_now_ms() - start_ms) * 1e3;
    int n = l->n_busy - before_busy;
    memmove(l->busy_ms, l->busy_ms + before_busy, (size_t)n * sizeof(double));
    double p50 = load_percentile(l->busy_ms, n, 50), p99 = load_percentile(l->busy_ms, n, 99);
    load_land(l);
    print_message("peak %.2f requests a second; offered %.1f for %.0f s: answered %.2f (%.0f %%), "
                  "refused %d, p50 %.2f ms, p99 %.2f ms\n",
                  peak, 1e3 / l->every_ms, seconds, rate, 100 * rate / peak, n, p50, p99);
    assert_int_equal(l->n_other + l->n_lost + l->n_without_retry, 0);
    assert_true(n > 10);
    if (full(0, 1)) {
        assert_true(p99 <= 5);
        assert_true(rate >= 0.95 * peak);
    }
    load_free(l);
}

/* ---- two keys -------------------------------------------------------------------------------- */

#define LOUD "Authorization: Bearer loud-key-of-20-letters\r\n"
#define QUIET "Authorization: Bearer quiet-key-of-20-letter\r\n"

typedef struct two_keys {
    service s;
    char *loud, *quiet; /* requests; own */
    size_t n_loud, n_quiet;
    double flood_seconds;
    load *flood; /* owns, while it runs */
    pthread_t thread;
} two_keys;

static void *run_flood(void *arg) {
    two_keys *t = arg;
    load_run(t->flood, t->flood_seconds);
    load_land(t->flood);
    return NULL;
}

static void start_flood(two_keys *t, double every_ms, double seconds) {
    t->flood = load_create(&t->s, t->loud, t->n_loud);
    t->flood->every_ms = every_ms;
    t->flood_seconds = seconds;
    assert_int_equal(pthread_create(&t->thread, NULL, run_flood, t), 0);
    usleep(1000000); /* it has its places */
}

typedef struct times {
    int n;
    double p50_ms, p99_ms, most_ms;
} times;

static times times_of(load *l) {
    return (times){l->n_ok, load_percentile(l->ok_ms, l->n_ok, 50),
                   load_percentile(l->ok_ms, l->n_ok, 99), load_percentile(l->ok_ms, l->n_ok, 100)};
}

/* The quiet key's requests: every so often, or (0) each when the one before is answered. */
static times measure_quiet(const two_keys *t, double every_ms, double seconds) {
    load *l = load_create(&t->s, t->quiet, t->n_quiet);
    l->every_ms = every_ms;
    l->n_clients = every_ms > 0 ? 0 : 1;
    load_run(l, seconds);
    load_land(l);
    assert_int_equal(l->n_busy + l->n_other + l->n_lost, 0); /* never refused */
    times found = times_of(l);
    load_free(l);
    return found;
}

static times end_flood(two_keys *t) {
    pthread_join(t->thread, NULL);
    assert_int_equal(t->flood->n_other + t->flood->n_lost, 0);
    times found = times_of(t->flood);
    load_free(t->flood);
    return found;
}

static void say(const char *who, times t) {
    print_message("%-36s %4d answered, p50 %4.0f ms, p99 %4.0f ms, at most %4.0f ms\n", who, t.n,
                  t.p50_ms, t.p99_ms, t.most_ms);
}

/* A key that sends a hundred times what another does, which asks for a quarter of what the model
 * can answer: that one waits at most twice as long as alone. Then the other asks as fast as it is
 * answered: both have something. */
static void measure_two_keys(two_keys *t) {
    double every_ms = 4 * measure_quiet(t, 0, full(1, 10)).p50_ms;
    double seconds = full(0, 1) ? 205 * every_ms * 1e-3 : 3;
    times alone = measure_quiet(t, every_ms, full(2, 60));
    start_flood(t, every_ms / 100, seconds + 2);
    times rare = measure_quiet(t, every_ms, seconds), flood = end_flood(t);
    say("alone, a quarter of the time:", alone);
    say("beside a hundred times as many:", rare);
    say("those:", flood);
    assert_true(rare.p50_ms < flood.p50_ms); /* which has a queue of its own before it */
    if (full(0, 1)) {
        assert_true(rare.n >= 200 && rare.p99_ms <= 2 * alone.p99_ms);
        assert_true(flood.n >= rare.n); /* whom it is not starved by */
    }
    start_flood(t, every_ms / 400, full(2, 38) + 2);
    times next = measure_quiet(t, 0, full(2, 38));
    times others = end_flood(t);
    say("one after the other, beside a flood:", next);
    say("that:", others);
    assert_true(next.n > 0 && others.n > 0);
    if (full(0, 1)) assert_true(next.n < 2 * others.n && others.n < 2 * next.n);
}

static void test_loud_key(void **state) {
    static const char both[] = "loud-key-of-20-letters\nquiet-key-of-20-letter\n";
    char log[4096], keys[4096];
    const char *more[] = {"--threads", "2", "--max-pixels", "2000000", "--api-key-file",
                          keys,        NULL};
    two_keys t = {0};
    (void)state;
    fixture_write_file(fixture_path(keys, "%s/keys", temp), both, strlen(both));
    t.s = serve_start(fixture_path(log, "%s/log-keys", temp), more);
    t.loud = make_request("/v1/read", LOUD, &t.n_loud);
    t.quiet = make_request("/v1/read", QUIET, &t.n_quiet);
    measure_two_keys(&t);
    assert_int_equal(serve_stop(&t.s), 0);
    free(t.loud);
    free(t.quiet);
}

/* ---- for a while ----------------------------------------------------------------------------- */

static long long status_of_process(const service *s, const char *name) {
    char path[64], line[256], format[64];
    long long n = -1;
    snprintf(path, sizeof path, "/proc/%d/status", s->pid);
    snprintf(format, sizeof format, "%s: %%lld", name);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, format, &n) == 1) break;
    if (f) fclose(f);
    return n;
}

static int n_descriptors(const service *s) {
    char path[64];
    int n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", s->pid);
    DIR *dir = opendir(path);
    while (dir && readdir(dir)) n++;
    if (dir) closedir(dir);
    return n;
}

/* One of each kind: answered, streamed and left, refused, not understood, asked about. */
static void mixed_round(const service *s, char *page, int i) {
    json_t *chat = chat_body(page, "What?", 5 + i % 20), *stream = json_deep_copy(chat);
    reply r = client_post(s, "/v1/chat/completions", chat);
    assert_int_equal(r.status, 200);
    reply_free(&r);
    json_object_set_new(stream, "stream", json_true());
    char *text = json_dumps(stream, JSON_COMPACT), c;
    char *head = malloc(strlen(text) + 256);
    sprintf(head,
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" JSON_TYPE
            "Content-Length: %zu\r\n\r\n%s",
            strlen(text), text);
    int fd = client_connect(s);
    client_send(fd, head, strlen(head));
    if (i % 2) assert_int_equal(recv(fd, &c, 1, 0), 1);
    close(fd);
    r = client_request(s, "POST", "/v1/read", "Content-Type: image/png\r\n", "no picture", 10);
    assert_int_equal(r.status, 422);
    reply_free(&r);
    r = client_request(s, "POST", "/v1/read", JSON_TYPE, "{", 1);
    assert_int_equal(r.status, 400);
    reply_free(&r);
    r = client_get(s, i % 2 ? "/metrics" : "/memory_status");
    assert_int_equal(r.status, 200);
    reply_free(&r);
    free(head);
    free(text);
    json_decref(stream);
}

/* Memory, descriptors and threads of the service stay what they are. Small pictures and a tiny
 * model of random weights, so that many requests pass. */
static void test_soak(void **state) {
    char model[4096], log[4096], *page = data_url("tests/data/image/small/c2b8.png");
    const char *more[] = {"--model", model, "--slots", "3", "--quiet", NULL};
    double end_ms = client_now_ms() + 1e3 * full(3, 600);
    int n = 0, n_fds = 0, fds_more = 0;
    long long before = 0, half = 0;
    (void)state;
    fixture_make_checkpoint("odd", fixture_path(model, "%s/odd", temp), "");
    service s = serve_start(fixture_path(log, "%s/log-soak", temp), more);
    for (double start_ms = client_now_ms(), now; (now = client_now_ms()) < end_ms || n < 400; n++) {
        mixed_round(&s, page, n);
        if (n == 200) before = status_of_process(&s, "VmRSS"), n_fds = n_descriptors(&s);
        if (n > 200 && half == 0 && now - start_ms > (end_ms - start_ms) / 2)
            half = status_of_process(&s, "VmRSS");
    }
    await_idle(&s, 35);
    fds_more = n_descriptors(&s) - n_fds;
    long long after = status_of_process(&s, "VmRSS");
    print_message("%d rounds of 5 requests: resident after 200 rounds %lld kB, half way %lld, at "
                  "the end %lld; descriptors %+d, threads %lld\n",
                  n, before, half, after, fds_more, status_of_process(&s, "Threads"));
    assert_true(fds_more <= 2);
    assert_true(after <= before + 512);
    if (full(0, 1)) assert_true(after <= half + 64);
    assert_int_equal(serve_stop(&s), 0);
    free(page);
}

/* ---- Retry-After ---------------------------------------------------------------------------- */

enum { BURST = 90 };

/* One of many that come at once and do as they are told. */
static void *run_obedient(void *arg) {
    int *n_tries = arg;
    for (;;) {
        (*n_tries)++;
        reply r = client_raw(&running, request, n_request);
        const char *after = strstr(r.bytes, "\r\nRetry-After: ");
        int status = r.status, seconds = after ? atoi(after + strlen("\r\nRetry-After: ")) : 0;
        reply_free(&r);
        if (status == 200) return NULL;
        if (status != 503 || seconds < 1 || seconds > 60) fail_msg("%d, %d s", status, seconds);
        sleep((unsigned)seconds);
    }
}

/* Of those who are refused, nearly all are admitted when they come back as they are told. */
static void test_retry_after(void **state) {
    pthread_t threads[BURST];
    int n_tries[BURST] = {0}, n_refused = 0, n_second = 0;
    (void)state;
    if (!full(0, 1)) {
        print_message("takes half a minute: NR_TEST_FULL\n");
        skip();
    }
    for (int i = 0; i < BURST; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_obedient, &n_tries[i]), 0);
    for (int i = 0; i < BURST; i++) {
        pthread_join(threads[i], NULL);
        n_refused += n_tries[i] > 1;
        n_second += n_tries[i] == 2;
    }
    print_message("%d at once, %d refused, %d of them admitted at their second try\n", BURST,
                  n_refused, n_second);
    assert_true(n_refused >= BURST / 2);
    assert_true(20 * n_second >= 19 * n_refused);
}

/* With an argument: only tests whose names match it, such as '*loud*'. */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_overload),
                                       cmocka_unit_test(test_loud_key), cmocka_unit_test(test_soak),
                                       cmocka_unit_test(test_retry_after)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
