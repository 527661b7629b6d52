/* SPDX-License-Identifier: MIT
 * server.h - `newsreader serve`: the service. Programs see the library through include/ only. */
#ifndef SERVER_H
#define SERVER_H

#include "newsreader.h"

/* A setting by the name of its option, without "--"; value NULL: a flag. Strings live until
 * server_main returns. */
typedef struct server_setting {
    const char *name, *value;
} server_setting;

typedef struct server_start {
    const nr_rung *rungs; /* models to try; slots and pictures of 0 become the service's defaults */
    int n_rungs;
    const nr_ladder_policy *policy;
    const char *config;  /* JSON file whose "server" has settings; or NULL */
    const server_setting *settings; /* of the command line; they go before the file */
    int n_settings;
} server_start;

/* Runs until SIGTERM or SIGINT. Returns an exit status as `newsreader --help` lists them. */
int server_main(const server_start *start);

/* Add to *options, those of a model, what the service would: its scheduler and its own memory. Only
 * the settings of start are looked at. Returns 0, or an exit status after saying why. */
int server_plan_options(const server_start *start, nr_engine_options *options);

/* `newsreader serve-helper NET...`: what the service starts for itself; see helper.h. */
int helper_main(int argc, char **argv);

#endif
