/* SPDX-License-Identifier: MIT
 *
 * test_decoder_faults.c - a service whose picture decoder has been taken over. This program is the
 * service (`serve`), its helpers (`serve-helper`) and the test. It is linked with another
 * nr_picture_load (ld --wrap), which does what a picture that begins with "FAULT " tells it to, in
 * the real child behind the real jail; all other pictures go to the real decoder. Every such
 * picture costs its request a 422 and nothing else.
 */
#include "picture_host.h"
#include "serve_client.h"

#include "server.h"
#include "server_internal.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#define PLACES 8 /* --slots 2 --queue 6 */
#define PIXELS 2000000

/* ---- the decoder ---------------------------------------------------------------------------- */

nr_status __real_nr_picture_load(nr_picture *picture, const void *bytes, size_t n, nr_error *err);
nr_status __wrap_nr_picture_load(nr_picture *picture, const void *bytes, size_t n, nr_error *err);
void __real_decode_run(int in_fd, size_t n_bytes, uint64_t pixels_max, int out_fd,
                       helper_report *report);
void __wrap_decode_run(int in_fd, size_t n_bytes, uint64_t pixels_max, int out_fd,
                       helper_report *report);

static helper_report *shared; /* what a taken-over child would find: the report and its file */
static int result_fd;

void __wrap_decode_run(int in_fd, size_t n_bytes, uint64_t pixels_max, int out_fd,
                       helper_report *report) {
    shared = report;
    result_fd = out_fd;
    __real_decode_run(in_fd, n_bytes, pixels_max, out_fd, report);
}

static volatile int sink, *volatile nowhere;

static void fault_segv(void) {
    sink = *nowhere;
}
static void fault_abort(void) {
    abort();
}
static void fault_spin(void) {
    for (;;) sink++;
}
static void fault_sleep(void) {
    static uint32_t word;
    for (;;) syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
}
static void fault_memory(void) {
    for (;;) memset(malloc(1 << 20), 1, 1 << 20); /* the last one is at NULL */
}
static int deeper(int n) {
    volatile char frame[4096];
    frame[0] = (char)n;
    return n < 1 << 30 ? deeper(n + 1) + frame[0] : 0;
}
static void fault_stack(void) {
    sink = deeper(0);
}
static void fault_exit(void) {
    _exit(0); /* without a report */
}
static void fault_endless(void) { /* a result without end */
    static char block[1 << 20];
    while (write(result_fd, block, sizeof block) > 0) continue;
    _exit(0);
}
static void fault_garbage(void) {
    unsigned char noise[sizeof *shared];
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (unsigned char)(i * 167 + 13);
    for (int fd = 0; fd < 64; fd++)
        if (fd > 2 && pwrite(fd, noise, sizeof noise, 0) < 0) continue;
    memcpy(shared, noise, sizeof noise);
    _exit(0);
}

static void report_as(nr_status status, int32_t w, int32_t h, uint64_t n_bytes, off_t there) {
    *shared = (helper_report){.status = status, .width = w, .height = h, .n_bytes = n_bytes};
    memset(shared->message, '\n', sizeof shared->message);
    if (ftruncate(result_fd, there) != 0) _exit(1);
    _exit(0);
}
static void fault_lies(void) { /* pixels that are not there */
    report_as(NR_STATUS_OK, 1000, 1000, 3000000, 10);
}
static void fault_negative(void) {
    report_as(NR_STATUS_OK, -1, -1, 3, 3);
}
static void fault_overflow(void) {
    report_as(NR_STATUS_OK, 0x7fffffff, 0x7fffffff, 3, 3);
}
static void fault_large(void) { /* more pixels than the plan has room for */
    report_as(NR_STATUS_OK, 2001, 1000, 6003000, 6000000);
}
static void fault_internal(void) {
    report_as(NR_STATUS_INTERNAL, 0, 0, 0, 0);
}
static void fault_busy(void) {
    report_as(NR_STATUS_BUSY, 0, 0, 0, 0);
}
static void fault_positive(void) {
    report_as((nr_status)7, 0, 0, 0, 0);
}
static void fault_open(void) {
    open("/etc/passwd", O_RDONLY);
    _exit(0);
}

