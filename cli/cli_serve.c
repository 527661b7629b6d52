/* SPDX-License-Identifier: MIT
 * cli_serve.c - `newsreader serve`: which models, handed to the service. */
#include "cli.h"

int cmd_serve(const cli_options *options) {
    cli_ladder ladder;
    cli_options o = *options;
    if (!cli_no_files(options, "serve")) return CLI_USAGE;
    if (o.self_test < 0 && !o.config) o.self_test = 1; /* a file says it itself */
    int code = cli_ladder_read(&o, &ladder);
    if (code != CLI_OK) return code;
    server_start start = {.rungs = ladder.rungs,
                          .n_rungs = ladder.n_rungs,
                          .policy = &ladder.policy,
                          .config = options->config,
                          .settings = options->settings,
                          .n_settings = options->n_settings};
    code = server_main(&start);
    cli_ladder_free(&ladder);
    return code;
}
