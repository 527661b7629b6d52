/* SPDX-License-Identifier: MIT
 *
 * test_serve_life.c - the service from start to end: its configuration, what it refuses to start
 * with, which model answers, SIGTERM while it loads and while it answers. With a small checkpoint
 * of random weights.
 */
#include "serve_client.h"

#include <stdatomic.h>

static char model[4096];
static char *page; /* data: URL */

static int set_up(void **state) {
    char keys[4096];
    (void)state;
    fixture_temp_dir(temp);
    fixture_make_checkpoint("odd", fixture_path(model, "%s/odd", temp), "");
    fixture_write_file(fixture_path(keys, "%s/keys", temp), "a-key-of-twenty-chars\n", 22);
    page = data_url("samples/valley-gazette.png");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    free(page);
    fixture_remove_tree(temp);
    return 0;
}

/* ---- SIGTERM -------------------------------------------------------------------------------- */

typedef struct streamer {
    const service *s;
    pthread_t thread;
    atomic_bool began;
    bool done, given_up;
} streamer;

static void *run_streamer(void *arg) {
    streamer *t = arg;
    json_t *body = chat_body(page, "Tell me.", 300);
    json_object_set_new(body, "stream", json_true());
    char *text = json_dumps(body, JSON_COMPACT), *request = malloc(strlen(text) + 256);
    int head = sprintf(
        request, "POST /v1/chat/completions HTTP/1.1\r\n" H JSON_TYPE "Content-Length: %zu\r\n\r\n",
        strlen(text));
    strcpy(request + head, text);
    int fd = client_connect(t->s);
    client_send(fd, request, strlen(request));
    char c;
    recv(fd, &c, 1, MSG_PEEK);
    atomic_store(&t->began, true);
    reply r = client_receive(fd);
    t->done = strstr(r.bytes, "data: [DONE]") != NULL;
    t->given_up = strstr(r.bytes, "\"shutting_down\"") != NULL;
    reply_free(&r);
    free(request);
    free(text);
    json_decref(body);
    return NULL;
}

/* All that was admitted is answered to its end, nothing new is taken, the status is 0. */
static void test_sigterm(void **state) {
    const char *more[] = {"--model", model, "--slots", "2", NULL};
    char path[4096];
    (void)state;
    for (int round = 0; round < full(3, 50); round++) {
        service s = serve_start(fixture_path(path, "%s/log-term", temp), more);
        streamer all[4];
        for (int i = 0; i < 4; i++) {
            all[i] = (streamer){.s = &s};
            assert_int_equal(pthread_create(&all[i].thread, NULL, run_streamer, &all[i]), 0);
        }
        for (int i = 0; i < 4; i++)
            while (!atomic_load(&all[i].began)) usleep(1000);
        usleep((useconds_t)(round % 7) * 20000);
        assert_int_equal(serve_stop(&s), 0);
        for (int i = 0; i < 4; i++) {
            pthread_join(all[i].thread, NULL);
            if (!all[i].done) fail_msg("an admitted request was not answered");
        }
        assert_int_equal(client_connect(&s), -1);
    }
}

/* SIGTERM while the model loads: it ends by itself, or by the signal where that came first. */
static void test_sigterm_early(void **state) {
    char program[4096], log[4096];
    (void)state;
    fixture_build_dir(program);
    strcat(program, "/newsreader");
    fixture_path(log, "%s/log-early", temp);
    for (int i = 0; i < 12; i++) {
        int status, null = open("/dev/null", O_WRONLY);
        pid_t pid = fork();
        if (pid == 0) {
            dup2(null, 1);
            dup2(open(log, O_CREAT | O_WRONLY | O_TRUNC, 0600), 2);
            execl(program, program, "serve", "--port", "0", "--model", model, NULL);
            _exit(127);
        }
        close(null);
        usleep((useconds_t)i * 4000);
        kill(pid, SIGTERM);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        bool by_signal = WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
        if (!by_signal && status != 0) fail_msg("after %d ms: status %x", 4 * i, (unsigned)status);
    }
}

/* No time to drain, or no patience for it: every stream ends with an error that says so, or was
 * complete; status 1; soon. */
