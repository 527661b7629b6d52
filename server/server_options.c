/* SPDX-License-Identifier: MIT
 *
 * server_options.c - the command line of `newsreader serve`, a file with the same options
 * ("slots = 4", a line each, # for comments), and the file of keys.
 */
#define _GNU_SOURCE
#include "server_internal.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE 2
#define KEY_BYTES_MIN 16

enum {
    OPT_CONFIG = 256,
    OPT_MODEL,
    OPT_HOST,
    OPT_PORT,
    OPT_SLOTS,
    OPT_QUEUE,
    OPT_THREADS,
    OPT_CONTEXT,
    OPT_CPU,
    OPT_DTYPE,
    OPT_KEYS,
    OPT_ALLOW_HOST,
    OPT_ALLOW_NET,
    OPT_SECONDS,
    OPT_DRAIN,
    OPT_CONNECTIONS,
    OPT_QUIET
};

static const struct option table[] = {{"config", required_argument, NULL, OPT_CONFIG},
                                      {"model", required_argument, NULL, OPT_MODEL},
                                      {"host", required_argument, NULL, OPT_HOST},
                                      {"port", required_argument, NULL, OPT_PORT},
                                      {"slots", required_argument, NULL, OPT_SLOTS},
                                      {"queue", required_argument, NULL, OPT_QUEUE},
                                      {"threads", required_argument, NULL, OPT_THREADS},
                                      {"context", required_argument, NULL, OPT_CONTEXT},
                                      {"cpu", required_argument, NULL, OPT_CPU},
                                      {"dtype", required_argument, NULL, OPT_DTYPE},
                                      {"api-key-file", required_argument, NULL, OPT_KEYS},
                                      {"allow-host", required_argument, NULL, OPT_ALLOW_HOST},
                                      {"allow-net", required_argument, NULL, OPT_ALLOW_NET},
                                      {"request-seconds", required_argument, NULL, OPT_SECONDS},
                                      {"drain-seconds", required_argument, NULL, OPT_DRAIN},
                                      {"connections", required_argument, NULL, OPT_CONNECTIONS},
                                      {"quiet", no_argument, NULL, OPT_QUIET},
                                      {NULL, 0, NULL, 0}};

void server_say(const char *fmt, ...) {
    va_list args;
    fputs("newsreader: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

static const char *name_of(int id) {
    for (const struct option *o = table; o->name; o++)
        if (o->val == id) return o->name;
    return "?";
}

static bool parse_int(int id, const char *text, int32_t min, int32_t max, int32_t *out) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < min || value > max) {
        server_say("--%s %s: expected a whole number from %d to %d", name_of(id), text, min, max);
        return false;
    }
    *out = (int32_t)value;
    return true;
}

static bool parse_dtype(const char *text, server_options *o) {
    bool int8 = strcmp(text, "int8") == 0;
    if (!int8 && strcmp(text, "f32") != 0) {
        server_say("--dtype %s: expected int8 or f32", text);
        return false;
    }
    o->engine.precision = int8 ? NR_PRECISION_INT8 : NR_PRECISION_F32;
    return true;
}

static bool parse_net(const char *text, server_options *o) {
    if (o->n_nets == SERVER_NAMES_MAX || !net_parse(text, &o->nets[o->n_nets])) {
        server_say("--allow-net %s: expected up to %d nets such as 10.1.0.0/16", text,
                   SERVER_NAMES_MAX);
        return false;
    }
    o->n_nets++;
    return true;
}

static bool read_config(const char *path, server_options *o);

