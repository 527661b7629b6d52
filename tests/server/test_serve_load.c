/* SPDX-License-Identifier: MIT
 *
 * test_serve_load.c - more requests than the bundled model can answer: how soon they are refused,
 * and what that costs those that are not. Short here; NR_TEST_FULL=1 takes a minute, and then the
 * times must hold: run it alone (docs/RELIABILITY.md has the command).
 */
#include "load.h"

static service running;
static char *request;
static size_t n_request;
static bool full;

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
    full = getenv("NR_TEST_FULL") != NULL;
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
    double start_ms = load_now_ms();
    load_run(l, seconds);
    double rate = (l->n_ok - before) / (load_now_ms() - start_ms) * 1e3;
    load_land(l);
    assert_int_equal(l->n_other + l->n_lost + l->n_busy, 0);
    load_free(l);
    return rate;
}

static void test_overload(void **state) {
    double seconds = full ? 60 : 3, peak = measure_peak(full ? 20 : 2);
    load *l = load_create(&running, request, n_request);
    (void)state;
    l->every_ms = 1e3 / (10 * peak);
    load_run(l, 2); /* fills the queue */
    int before = l->n_ok, before_busy = l->n_busy;
    double start_ms = load_now_ms();
    load_run(l, seconds);
    double rate = (l->n_ok - before) / (load_now_ms() - start_ms) * 1e3;
    int n = l->n_busy - before_busy;
    memmove(l->busy_ms, l->busy_ms + before_busy, (size_t)n * sizeof(double));
    double p50 = load_percentile(l->busy_ms, n, 50), p99 = load_percentile(l->busy_ms, n, 99);
    load_land(l);
    print_message("peak %.2f requests a second; offered %.1f for %.0f s: answered %.2f (%.0f %%), "
                  "refused %d, p50 %.2f ms, p99 %.2f ms\n",
                  peak, 1e3 / l->every_ms, seconds, rate, 100 * rate / peak, n, p50, p99);
    assert_int_equal(l->n_other + l->n_lost + l->n_without_retry, 0);
    assert_true(n > 10);
    if (full) {
        assert_true(p99 <= 5);
        assert_true(rate >= 0.95 * peak);
    }
    load_free(l);
}

/* ---- two keys -------------------------------------------------------------------------------- */

#define LOUD "Authorization: Bearer loud-key-of-20-letters\r\n"
#define QUIET "Authorization: Bearer quiet-key-of-20-letter\r\n"

static void *run_flood(void *arg) {
    load_run(arg, full ? 40 : 4);
    load_land(arg);
    return NULL;
}

typedef struct times {
    int n;
    double p50_ms, p99_ms;
} times;

/* One request after another with the quiet key. */
static times measure_quiet(const service *s, double seconds) {
    size_t n_bytes;
    char *text = make_request("/v1/read", QUIET, &n_bytes);
    load *l = load_create(s, text, n_bytes);
    l->n_clients = 1;
    load_run(l, seconds);
    load_land(l);
    assert_int_equal(l->n_busy + l->n_other + l->n_lost, 0); /* never refused */
    times t = {l->n_ok, load_percentile(l->ok_ms, l->n_ok, 50),
               load_percentile(l->ok_ms, l->n_ok, 99)};
    load_free(l);
    free(text);
    return t;
}

/* A key that sends a hundred times as much: the other is answered every time, after its own request
 * and a turn. */
static void test_loud_key(void **state) {
    static const char both[] = "loud-key-of-20-letters\nquiet-key-of-20-letter\n";
    char log[4096], keys[4096];
    const char *more[] = {"--threads", "2", "--max-pixels", "2000000", "--api-key-file",
                          keys,        NULL};
    size_t n_bytes;
    char *text = make_request("/v1/read", LOUD, &n_bytes);
    pthread_t thread;
    (void)state;
    fixture_write_file(fixture_path(keys, "%s/keys", temp), both, strlen(both));
    service s = serve_start(fixture_path(log, "%s/log-keys", temp), more);
    times alone = measure_quiet(&s, full ? 10 : 1);
    load *flood = load_create(&s, text, n_bytes);
    flood->every_ms = alone.p50_ms / 100;
    assert_int_equal(pthread_create(&thread, NULL, run_flood, flood), 0);
    usleep(500000);
    times beside = measure_quiet(&s, full ? 38 : 2);
    pthread_join(thread, NULL);
    print_message(
        "alone: %d requests, p50 %.0f ms, p99 %.0f ms; beside %d of another key, of which "
        "%d were answered: %d, p50 %.0f ms, p99 %.0f ms\n",
        alone.n, alone.p50_ms, alone.p99_ms, flood->n_sent, flood->n_ok, beside.n, beside.p50_ms,
        beside.p99_ms);
    assert_int_equal(flood->n_other + flood->n_lost, 0);
    /* four slots share the cores with it, and one of them must become free */
    if (full) assert_true(beside.p50_ms < 6 * alone.p50_ms);
    load_free(flood);
    free(text);
    assert_int_equal(serve_stop(&s), 0);
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

/* Of those who are refused, nearly all are admitted when they come back at the time they are told. */
static void test_retry_after(void **state) {
    pthread_t threads[BURST];
    int n_tries[BURST] = {0}, n_refused = 0, n_second = 0;
    (void)state;
    if (!full) {
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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_overload),
                                       cmocka_unit_test(test_loud_key),
                                       cmocka_unit_test(test_retry_after)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
