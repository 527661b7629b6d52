/* SPDX-License-Identifier: MIT
 *
 * cli.h - what the commands of `newsreader` share: options, exit codes, messages, input files.
 * Programs see the library through include/newsreader.h only.
 */
#ifndef CLI_H
#define CLI_H

#include "newsreader.h"
#include "server.h"

#include <jansson.h>

/* Exit codes, also in `newsreader --help`. */
enum {
    CLI_OK = 0,
    CLI_FAILED = 1,   /* a picture, file or request could not be served */
    CLI_USAGE = 2,    /* the command line is wrong */
    CLI_NO_MODEL = 3, /* the model could not be opened */
    CLI_INTERRUPTED = 130
};

#define CLI_REPLAY_MAX 32
#define CLI_SETTINGS_MAX 64

typedef struct cli_options {
    const char *model_dir; /* NULL: the default model */
    const char *fallbacks[NR_RUNGS_MAX - 1];
    int n_fallbacks;
    const char *config;     /* file of rungs and policy, or NULL */
    int self_test;          /* 1, 0; -1: not said */
    const char *gpu, *also; /* plan: the card, and who else is on it */
    bool service;           /* plan: of serve with its settings */
    const char *prompt;     /* NULL: none given */
    const char *fields;     /* "headline,byline" or NULL */
    const char *image;      /* trace, bench */
    const char *out;
    nr_fit fit;
    bool fit_given, json, no_special, parse_special, help;
    int32_t n_tokens, n_runs;
    nr_engine_options engine;
    nr_generation_options generation;
    char **files; /* what is left of argv */
    int n_files;
    struct {
        int id;
        const char *value;
    } replay[CLI_REPLAY_MAX]; /* engine options as given */
    int n_replay;
    server_setting settings[CLI_SETTINGS_MAX]; /* of serve, as given */
    int n_settings;
} cli_options;

/* Parse argv behind the command's name. On failure prints why and returns CLI_USAGE. */
int cli_parse(int argc, char **argv, cli_options *out);
/* For a command that takes no files: true when none are named, else prints why not. */
bool cli_no_files(const cli_options *options, const char *command);

/* The model to use where --model is absent: $NEWSREADER_MODEL, else the one installed with or
 * built beside this program. NULL where there is none. Static storage. */
const char *cli_default_model(void);
/* options->model_dir or the default; prints what to do and returns NULL where there is none. */
const char *cli_model_dir(const cli_options *options);

/* "newsreader: message" on standard error. */
void cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same for a library error: status in words, then its message. With --json also an object on
 * standard output: {"file": ..., "error": {"code", "message"}}; file NULL: not about one. */
void cli_report(const cli_options *options, const char *file, const nr_error *err);

/* Progress on a terminal, one line that is written over: of loading, and which of several pictures
 * is being read. Nothing when standard error is piped. */
bool cli_progress(void *ctx, uint64_t bytes_done, uint64_t bytes_total);
void cli_progress_picture(int i_picture, int n_pictures, const char *file);
void cli_progress_clear(void);

/* Ctrl-C: the first cancels the session given here (or gives up loading), the second ends. */
void cli_catch_interrupt(void);
void cli_set_session(nr_session *session); /* NULL: none */
bool cli_interrupted(void);

/* Apply the engine options of the command line to `engine`, which came from somewhere else. */
void cli_replay_engine(const cli_options *options, nr_engine_options *engine);

/* Models to try, and what to do when one fails: from --config, or --model and --fallback. */
typedef struct cli_ladder {
    nr_rung rungs[NR_RUNGS_MAX];
    int n_rungs;
    nr_ladder_policy policy;
    nr_ladder_file file; /* owns strings of rungs */
} cli_ladder;
/* Returns an exit code; on failure has printed why. */
int cli_ladder_read(const cli_options *options, cli_ladder *out);
void cli_ladder_free(cli_ladder *ladder); /* accepts an empty one */
/* Model, cause, error and plan of a rung. */
json_t *cli_rung_json(const nr_rung_report *rung);

/* Open the first model that answers, and a session, with progress; *report says which and why, and
 * so does standard error where there was a choice. Returns an exit code; on failure has printed
 * why. */
int cli_open(const cli_options *options, nr_ladder_report *report, nr_engine **engine,
             nr_session **session);

/* "-" is standard input. Transfers *out. */
nr_status cli_picture_read(const char *path, nr_picture **out, nr_error *err);
/* The same into a reserved picture. */
nr_status cli_picture_load(nr_picture *picture, const char *path, nr_error *err);

/* A name from outside as JSON: where it is not UTF-8, its bytes beyond ASCII become '?'. */
json_t *cli_json_name(const char *name);
/* What is known of the card; new. */
json_t *cli_device_json(const nr_device_usage *device);
/* One line on standard output. Takes the object over; NULL counts as out of memory. */
void cli_print_json(json_t *owned);

/* Did all that was written to standard output arrive? Errors: IO. */
nr_status cli_flush(nr_error *err);

/* Fill *err as the library does. Returns status. */
nr_status cli_fail(nr_error *err, nr_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

double cli_now_ms(void);

int cmd_read(const cli_options *options);
int cmd_trace(const cli_options *options);
int cmd_tokenize(const cli_options *options);
int cmd_quantize(const cli_options *options);
int cmd_bench(const cli_options *options);
int cmd_plan(const cli_options *options);
int cmd_test(const cli_options *options);
int cmd_serve(const cli_options *options);

#endif
