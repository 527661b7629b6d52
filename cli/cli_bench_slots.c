/* SPDX-License-Identifier: MIT
 *
 * cli_bench_slots.c - `newsreader bench --slots N`: N requests of the same picture at the same time
 * through a scheduler, and the rate at which all together get tokens while all of them write.
 */
#include "cli_bench.h"

#include "newsreader_sched.h"

#include <stdlib.h>

/* Until the job gives text, or ends. */
static nr_event wait_for(nr_job *job, nr_event_kind kind) {
    nr_event event;
    do event = nr_job_next(job, -1);
    while (event.kind != kind && event.kind != NR_EVENT_END);
    return event;
}

static nr_status run_jobs(nr_sched *sched, nr_job **jobs, const nr_request *request, int n,
                          cli_slots_result *out, nr_error *err) {
    double start_ms = cli_now_ms();
    for (int i = 0; i < n; i++) {
        nr_status status = nr_sched_submit(sched, request, &jobs[i], err);
        if (status != NR_STATUS_OK) return status;
    }
    for (int i = 0; i < n; i++)
        if (wait_for(jobs[i], NR_EVENT_TEXT).kind == NR_EVENT_END)
            return cli_fail(err, NR_STATUS_ARG,
                            "bench: answer %d ended before all had begun: more "
                            "--tokens are needed",
                            i);
    double all_ms = cli_now_ms();
    nr_sched_stats before = nr_sched_get_stats(sched);
    nr_event end = wait_for(jobs[0], NR_EVENT_END);
    if (end.status != NR_STATUS_OK) return cli_fail(err, end.status, "bench: a request failed");
    double first_end_ms = cli_now_ms();
    nr_sched_stats after = nr_sched_get_stats(sched);
    for (int i = 1; i < n; i++) (void)wait_for(jobs[i], NR_EVENT_END);
    *out = (cli_slots_result){.n_slots = n,
                              .begun_ms = all_ms - start_ms,
                              .total_ms = cli_now_ms() - start_ms,
                              .window_ms = first_end_ms - all_ms,
                              .window_tokens = after.n_batch_rows - before.n_batch_rows};
    return NR_STATUS_OK;
}

nr_status cli_bench_slots(nr_engine *engine, const nr_picture *picture, const char *question,
                          const cli_options *o, cli_slots_result *out, nr_error *err) {
    int n = o->engine.n_slots;
    nr_sched *sched = NULL;
    nr_sched_options options = nr_sched_options_default();
    nr_request request = nr_request_default();
    nr_job **jobs = calloc((size_t)n, sizeof *jobs);
    if (!jobs) return cli_fail(err, NR_STATUS_NO_MEMORY, "bench: %d requests", n);
    options.n_slots = n;
    options.n_queued = 0;
    request.picture = picture;
    request.fit = o->fit;
    request.questions = &question;
    request.n_questions = 1;
    request.generation = o->generation;
    request.generation.max_tokens = o->n_tokens;
    request.generation.ignore_stop = true;
    nr_status status = nr_sched_open(engine, &options, &sched, err);
    if (status == NR_STATUS_OK) status = run_jobs(sched, jobs, &request, n, out, err);
    for (int i = 0; i < n; i++) nr_job_close(jobs[i]);
    nr_sched_close(sched);
    free(jobs);
    return status;
}
