/* SPDX-License-Identifier: MIT
 * cli_answer.c - see cli_answer.h. */
#include "cli_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const cli_field fields[] = {{"headline", "What is the headline?"},
                                   {"byline", "Who wrote it?"},
                                   {"site", "What site or paper is it?"},
                                   {"date", "When was it published?"},
                                   {"lead", "Read the first paragraph."}};

const cli_field *cli_field_find(const char *name, size_t n_bytes) {
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (strlen(fields[i].name) == n_bytes && memcmp(fields[i].name, name, n_bytes) == 0)
            return &fields[i];
    return NULL;
}

static nr_status append(cli_answer *a, const char *text, size_t n_bytes, nr_error *err) {
    if (a->cap - a->n_bytes <= n_bytes) {
        size_t cap = 2 * (a->n_bytes + n_bytes) + 256;
        char *grown = realloc(a->text, cap);
        if (!grown) return cli_fail(err, NR_STATUS_NO_MEMORY, "answer of %zu bytes", cap);
        a->text = grown;
        a->cap = cap;
    }
    memcpy(a->text + a->n_bytes, text, n_bytes);
    a->n_bytes += n_bytes;
    a->text[a->n_bytes] = '\0';
    return NR_STATUS_OK;
}

/* Byte-level vocabularies begin an answer with the blank behind "ASSISTANT:". */
static void skip_leading_blanks(nr_step *step, const cli_answer *so_far) {
    if (so_far->n_bytes > 0) return;
    while (step->n_bytes > 0 && (*step->text == ' ' || *step->text == '\n')) {
        step->text++;
        step->n_bytes--;
    }
}

nr_status cli_ask(nr_session *session, const char *question, const nr_generation_options *options,
                  bool show, cli_answer *out, nr_error *err) {
    nr_step step = {0};
    out->n_bytes = 0;
    out->finish = NR_FINISH_NONE;
    nr_status status = append(out, "", 0, err);
    if (status == NR_STATUS_OK) status = nr_session_ask(session, question, options, err);
    while (status == NR_STATUS_OK && !step.done) {
        status = nr_session_step(session, &step, err);
        if (status != NR_STATUS_OK) break;
        skip_leading_blanks(&step, out);
        status = append(out, step.text, step.n_bytes, err);
        if (!show || step.n_bytes == 0) continue;
        fwrite(step.text, 1, step.n_bytes, stdout);
        status = cli_flush(err);
    }
    out->finish = step.finish;
    out->stats = nr_session_get_stats(session);
    return status;
}

void cli_answer_free(cli_answer *answer) {
    free(answer->text);
    *answer = (cli_answer){0};
}
