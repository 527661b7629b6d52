/* SPDX-License-Identifier: MIT
 *
 * ladder.c - the first model of several that loads, fits and answers. A rung that fails is closed
 * before the next is tried, so that at no time two models are in memory.
 */
#include "engine_internal.h"

#include "nr_json.h"

#include <stdio.h>
#include <string.h>

nr_ladder_policy nr_ladder_policy_default(void) {
    return (nr_ladder_policy){.struct_bytes = sizeof(nr_ladder_policy), .self_test = true};
}

const char *nr_cause_name(nr_cause cause) {
    static const char *const names[] = {
#define NR_CAUSE_TEXT(name, text, meaning) text,
        NR_CAUSE_MAP(NR_CAUSE_TEXT)
#undef NR_CAUSE_TEXT
    };
    return (unsigned)cause < NR_COUNT(names) ? names[cause] : "unknown";
}

static nr_cause cause_of(nr_status status) {
    switch (status) {
    case NR_STATUS_OK: return NR_CAUSE_NONE;
    case NR_STATUS_NOT_FOUND: return NR_CAUSE_MISSING;
    case NR_STATUS_FORMAT:
    case NR_STATUS_SHAPE:
    case NR_STATUS_LIMIT: /* sizes in files that no model has */
    case NR_STATUS_NOT_FINITE: return NR_CAUSE_CORRUPT;
    case NR_STATUS_UNSUPPORTED: return NR_CAUSE_UNSUPPORTED;
    case NR_STATUS_NO_MEMORY:
    case NR_STATUS_CEILING: return NR_CAUSE_DOES_NOT_FIT;
    case NR_STATUS_SELF_TEST: return NR_CAUSE_SELF_TEST;
    default: return NR_CAUSE_OTHER;
    }
}

static nr_status try_rung(const nr_rung *rung, const nr_ladder_policy *policy, nr_engine **out,
                          nr_rung_report *r, nr_error *err) {
    nr_engine *engine = NULL;
    r->tried = true;
    if (policy->kernel_test) NR_TRY(nr_kernel_test(&rung->options, err));
    NR_TRY(nr_engine_open_planned(rung->model_dir, &rung->options, &r->plan, &engine, err));
    r->load_ms = engine->info.load_ms;
    nr_status status = NR_STATUS_OK;
    if (policy->self_test) status = nr_engine_self_test(engine, &r->self_test, err);
    r->resident_bytes =
        policy->self_test ? r->self_test.resident_bytes : nr_memory_usage_get().resident_bytes;
    if (status == NR_STATUS_OK)
        *out = engine;
    else
        nr_engine_close(engine);
    return status;
}

/* "llava: does_not_fit (...)" behind what is there. */
static void add_reason(nr_ladder_report *report, const nr_rung_report *r) {
    char message[160], line[sizeof message + sizeof r->model + 64];
    size_t used = strlen(report->reason), room = sizeof report->reason - used;
    nr_json_printable(message, sizeof message, r->error.message); /* whole characters */
    int n = snprintf(line, sizeof line, "%s%s: %s (%s)", used ? "; " : "", r->model,
                     nr_cause_name(r->cause), message);
    if (n > 0 && (size_t)n < room) memcpy(report->reason + used, line, (size_t)n + 1);
}

static void conclude(nr_ladder_report *report) {
    const nr_rung_report *chosen = report->chosen < 0 ? NULL : &report->rungs[report->chosen];
    report->degraded = report->chosen > 0;
    for (int32_t i = 0; i < report->n_rungs; i++)
        if (report->rungs[i].tried && report->rungs[i].cause != NR_CAUSE_NONE)
            add_reason(report, &report->rungs[i]);
    if (report->chosen == 0)
        snprintf(report->reason, sizeof report->reason, "%s: the first choice", chosen->model);
}

/* Last part of the path, in whole characters. */
static void name_rung(nr_rung_report *r, const char *model_dir) {
    char name[4096];
    nr_base_name(name, sizeof name, model_dir);
    nr_json_printable(r->model, sizeof r->model, name);
}

static nr_status check(const nr_rung *rungs, int32_t n_rungs, const nr_ladder_policy *policy,
                       nr_error *err) {
    NR_FAIL_IF(n_rungs < 1 || n_rungs > NR_RUNGS_MAX, ARG, "%d rungs, expected 1 to %d", n_rungs,
               NR_RUNGS_MAX);
    NR_FAIL_IF(policy->struct_bytes != sizeof *policy, ARG,
               "nr_ladder_policy of %u bytes, expected %zu: use nr_ladder_policy_default",
               policy->struct_bytes, sizeof *policy);
    for (int32_t i = 0; i < n_rungs; i++)
        NR_FAIL_IF(!rungs[i].model_dir, ARG, "rung %d has no model", i);
    return NR_STATUS_OK;
}

nr_status nr_ladder_open(const nr_rung *rungs, int32_t n_rungs, const nr_ladder_policy *policy,
                         nr_engine **out, nr_ladder_report *report, nr_error *err) {
    nr_ladder_policy defaults = nr_ladder_policy_default();
    const nr_ladder_policy *p = policy ? policy : &defaults;
    nr_status status = NR_STATUS_OK;
    *report = (nr_ladder_report){.chosen = -1};
    NR_TRY(check(rungs, n_rungs, p, err));
    report->n_rungs = n_rungs;
    for (int32_t i = 0; i < n_rungs; i++) name_rung(&report->rungs[i], rungs[i].model_dir);
    for (int32_t i = 0; i < n_rungs && report->chosen < 0; i++) {
        nr_rung_report *r = &report->rungs[i];
        r->error = (nr_error){0};
        status = try_rung(&rungs[i], p, out, r, &r->error);
        r->cause = cause_of(status);
        r->planned = r->plan.total_bytes > 0;
        if (status == NR_STATUS_OK)
            report->chosen = i;
        else if (err)
            *err = r->error;
        if (status == NR_STATUS_CANCELLED || status == NR_STATUS_ARG) break;
        if (status != NR_STATUS_OK && p->refuse[r->cause]) break;
    }
    conclude(report);
    return status;
}
