/* SPDX-License-Identifier: MIT
 * server.h - `newsreader serve`: the service. Programs see the library through include/ only. */
#ifndef SERVER_H
#define SERVER_H

/* Runs until SIGTERM or SIGINT. argv[0] is "serve". default_model: folder to use where --model is
 * absent, or NULL; it is the bundled reader, whose five questions stand in for a prompt.
 * Returns an exit status as `newsreader --help` lists them. */
int server_main(int argc, char **argv, const char *default_model);

/* `newsreader serve-helper NET...`: what the service starts for itself; see helper.h. */
int helper_main(int argc, char **argv);

#endif