static void give_up(const char *drain_seconds, bool twice) {
    const char *more[] = {"--model", model, "--slots", "1", "--drain-seconds", drain_seconds, NULL};
    char path[4096];
    int n_given_up = 0;
    service s = serve_start(fixture_path(path, "%s/log-give-up", temp), more);
    streamer all[6];
    for (int i = 0; i < 6; i++) {
        all[i] = (streamer){.s = &s};
        assert_int_equal(pthread_create(&all[i].thread, NULL, run_streamer, &all[i]), 0);
    }
    for (int i = 0; i < 6; i++)
        while (!atomic_load(&all[i].began)) usleep(1000);
    double start_ms = client_now_ms();
    if (twice) {
        kill(s.pid, SIGTERM);
        usleep(5000); /* else it may be one signal */
    }
    int code = serve_stop(&s);
    double ms = client_now_ms() - start_ms;
    for (int i = 0; i < 6; i++) {
        pthread_join(all[i].thread, NULL);
        if (all[i].done == all[i].given_up) fail_msg("stream %d: neither complete nor told", i);
        n_given_up += all[i].given_up;
    }
    print_message("%d of 6 streams given up, %.0f ms\n", n_given_up, ms);
    assert_true(code == 1 || (code == 0 && n_given_up == 0));
    assert_true(SANITIZED || ms < 2000);
}

static void test_gives_up(void **state) {
    (void)state;
    give_up("0", false);
    give_up("30", true);
}

/* Standard error is a pipe that nobody reads: all are answered, lines are dropped and counted, and
 * SIGTERM ends it. */
static void test_log_that_stalls(void **state) {
    char fifo[4096], script[4096], program[4096], log[4096];
    const char *more[] = {"--model", model, NULL};
    (void)state;
    fixture_build_dir(program);
    assert_int_equal(mkfifo(fixture_path(fifo, "%s/fifo", temp), 0600), 0);
    FILE *f = fopen(fixture_path(script, "%s/stalled", temp), "w");
    fprintf(f, "#!/bin/bash\nexec 2<>%s\nexec %s/newsreader \"$@\"\n", fifo, program);
    fclose(f);
    chmod(script, 0700);
    service s = serve_start_program(script, fixture_path(log, "%s/log-stalled", temp), more);
    for (int i = 0; i < 2000; i++) { /* a line each: more than the pipe and the ring hold */
        reply r = client_get(&s, "/health");
        assert_int_equal(r.status, 200);
        reply_free(&r);
    }
    reply r = client_get(&s, "/metrics");
    const char *dropped = strstr(r.body, "\nnewsreader_log_lines_dropped_total ");
    assert_non_null(dropped);
    assert_true(atoi(dropped + strlen("\nnewsreader_log_lines_dropped_total ")) > 100);
    reply_free(&r);
    double start_ms = client_now_ms();
    assert_int_equal(serve_stop(&s), 0);
    assert_true(client_now_ms() - start_ms < 5000);
}

static void test_refuses_to_start(void **state) {
    static const char *const cases[][4] = {{"--host", "0.0.0.0", NULL},
                                           {"--host", "example", NULL},
                                           {"--slots", "0", NULL},
                                           {"--port", "65536", NULL},
                                           {"--allow-net", "10/8", NULL},
                                           {"nonsense", NULL},
                                           {"--config", "/nonexistent", NULL},
                                           {"--api-key-file", "/dev/null", NULL}};
    char program[4096], command[8192];
    (void)state;
    fixture_build_dir(program);
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        int n = snprintf(command, sizeof command, "timeout 20 %s/newsreader serve --model %s",
                         program, model);
        for (int k = 0; cases[i][k]; k++)
            n += snprintf(command + n, sizeof command - (size_t)n, " %s", cases[i][k]);
        snprintf(command + n, sizeof command - (size_t)n, " >/dev/null 2>&1");
        int status = system(command);
        if (!WIFEXITED(status) || WEXITSTATUS(status) < 1 || WEXITSTATUS(status) > 3)
            fail_msg("%s: status %x", command, (unsigned)status);
    }
}

/* The ladder's file: settings of the service in its "server", options of the models beside it; the
 * command line goes before both. */
static void test_config_file(void **state) {
    char config[4096], path[4096];
    static const char text[] =
        "{\"rungs\": [{\"model\": \"odd\"}], \"slots\": 2,"
        " \"server\": {\"queue\": 1, \"quiet\": true, \"api_key_file\": \"keys\","
        "             \"allow_net\": [\"10.0.0.0/8\", \"10.1.2.3\"], \"drain_seconds\": 7}}";
    const char *more[] = {"--config", config, NULL};
    const char *and_more[] = {"--config", config, "--queue", "4", "--slots", "1", NULL};
    (void)state;
    fixture_write_file(fixture_path(config, "%s/config", temp), text, strlen(text));
    service s = serve_start(fixture_path(path, "%s/log-config", temp), more);
    assert_int_equal(client_places(&s), 3);
    reply r = client_get(&s, "/v1/models");
    assert_int_equal(r.status, 401); /* the keys beside the file */
    reply_free(&r);
    assert_int_equal(serve_stop(&s), 0);
    s = serve_start(path, and_more);
    assert_int_equal(client_places(&s), 5);
    assert_int_equal(serve_stop(&s), 0);
}

