/* SPDX-License-Identifier: MIT
 *
 * cli_test.c - `newsreader test`: every configured model in turn, each in a process of its own, so
 * that a crash is a failed rung and memory is measured from zero. The child sends its report as one
 * JSON object through a pipe.
 */
#define _GNU_SOURCE
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPORT_BYTES_MAX 16384

static json_t *report_json(const nr_rung_report *r, const nr_engine_info *info) {
    const nr_self_test *t = &r->self_test;
    nr_memory_usage memory = nr_memory_usage_get();
    json_t *object = cli_rung_json(r);
    json_object_set_new(object, "passed", json_boolean(r->cause == NR_CAUSE_NONE));
    json_object_set_new(object, "loaded", json_boolean(r->load_ms > 0));
    if (!(r->load_ms > 0)) return object;
    if (info)
        json_object_update_new(object, json_pack("{s:s, s:s, s:s, s:s, s:i}", "dtype", info->dtype,
                                                 "device", info->device, "device_note",
                                                 info->device_note, "kernels", info->kernels,
                                                 "threads", info->n_threads));
    json_object_update_new(object,
                           json_pack("{s:s, s:I, s:I, s:{s:f, s:f, s:f, s:f, s:f}, s:i}", "preview",
                                     t->preview, "resident_bytes", (json_int_t)r->resident_bytes,
                                     "peak_bytes", (json_int_t)memory.resident_peak_bytes, "ms",
                                     "load", r->load_ms, "preprocess", t->preprocess_ms, "vision",
                                     t->vision_ms, "prefill", t->prefill_ms, "generate",
                                     t->decode_ms, "answer_tokens", t->answer_tokens));
    return object;
}

/* In the child: open, test, report. */
static void test_rung(const nr_rung *rung, const nr_ladder_policy *policy, int fd) {
    static nr_ladder_report report; /* large */
    nr_engine *engine = NULL;
    nr_error err;
    (void)nr_ladder_open(rung, 1, policy, &engine, &report, &err);
    nr_engine_info info = {0};
    if (engine) info = nr_engine_get_info(engine);
    json_t *object = report_json(&report.rungs[0], engine ? &info : NULL);
    char *text = json_dumps(object, JSON_COMPACT);
    size_t n = text ? strlen(text) : 0, sent = 0;
    while (sent < n) {
        ssize_t k = write(fd, text + sent, n - sent);
        if (k < 0 && errno != EINTR) break;
        if (k > 0) sent += (size_t)k;
    }
    nr_engine_close(engine);
}

/* What the child wrote, or why there is nothing. */
static json_t *collect(const nr_rung *rung, int fd, pid_t child) {
    char text[REPORT_BYTES_MAX], reason[128];
    size_t used = 0;
    ssize_t n;
    int state = 0;
    while ((n = read(fd, text + used, sizeof text - used)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0) used += (size_t)n;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) continue;
    json_t *object = json_loadb(text, used, 0, NULL);
    if (object && !WIFSIGNALED(state)) return object;
    json_decref(object);
    const char *slash = strrchr(rung->model_dir, '/');
    if (WIFSIGNALED(state))
        snprintf(reason, sizeof reason, "ended by signal %d (%s)", WTERMSIG(state),
                 strsignal(WTERMSIG(state)));
    else
        snprintf(reason, sizeof reason, "ended without a report, status %d", WEXITSTATUS(state));
    return json_pack("{s:s, s:s, s:{s:s, s:s}, s:b, s:b}", "model",
                     slash && slash[1] ? slash + 1 : rung->model_dir, "cause", "self_test", "error",
                     "code", nr_status_name(NR_STATUS_SELF_TEST), "message", reason, "passed", 0,
                     "loaded", 0);
}

static json_t *run_rung(const nr_rung *rung, const nr_ladder_policy *policy) {
    int ends[2];
    if (pipe(ends) != 0) return NULL;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        test_rung(rung, policy, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    json_t *object = child > 0 ? collect(rung, ends[0], child) : NULL;
    close(ends[0]);
    return object;
}

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static const char *string(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void print_rung(const json_t *r) {
    const json_t *ms = json_object_get(r, "ms"), *error = json_object_get(r, "error");
    bool loaded = json_is_true(json_object_get(r, "loaded"));
    printf("%s\n", string(r, "model"));
    if (loaded)
        printf("  loaded    in %.1f s, %s, %s, %d thread(s)\n", number(ms, "load") * 1e-3,
               string(r, "dtype"), string(r, "kernels"), (int)number(r, "threads"));
    else
        printf("  loaded    no: %s\n", string(error, "message"));
    if (number(r, "planned_bytes") > 0)
        printf("  planned   %.0f bytes resident, %.0f at the peak\n",
               number(r, "planned_resident_bytes"), number(r, "planned_bytes"));
    if (loaded) {
        printf("  measured  %.0f bytes resident, %.0f at the peak\n", number(r, "resident_bytes"),
               number(r, "peak_bytes"));
        printf("  preview   %s\n", string(r, "preview"));
        printf(
            "  ms        preprocess %.0f, vision %.0f, prefill %.0f, generate %.0f (%d tokens)\n",
            number(ms, "preprocess"), number(ms, "vision"), number(ms, "prefill"),
            number(ms, "generate"), (int)number(r, "answer_tokens"));
    }
    if (json_is_true(json_object_get(r, "passed")))
        puts("  PASS");
    else
        printf("  FAIL      %s: %s\n", string(r, "cause"), string(error, "message"));
}

int cmd_test(const cli_options *options) {
    cli_ladder ladder;
    cli_options o = *options;
    int n_passed = 0;
    if (!cli_no_files(options, "test")) return CLI_USAGE;
    if (o.self_test < 0) o.self_test = 1;
    int code = cli_ladder_read(&o, &ladder);
    if (code != CLI_OK) return code;
    for (int i = 0; i < ladder.n_rungs; i++) {
        json_t *r = run_rung(&ladder.rungs[i], &ladder.policy);
        if (!r) {
            cli_error("test: no process or memory for %s", ladder.rungs[i].model_dir);
            continue;
        }
        n_passed += json_is_true(json_object_get(r, "passed"));
        if (!options->json) print_rung(r);
        if (options->json)
            cli_print_json(r);
        else
            json_decref(r);
    }
    if (!options->json) printf("%d of %d passed\n", n_passed, ladder.n_rungs);
    code = n_passed == ladder.n_rungs ? CLI_OK : CLI_FAILED;
    cli_ladder_free(&ladder);
    return code;
}
