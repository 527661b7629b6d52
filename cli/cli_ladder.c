/* SPDX-License-Identifier: MIT
 *
 * cli_ladder.c - which model answers: the one named, one of its fallbacks, or one of a
 * configuration file's; and what is said about the choice.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The file's rungs, with what the command line says on top. */
static int read_config(const cli_options *o, cli_ladder *l) {
    nr_error err;
    if (o->model_dir || o->n_fallbacks) {
        cli_error("--config excludes --model and --fallback");
        return CLI_USAGE;
    }
    if (nr_ladder_file_read(o->config, NULL, &l->file, &err) != NR_STATUS_OK) {
        cli_report(o, NULL, &err);
        return CLI_USAGE;
    }
    l->n_rungs = l->file.n_rungs;
    l->policy = l->file.policy;
    for (int i = 0; i < l->n_rungs; i++) {
        l->rungs[i] = l->file.rungs[i];
        cli_replay_engine(o, &l->rungs[i].options);
    }
    return CLI_OK;
}

static int read_arguments(const cli_options *o, cli_ladder *l) {
    const char *dir = cli_model_dir(o);
    if (!dir) return CLI_NO_MODEL;
    l->rungs[0] = (nr_rung){.model_dir = dir, .options = o->engine};
    for (int i = 0; i < o->n_fallbacks; i++)
        l->rungs[i + 1] = (nr_rung){.model_dir = o->fallbacks[i], .options = o->engine};
    l->n_rungs = 1 + o->n_fallbacks;
    l->policy.self_test = o->n_fallbacks > 0; /* one model is used as it is, and says so itself */
    return CLI_OK;
}

int cli_ladder_read(const cli_options *o, cli_ladder *out) {
    *out = (cli_ladder){.policy = nr_ladder_policy_default()};
    int code = o->config ? read_config(o, out) : read_arguments(o, out);
    if (o->self_test >= 0) out->policy.self_test = o->self_test != 0;
    if (!o->config) out->policy.kernel_test = out->policy.self_test; /* no threads: it may fork */
    return code;
}

void cli_ladder_free(cli_ladder *ladder) {
    nr_ladder_file_free(&ladder->file);
}

json_t *cli_rung_json(const nr_rung_report *r) {
    json_t *rung =
        json_pack("{s:o, s:s}", "model", cli_json_name(r->model), "cause", nr_cause_name(r->cause));
    if (r->cause != NR_CAUSE_NONE && r->tried)
        json_object_set_new(rung, "error",
                            json_pack("{s:s, s:s}", "code", nr_status_name(r->error.status),
                                      "message", r->error.message));
    if (r->planned) {
        json_object_set_new(rung, "planned_bytes", json_integer((json_int_t)r->plan.total_bytes));
        json_object_set_new(rung, "planned_resident_bytes",
                            json_integer((json_int_t)r->plan.resident_bytes));
    }
    return rung;
}

/* One object for all the pictures that nobody will read. */
static void print_refusal(const nr_ladder_report *report, const nr_error *err) {
    json_t *rungs = json_array();
    for (int i = 0; i < report->n_rungs; i++)
        if (report->rungs[i].tried) json_array_append_new(rungs, cli_rung_json(&report->rungs[i]));
    cli_print_json(json_pack("{s:n, s:b, s:o, s:{s:s, s:s}, s:o}", "model", "degraded", 0, "reason",
                             cli_json_name(report->reason), "error", "code",
                             nr_status_name(err->status), "message", err->message, "rungs", rungs));
}

int cli_open(const cli_options *options, nr_ladder_report *report, nr_engine **engine,
             nr_session **session) {
    cli_ladder ladder;
    nr_error err = {0};
    int code = cli_ladder_read(options, &ladder);
    if (code != CLI_OK) return code;
    for (int i = 0; i < ladder.n_rungs; i++) {
        ladder.rungs[i].options.progress = cli_progress;
        ladder.rungs[i].options.progress_ctx = (void *)"loading";
    }
    cli_catch_interrupt();
    nr_status status =
        nr_ladder_open(ladder.rungs, ladder.n_rungs, &ladder.policy, engine, report, &err);
    cli_progress_clear();
    if (status == NR_STATUS_OK && report->n_rungs > 1)
        cli_error("%s answers: %s", report->rungs[report->chosen].model, report->reason);
    if (status == NR_STATUS_OK) {
        status = nr_session_create(*engine, session, &err);
        if (status != NR_STATUS_OK) nr_engine_close(*engine);
    }
    cli_ladder_free(&ladder);
    if (status == NR_STATUS_OK) {
        nr_engine_info info = nr_engine_get_info(*engine);
        if (*info.placement || strncmp(info.device_note, "auto", 4) == 0)
            cli_error("device %s", info.device_note);
        if (info.chat_template_unknown)
            cli_error("%s: prompt template %s", info.model, info.prompt_template);
        cli_set_session(*session);
        return CLI_OK;
    }
    if (cli_interrupted()) return CLI_INTERRUPTED;
    if (options->json) print_refusal(report, &err);
    if (report->n_rungs > 1)
        cli_error("no model: %s", report->reason);
    else
        cli_error("%s: %s", nr_status_text(err.status), err.message);
    return CLI_NO_MODEL;
}