static int start_status(const char *arguments) {
    char program[4096], command[20000];
    fixture_build_dir(program);
    int n = snprintf(command, sizeof command, "timeout 60 %s/newsreader serve --port 0 ", program);
    n += snprintf(command + n, sizeof command - (size_t)n, "%s >/dev/null ", arguments);
    snprintf(command + n, sizeof command - (size_t)n, "2>%s/log-start", temp);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static bool log_says(const char *text) {
    char path[4096];
    size_t n;
    char *log = fixture_read_file(fixture_path(path, "%s/log-start", temp), &n);
    bool found = strstr(log, text) != NULL;
    free(log);
    return found;
}

static void test_config_refused(void **state) {
    static const struct {
        const char *server, *says;
    } cases[] = {{"{\"prot\": 1}", "\"prot\" is not known"},
                 {"{\"port\": \"80\"}", "port: expected a whole number"},
                 {"{\"port\": 65536}", "from 0 to 65535"},
                 {"{\"quiet\": 1}", "quiet: expected true or false"},
                 {"{\"allow_net\": [\"10/8\"]}", "allow-net 10/8"},
                 {"{\"allow_host\": [1]}", "allow-host: expected a text"},
                 {"{\"max_bodies\": \"1MB\"}", "max-bodies 1MB"},
                 {"[]", "server: expected an object"}};
    char config[4096], arguments[8192], text[512];
    (void)state;
    fixture_path(config, "%s/refused", temp);
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        int n = snprintf(text, sizeof text, "{\"rungs\": [{\"model\": \"odd\"}], \"server\": %s}",
                         cases[i].server);
        fixture_write_file(config, text, (size_t)n);
        snprintf(arguments, sizeof arguments, "--config %s", config);
        assert_int_equal(start_status(arguments), 2);
        if (!log_says(cases[i].says)) fail_msg("%s: not \"%s\"", cases[i].server, cases[i].says);
    }
    assert_int_equal(start_status("--config /nonexistent"), 2);
    assert_int_equal(start_status("--config examples/newsreader.json"), 3); /* models alone lack */
    assert_true(log_says("missing"));
}

/* Which model answers, and why it is not the first, in every reply that has room for it. */
static void test_fallback(void **state) {
    char path[4096];
    const char *more[] = {"--model", "/no/such/A", "--fallback", model, "--slots", "2", NULL};
    (void)state;
    service s = serve_start(fixture_path(path, "%s/log-fallback", temp), more);
    reply r = client_get(&s, "/health");
    json_t *h = reply_json(&r, 200);
    assert_string_equal(json_string_value(json_object_get(h, "model")), "odd");
    assert_true(json_is_true(json_object_get(h, "degraded")));
    assert_non_null(strstr(json_string_value(json_object_get(h, "reason")), "A: missing"));
    json_decref(h);
    r = client_post(&s, "/v1/read", json_pack("{s:s, s:s}", "image", page, "prompt", "What?"));
    h = reply_json(&r, 200);
    assert_true(json_is_true(json_object_get(h, "degraded")));
    assert_string_equal(json_string_value(json_object_get(h, "model")), "odd");
    json_decref(h);
    r = client_post(&s, "/v1/chat/completions", chat_body(page, "What?", 3));
    h = reply_json(&r, 200);
    assert_true(json_is_true(json_object_get(h, "degraded")));
    json_decref(h);
    r = client_post(&s, "/analyze_image_url", json_pack("{s:[s, s]}", "args", page, "What?"));
    h = reply_json(&r, 200);
    assert_string_equal(json_string_value(json_object_get(h, "model_used")), "odd");
    json_decref(h);
    assert_int_equal(serve_stop(&s), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sigterm),     cmocka_unit_test(test_sigterm_early),
        cmocka_unit_test(test_gives_up),    cmocka_unit_test(test_log_that_stalls),
                                       cmocka_unit_test(test_refuses_to_start),
        cmocka_unit_test(test_config_file), cmocka_unit_test(test_config_refused),
        cmocka_unit_test(test_fallback)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
