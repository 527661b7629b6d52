/* SPDX-License-Identifier: MIT
 * cli_answer.c - see cli_answer.h. */
#define _GNU_SOURCE
#include "cli_answer.h"

#include <stdio.h>
#include <stdlib.h>

/* Byte-level vocabularies begin an answer with the blank behind "ASSISTANT:". */
static void skip_leading_blanks(nr_step *step, bool begun) {
    while (!begun && step->n_bytes > 0 && (*step->text == ' ' || *step->text == '\n')) {
        step->text++;
        step->n_bytes--;
    }
}

static nr_status read_answer(nr_session *session, bool show, FILE *text, nr_finish *finish,
                             nr_error *err) {
    nr_step step = {0};
    bool begun = false;
    while (!step.done) {
        nr_status status = nr_session_step(session, &step, err);
        if (status != NR_STATUS_OK) return status;
        skip_leading_blanks(&step, begun);
        begun |= step.n_bytes > 0;
        fwrite(step.text, 1, step.n_bytes, text);
        if (!show || step.n_bytes == 0) continue;
        fwrite(step.text, 1, step.n_bytes, stdout);
        status = cli_flush(err);
        if (status != NR_STATUS_OK) return status;
    }
    *finish = step.finish;
    return NR_STATUS_OK;
}

nr_status cli_ask(nr_session *session, const char *question, const nr_generation_options *options,
                  bool show, cli_answer *out, nr_error *err) {
    cli_answer_free(out);
    FILE *text = open_memstream(&out->text, &out->n_bytes);
    if (!text) return cli_fail(err, NR_STATUS_NO_MEMORY, "answer");
    nr_status status = nr_session_ask(session, question, options, err);
    if (status == NR_STATUS_OK) status = read_answer(session, show, text, &out->finish, err);
    bool failed = ferror(text);
    if ((fclose(text) != 0 || failed) && status == NR_STATUS_OK)
        status = cli_fail(err, NR_STATUS_NO_MEMORY, "answer of %zu bytes", out->n_bytes);
    out->stats = nr_session_get_stats(session);
    return status;
}

void cli_answer_free(cli_answer *answer) {
    free(answer->text);
    *answer = (cli_answer){0};
}