static const struct fault {
    const char *name;
    void (*act)(void);
    double seconds; /* after which there must be an answer */
} faults[] = {{"segv", fault_segv, 1},         {"abort", fault_abort, 1},
              {"stack", fault_stack, 1},       {"memory", fault_memory, 4},
              {"exit", fault_exit, 1},         {"endless", fault_endless, 1},
              {"garbage", fault_garbage, 1},   {"lies", fault_lies, 1},
              {"negative", fault_negative, 1}, {"overflow", fault_overflow, 1},
              {"large", fault_large, 1},       {"internal", fault_internal, 1},
              {"busy", fault_busy, 1},         {"positive", fault_positive, 1},
              {"open", fault_open, 1},         {"spin", fault_spin, 8},
              {"sleep", fault_sleep, 8}};

nr_status __wrap_nr_picture_load(nr_picture *picture, const void *bytes, size_t n, nr_error *err) {
    for (size_t i = 0; n > 6 && memcmp(bytes, "FAULT ", 6) == 0 && i < NR_COUNT(faults); i++)
        if (strlen(faults[i].name) == n - 6 &&
            memcmp(faults[i].name, (const char *)bytes + 6, n - 6) == 0)
            faults[i].act();
    return __real_nr_picture_load(picture, bytes, n, err);
}

/* ---- the service ---------------------------------------------------------------------------- */

/* serve_start_program's arguments: settings in pairs, and --model. */
static int serve(int argc, char **argv) {
    nr_rung rung = {.options = nr_engine_options_default()};
    nr_ladder_policy policy = nr_ladder_policy_default();
    server_setting settings[16];
    server_start start = {.rungs = &rung, .n_rungs = 1, .policy = &policy, .settings = settings};
    rung.options.n_slots = 2;
    rung.options.picture_pixels_max = PIXELS;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--model") == 0)
            rung.model_dir = argv[i + 1];
        else if (strcmp(argv[i], "--threads") == 0)
            rung.options.n_threads = atoi(argv[i + 1]);
        else
            settings[start.n_settings++] = (server_setting){argv[i] + 2, argv[i + 1]};
    }
    return server_main(&start);
}

/* ---- the test ------------------------------------------------------------------------------- */

static service running;
static char *page, *answer_alone;

static char *ask_page(void) {
    reply r = client_post(&running, "/v1/chat/completions", chat_body(page, "What?", 12));
    json_t *chat = reply_json(&r, 200);
    char *text = strdup(chat_content(chat));
    json_decref(chat);
    return text;
}

static void check_goes_on(void) {
    char *text = ask_page();
    assert_string_equal(text, answer_alone);
    free(text);
}

static int set_up(void **state) {
    char model[4096], log[4096], program[4096];
    (void)state;
    fixture_temp_dir(temp);
    fixture_make_checkpoint("odd", fixture_path(model, "%s/odd", temp), "");
    const char *more[] = {"--model", model, "--queue", "6", "--allow-net", "127.0.0.1", NULL};
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n] = '\0';
    page = data_url("samples/valley-gazette.png");
    running = serve_start_program(program, fixture_path(log, "%s/log", temp), more);
    answer_alone = ask_page();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    int code = serve_stop(&running);
    free(page);
    free(answer_alone);
    fixture_remove_tree(temp);
    return code;
}

static json_int_t memory_of(const char *name) {
    reply r = client_get(&running, "/memory_status");
    json_t *m = reply_json(&r, 200), *device = json_array_get(json_object_get(m, "devices"), 0);
    json_int_t n = json_integer_value(json_object_get(json_object_get(device, "measured"), name));
    json_decref(m);
    return n;
}

/* A picture's bytes, as the body of /v1/read. */
static int status_of(const void *bytes, size_t n) {
    reply r = client_request(&running, "POST", "/v1/read", "Content-Type: image/png\r\n", bytes, n);
    int status = r.status;
    if (status != 200 && status != 422) fail_msg("status %d: %s", status, r.body);
    if (status == 422) assert_non_null(strstr(r.body, "\"invalid_image\""));
    reply_free(&r);
    return status;
}

static void *run_fault(void *arg) {
    const struct fault *f = arg;
    char picture[64];
    double start_ms = http_now_ms();
    int n = snprintf(picture, sizeof picture, "FAULT %s", f->name);
    assert_int_equal(status_of(picture, (size_t)n), 422);
    double ms = http_now_ms() - start_ms;
    print_message("%-9s 422 after %.0f ms\n", f->name, ms);
    if (ms > 1e3 * f->seconds) fail_msg("%s: %.0f ms", f->name, ms);
    return NULL;
}

