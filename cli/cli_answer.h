/* SPDX-License-Identifier: MIT
 *
 * cli_answer.h - one question to one picture, its text collected and, if wanted, shown while it is
 * generated.
 */
#ifndef CLI_ANSWER_H
#define CLI_ANSWER_H

#include "cli.h"

typedef struct cli_answer {
    char *text; /* owns; UTF-8, NUL-terminated */
    size_t n_bytes;
    nr_finish finish;
    nr_session_stats stats;
} cli_answer;

/* show: pieces go to standard output as they come. What *out had is freed first. Errors: as
 * nr_session_ask and nr_session_step, NO_MEMORY. */
nr_status cli_ask(nr_session *session, const char *question, const nr_generation_options *options,
                  bool show, cli_answer *out, nr_error *err);
void cli_answer_free(cli_answer *answer);

#endif
