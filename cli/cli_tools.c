/* SPDX-License-Identifier: MIT
 * cli_tools.c - `newsreader quantize`, `trace` and `tokenize`. */
#define _GNU_SOURCE
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_ROWS 1024 /* tokens a trace may have where --context does not say */

int cmd_quantize(const cli_options *options) {
    nr_error err;
    if (options->n_files != 2) {
        cli_error("quantize: expected DIR OUT, found %d arguments", options->n_files);
        return CLI_USAGE;
    }
    nr_engine_options o = options->engine;
    o.progress = cli_progress;
    o.progress_ctx = (void *)"quantizing";
    cli_catch_interrupt();
    nr_status status = nr_quantize(options->files[0], options->files[1], &o, &err);
    cli_progress_clear();
    if (status == NR_STATUS_OK) return CLI_OK;
    cli_report(options, NULL, &err);
    return cli_interrupted() ? CLI_INTERRUPTED : CLI_FAILED;
}

/* The checkpoint's own preprocessing unless told otherwise, every layer, one forward call. */
int cmd_trace(const cli_options *options) {
    nr_engine *engine = NULL;
    nr_session *session = NULL;
    nr_picture *picture = NULL;
    nr_error err;
    if (!cli_no_files(options, "trace")) return CLI_USAGE;
    if (!options->out || !options->prompt) {
        cli_error("trace: --prompt and --out are needed");
        return CLI_USAGE;
    }
    cli_options o = *options;
    o.engine.all_layers = true;
    o.engine.prefill_rows = o.engine.context_tokens ? o.engine.context_tokens : TRACE_ROWS;
    nr_ladder_report report;
    int code = cli_open(&o, &report, &engine, &session);
    if (code != CLI_OK) return code;
    cli_set_session(NULL);
    nr_session_free(session);
    nr_status status = NR_STATUS_OK;
    if (o.image) status = cli_picture_read(o.image, &picture, &err);
    if (status == NR_STATUS_OK)
        status = nr_trace(engine, picture, o.prompt, o.fit_given ? o.fit : NR_FIT_CHECKPOINT, o.out,
                          &err);
    if (status != NR_STATUS_OK) cli_report(options, NULL, &err);
    nr_picture_free(picture);
    nr_engine_close(engine);
    return status == NR_STATUS_OK ? CLI_OK : CLI_FAILED;
}

static int tokenize_line(nr_vocabulary *v, const char *line, size_t n_bytes,
                         const cli_options *options) {
    json_error_t parse_error;
    nr_error err;
    const int32_t *ids;
    size_t n_ids;
    json_t *text = json_loadb(line, n_bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &parse_error);
    if (!json_is_string(text)) {
        size_t n_shown = strcspn(line, "\r\n");
        cli_error("tokenize: found %.*s, expected a JSON string", n_shown < 40 ? (int)n_shown : 40,
                  line);
        json_decref(text);
        return CLI_FAILED;
    }
    nr_status status =
        nr_vocabulary_encode(v, json_string_value(text), json_string_length(text),
                             !options->no_special, options->parse_special, &ids, &n_ids, &err);
    json_decref(text);
    if (status != NR_STATUS_OK) {
        cli_report(options, NULL, &err);
        return CLI_FAILED;
    }
    putchar('[');
    for (size_t i = 0; i < n_ids; i++) printf(i ? ", %d" : "%d", ids[i]);
    puts("]");
    return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED; /* main says why */
}

int cmd_tokenize(const cli_options *options) {
    nr_vocabulary *v = NULL;
    nr_error err;
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int code = CLI_OK;
    if (!cli_no_files(options, "tokenize")) return CLI_USAGE;
    const char *dir = cli_model_dir(options);
    if (!dir) return CLI_NO_MODEL;
    if (nr_vocabulary_open(dir, &v, &err) != NR_STATUS_OK) {
        cli_report(options, NULL, &err);
        return CLI_NO_MODEL;
    }
    while (code == CLI_OK && (n = getline(&line, &cap, stdin)) >= 0)
        code = tokenize_line(v, line, (size_t)n, options);
    free(line);
    nr_vocabulary_close(v);
    return code;
}