/* Each fault alone, then at once the answer to a picture that is none. */
static void test_faults(void **state) {
    (void)state;
    json_int_t before = memory_of("resident_bytes");
    for (size_t i = 0; i < NR_COUNT(faults); i++) {
        if (faults[i].seconds > 4) continue; /* test_hangs */
        run_fault((void *)(uintptr_t)&faults[i]);
        double start_ms = http_now_ms();
        check_goes_on();
        if (http_now_ms() - start_ms > 1000) fail_msg("after %s it is slow", faults[i].name);
    }
    await_idle(&running, PLACES);
    assert_true(memory_of("resident_bytes") < before + (4 << 20));
}

/* A decoder that spins or sleeps until its deadline: others are answered meanwhile. */
static void test_hangs(void **state) {
    (void)state;
    for (size_t i = 0; i < NR_COUNT(faults); i++) {
        pthread_t thread;
        double slowest_ms = 0;
        if (faults[i].seconds <= 4) continue;
        assert_int_equal(pthread_create(&thread, NULL, run_fault, (void *)(uintptr_t)&faults[i]),
                         0);
        usleep(200000);
        for (int k = 0; k < 20; k++) {
            double start_ms = http_now_ms();
            check_goes_on();
            slowest_ms = fmax(slowest_ms, http_now_ms() - start_ms);
        }
        print_message("%s: 20 others meanwhile, the slowest %.0f ms\n", faults[i].name, slowest_ms);
        assert_true(slowest_ms < 2000);
        pthread_join(thread, NULL);
    }
    await_idle(&running, PLACES);
}

static service keyed;

static int ask_with(const char *key, const void *bytes, size_t n) {
    char headers[256];
    snprintf(headers, sizeof headers, "Content-Type: image/png\r\nAuthorization: Bearer %s\r\n",
             key);
    reply r = client_request(&keyed, "POST", "/v1/read", headers, bytes, n);
    int status = r.status;
    reply_free(&r);
    return status;
}

static void *run_hang(void *status) {
    *(int *)status = ask_with("key-of-pictures-that-hang", "FAULT sleep", 11);
    return NULL;
}

/* Five pictures of one key that hang at the same time: another key's are read as if they were not
 * there. */
static void test_hangs_of_a_key(void **state) {
    static const char keys[] = "key-of-pictures-that-hang\nkey-of-somebody-else-here\n";
    char program[4096], model[4096], file[4096], log[4096];
    pthread_t threads[5];
    int statuses[5];
    size_t size;
    char *picture = fixture_read_file("tests/data/image/small/c2b8.png", &size);
    double slowest_ms = 0;
    (void)state;
    fixture_write_file(fixture_path(file, "%s/keys", temp), keys, strlen(keys));
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n] = '\0';
    const char *more[] = {"--model", fixture_path(model, "%s/odd", temp), "--api-key-file", file,
                          NULL};
    keyed = serve_start_program(program, fixture_path(log, "%s/log-keys", temp), more);
    for (int i = 0; i < 5; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_hang, &statuses[i]), 0);
    usleep(300000);
    for (int k = 0; k < 20; k++) {
        double start_ms = http_now_ms();
        assert_int_equal(ask_with("key-of-somebody-else-here", picture, size), 200);
        slowest_ms = fmax(slowest_ms, http_now_ms() - start_ms);
    }
    print_message("20 of another key meanwhile, the slowest %.0f ms\n", slowest_ms);
    assert_true(slowest_ms < 3000);
    kill(keyed.pid, SIGKILL); /* nobody waits five times six seconds */
    waitpid(keyed.pid, NULL, 0);
    for (int i = 0; i < 5; i++) pthread_join(threads[i], NULL);
    free(picture);
}

/* ---- clients that leave ---------------------------------------------------------------------- */

/* A request whose client is to leave: which body, and how long it stays. */
typedef struct leaver {
    const char *phase, *type;
    char *body;
    size_t n_bytes, n_sent; /* of the body */
    int stay_ms;            /* -1: until the first bytes of the answer */
} leaver;