static bool apply(int id, const char *value, server_options *o) {
    switch (id) {
    case OPT_CONFIG: return read_config(value, o);
    case OPT_MODEL:
        o->model_dir = value;
        o->bundled = false;
        return true;
    case OPT_HOST: o->host = value; return true;
    case OPT_PORT: return parse_int(id, value, 0, 65535, &o->port);
    case OPT_SLOTS: return parse_int(id, value, 1, 64, &o->sched.n_slots);
    case OPT_QUEUE: return parse_int(id, value, 0, 4096, &o->sched.n_queued);
    case OPT_THREADS: return parse_int(id, value, 0, 256, &o->engine.n_threads);
    case OPT_CONTEXT: return parse_int(id, value, 1, 1 << 20, &o->engine.context_tokens);
    case OPT_CPU: o->engine.cpu_kernels = value; return true;
    case OPT_DTYPE: return parse_dtype(value, o);
    case OPT_KEYS: o->key_file = value; return true;
    case OPT_ALLOW_HOST:
        if (o->n_names == SERVER_NAMES_MAX) {
            server_say("--allow-host: at most %d", SERVER_NAMES_MAX);
            return false;
        }
        o->names[o->n_names++] = value;
        return true;
    case OPT_ALLOW_NET: return parse_net(value, o);
    case OPT_SECONDS: return parse_int(id, value, 1, 86400, &o->request_seconds);
    case OPT_DRAIN: return parse_int(id, value, 0, 86400, &o->drain_seconds);
    case OPT_CONNECTIONS: return parse_int(id, value, 1, 100000, &o->connections_max);
    case OPT_QUIET: o->quiet = true; return true;
    default: return false; /* getopt has said why */
    }
}

static char *trim(char *text) {
    text += strspn(text, " \t");
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\r\n", text[n - 1])) text[--n] = '\0';
    return text;
}

/* One line; the value stays where it is. */
static bool config_line(char *line, const char *path, int n_line, server_options *o) {
    char *name = trim(line), *value = strchr(name, '=');
    if (*name == '\0' || *name == '#') return true;
    if (value) *value++ = '\0';
    name = trim(name);
    for (const struct option *p = table; p->name; p++) {
        if (strcmp(p->name, name) != 0 || p->val == OPT_CONFIG) continue;
        if ((value != NULL) != (p->has_arg == required_argument)) break;
        return apply(p->val, value ? trim(value) : NULL, o);
    }
    server_say("%s:%d: \"%s\" is no option, or needs \"= value\"", path, n_line, name);
    return false;
}

/* Options point into the file's text, which lives as long as they do. */
static bool read_config(const char *path, server_options *o) {
    FILE *f = o->config_text ? NULL : fopen(path, "re");
    size_t cap = 0;
    if (!f || getdelim(&o->config_text, &cap, '\0', f) < 0) {
        server_say("--config %s: %s", path, o->config_text ? "a second one" : strerror(errno));
        if (f) fclose(f);
        return false;
    }
    fclose(f);
    char *line = o->config_text;
    for (int n = 1; line; n++) {
        char *next = strchr(line, '\n');
        if (next) *next++ = '\0';
        if (!config_line(line, path, n, o)) return false;
        line = next;
    }
    return true;
}

int server_options_parse(int argc, char **argv, server_options *o) {
    int id;
    optind = 1;
    while ((id = getopt_long(argc, argv, "", table, NULL)) != -1)
        if (!apply(id, optarg, o)) return USAGE;
    if (optind < argc) {
        server_say("serve: \"%s\" is not an option", argv[optind]);
        return USAGE;
    }
    bool local = strcmp(o->host, "127.0.0.1") == 0 || strcmp(o->host, "::1") == 0;
    if (!local && !o->key_file) {
        server_say("--host %s is reachable from outside: name keys with --api-key-file", o->host);
        return USAGE;
    }
    return 0;
}

static bool add_key(server *s, char *line, int n_line) {
    char *key = trim(line);
    if (*key == '\0' || *key == '#') return true;
    if (strlen(key) < KEY_BYTES_MIN) { /* the key itself is never shown */
        server_say("%s:%d: a key has at least %d characters", s->options.key_file, n_line,
                   KEY_BYTES_MIN);
        return false;
    }
    if (s->n_keys == SERVER_KEYS_MAX) {
        server_say("%s: more than %d keys", s->options.key_file, SERVER_KEYS_MAX);
        return false;
    }
    s->keys[s->n_keys] = strdup(key);
    return s->keys[s->n_keys] && ++s->n_keys;
}

bool server_keys_load(server *s) {
    char line[512];
    if (!s->options.key_file) return true;
    FILE *f = fopen(s->options.key_file, "re");
    bool fine = f != NULL;
    if (!f) server_say("--api-key-file %s: %s", s->options.key_file, strerror(errno));
    for (int n = 1; fine && fgets(line, sizeof line, f); n++) fine = add_key(s, line, n);
    if (f) fclose(f);
    if (fine && s->n_keys == 0) {
        server_say("%s: no keys in it", s->options.key_file);
        fine = false;
    }
    return fine;
}