static double leave(const leaver *l) {
    char head[512], c;
    int fd = client_connect(&running);
    int n = snprintf(head, sizeof head,
                     "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     strcmp(l->type, "image/png") == 0 ? "/v1/read" : "/v1/chat/completions",
                     l->type, l->n_bytes);
    client_send(fd, head, (size_t)n);
    client_send(fd, l->body, l->n_sent);
    if (l->stay_ms < 0)
        assert_int_equal(recv(fd, &c, 1, 0), 1);
    else
        usleep((useconds_t)l->stay_ms * 1000);
    if (l->stay_ms >= 10) assert_int_equal(client_places(&running), PLACES - 1);
    double start_ms = http_now_ms();
    close(fd);
    while (client_places(&running) < PLACES && http_now_ms() - start_ms < 10000) usleep(500);
    return http_now_ms() - start_ms;
}

static char *chat_text(const char *url, bool stream) {
    json_t *body = chat_body(url, "Tell me.", 900);
    json_object_set_new(body, "stream", json_boolean(stream));
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

/* Whoever leaves in whatever phase has his place back at once, and the next is answered. */
static void test_leavers(void **state) {
    char url[64];
    picture_host host;
    (void)state;
    picture_host_start(&host, "samples/valley-gazette.png");
    snprintf(url, sizeof url, "http://127.0.0.1:%d/never", host.port);
    leaver all[] = {{"sending", "application/json", chat_text(page, false), 0, 1000, 10},
                    {"fetching", "application/json", chat_text(url, false), 0, 0, 30},
                    {"decoding", "image/png", strdup("FAULT sleep"), 0, 0, 30},
                    {"any", "application/json", chat_text(page, false), 0, 0, 0},
                    {"writing", "application/json", chat_text(page, false), 0, 0, 9},
                    {"streaming", "application/json", chat_text(page, true), 0, 0, -1}};
    int n = full(6, 200);
    for (size_t i = 0; i < NR_COUNT(all); i++) {
        double slowest_ms = 0, sum_ms = 0;
        all[i].n_bytes = strlen(all[i].body);
        if (all[i].n_sent == 0) all[i].n_sent = all[i].n_bytes;
        for (int k = 0; k < n; k++) {
            if (strcmp(all[i].phase, "any") == 0) all[i].stay_ms = k % 9;
            double ms = leave(&all[i]);
            slowest_ms = fmax(slowest_ms, ms);
            sum_ms += ms;
        }
        print_message("%-9s %d times: place back after %.1f ms, %.1f at most\n", all[i].phase, n,
                      sum_ms / n, slowest_ms);
        assert_true(slowest_ms < 1000);
        free(all[i].body);
        check_goes_on();
    }
    picture_host_stop(&host);
    await_idle(&running, PLACES);
}

static int n_files, n_refused;

static int send_file(const char *path, const struct stat *st, int kind, struct FTW *where) {
    size_t n;
    (void)st;
    (void)where;
    if (kind != FTW_F) return 0;
    char *bytes = fixture_read_file(path, &n);
    if (n > 0) {
        n_files++;
        n_refused += status_of(bytes, n) == 422;
    }
    free(bytes);
    return 0;
}

/* Pictures that once broke a decoder, and the fuzzers' corpora. */
static void test_corpora(void **state) {
    static const char *const folders[] = {
        "tests/data/image/small", "tests/fuzz/corpus/image_gif", "tests/fuzz/corpus/image_png",
        "tests/fuzz/corpus/image_jpeg", "tests/fuzz/corpus/image_webp"};
    (void)state;
    for (size_t i = 0; i < NR_COUNT(folders); i++)
        assert_int_equal(nftw(folders[i], send_file, 8, FTW_PHYS), 0);
    print_message("%d files: %d read, %d refused\n", n_files, n_files - n_refused, n_refused);
    assert_true(n_files > 100 && n_refused > 20 && n_refused < n_files);
    check_goes_on();
    await_idle(&running, PLACES);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "serve-helper") == 0) return helper_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "serve") == 0) return serve(argc, argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_faults), cmocka_unit_test(test_hangs),
                                       cmocka_unit_test(test_hangs_of_a_key),
                                       cmocka_unit_test(test_leavers),
                                       cmocka_unit_test(test_corpora)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
