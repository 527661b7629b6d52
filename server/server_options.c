/* SPDX-License-Identifier: MIT
 *
 * server_options.c - settings of the service: from "server" of the configuration file, then from
 * the command line, by the same names ("api_key_file" and "--api-key-file"); and the file of keys.
 */
#define _GNU_SOURCE
#include "server_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE 2
#define KEY_BYTES_MIN 16

void server_say(const char *fmt, ...) {
    va_list args;
    fputs("newsreader: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

/* ---- values --------------------------------------------------------------------------------- */

static bool set_int(const char *name, const char *text, int32_t min, int32_t max, int32_t *out) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < min || value > max) {
        server_say("%s %s: expected a whole number from %d to %d", name, text, min, max);
        return false;
    }
    *out = (int32_t)value;
    return true;
}

static bool add_net(const char *text, server_options *o) {
    if (o->n_nets == SERVER_NAMES_MAX || !net_parse(text, &o->nets[o->n_nets])) {
        server_say("allow-net %s: expected up to %d nets such as 10.1.0.0/16", text,
                   SERVER_NAMES_MAX);
        return false;
    }
    o->n_nets++;
    return true;
}

static bool add_name(const char *text, server_options *o) {
    if (o->n_names == SERVER_NAMES_MAX) {
        server_say("allow-host %s: at most %d", text, SERVER_NAMES_MAX);
        return false;
    }
    o->names[o->n_names++] = text;
    return true;
}

static bool set_bodies(const char *text, server_options *o) {
    nr_error err;
    if (nr_bytes_parse(text, &o->bodies_bytes_max, &err) != NR_STATUS_OK) {
        server_say("max-bodies %s", err.message);
        return false;
    }
    if (o->bodies_bytes_max < SERVER_BODY_MAX)
        server_say("max-bodies %s: expected at least one of %llu bytes", text,
                   (unsigned long long)SERVER_BODY_MAX);
    return o->bodies_bytes_max >= SERVER_BODY_MAX;
}

/* ---- settings ------------------------------------------------------------------------------- */

typedef enum setting_kind { NUMBER, TEXT, FLAG, NAME, NET, BODIES } setting_kind;

static const struct setting {
    const char *name;
    setting_kind kind;
    size_t at; /* in server_options: int32_t or const char * */
    int32_t min, max;
} known[] = {{"host", TEXT, offsetof(server_options, host), 0, 0},
             {"port", NUMBER, offsetof(server_options, port), 0, 65535},
             {"queue", NUMBER, offsetof(server_options, queue), 0, 4096},
             {"api-key-file", TEXT, offsetof(server_options, key_file), 0, 0},
             {"allow-host", NAME, 0, 0, 0},
             {"allow-net", NET, 0, 0, 0},
             {"request-seconds", NUMBER, offsetof(server_options, request_seconds), 1, 86400},
             {"drain-seconds", NUMBER, offsetof(server_options, drain_seconds), 0, 86400},
             {"connections", NUMBER, offsetof(server_options, connections_max), 1, 100000},
             {"max-bodies", BODIES, 0, 0, 0},
             {"quiet", FLAG, 0, 0, 0}};

/* '-' on the command line is '_' in the file. */
static bool same_name(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_'))) return false;
    return *a == *b;
}

static const struct setting *find(const char *name) {
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (same_name(known[i].name, name)) return &known[i];
    return NULL;
}

static bool apply(const struct setting *p, const char *value, server_options *o) {
    void *at = (char *)o + p->at;
    switch (p->kind) {
    case NUMBER: return set_int(p->name, value, p->min, p->max, at);
    case TEXT: *(const char **)at = value; return true;
    case FLAG: o->quiet = true; return true;
    case NAME: return add_name(value, o);
    case NET: return add_net(value, o);
    case BODIES: return set_bodies(value, o);
    }
    return false;
}

static bool apply_json(const struct setting *p, const json_t *value, server_options *o) {
    char digits[32];
    if (p->kind == FLAG && json_is_boolean(value)) return json_is_false(value) || apply(p, NULL, o);
    if ((p->kind == NUMBER || p->kind == BODIES) && json_is_integer(value)) {
        snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return apply(p, digits, o);
    }
    if (p->kind != FLAG && p->kind != NUMBER && json_is_string(value))
        return apply(p, json_string_value(value), o);
    server_say("server: %s: expected %s", p->name,
               p->kind == FLAG     ? "true or false"
               : p->kind == NUMBER ? "a whole number"
                                   : "a text");
    return false;
}

/* A list of names or nets is each of them. */
static bool apply_member(const char *key, const json_t *value, server_options *o) {
    const struct setting *p = find(key);
    const json_t *one;
    size_t i;
    if (!p) {
        server_say("server: \"%s\" is not known", key);
        return false;
    }
    if ((p->kind != NAME && p->kind != NET) || !json_is_array(value))
        return apply_json(p, value, o);
    json_array_foreach(value, i, one) if (!apply_json(p, one, o)) return false;
    return true;
}

/* A file named in the configuration is beside it. */
static bool place_keys(const char *config, server_options *o) {
    const char *slash = strrchr(config, '/');
    if (!o->key_file || o->key_file[0] == '/' || !slash) return true;
    int n = asprintf(&o->key_path, "%.*s/%s", (int)(slash - config), config, o->key_file);
    if (n < 0) o->key_path = NULL;
    o->key_file = o->key_path;
    return n >= 0;
}

/* What nr_ladder_file_read has left for us; it has checked the rest. */
static bool read_config(const char *path, server_options *o) {
    json_error_t problem;
    const char *key;
    json_t *value;
    o->config = json_load_file(path, JSON_REJECT_DUPLICATES, &problem);
    json_t *settings = json_object_get(o->config, "server");
    if (!o->config) server_say("%s: line %d: %s", path, problem.line, problem.text);
    if (!o->config) return false;
    if (settings && !json_is_object(settings)) {
        server_say("%s: server: expected an object", path);
        return false;
    }
    json_object_foreach(settings, key, value) if (!apply_member(key, value, o)) return false;
    return place_keys(path, o);
}

int server_options_read(const server_start *start, server_options *o) {
    *o = (server_options){.host = "127.0.0.1",
                          .port = 8009,
                          .queue = 32,
                          .request_seconds = 120,
                          .drain_seconds = 30,
                          .connections_max = 1024,
                          .bodies_bytes_max = 4 * SERVER_BODY_MAX};
    if (start->config && !read_config(start->config, o)) return USAGE;
    for (int i = 0; i < start->n_settings; i++) {
        const struct setting *p = find(start->settings[i].name);
        if (!p || !apply(p, start->settings[i].value, o)) return USAGE;
    }
    bool local = strcmp(o->host, "127.0.0.1") == 0 || strcmp(o->host, "::1") == 0;
    if (!local && !o->key_file) {
        server_say("--host %s is reachable from outside: name keys with --api-key-file", o->host);
        return USAGE;
    }
    return 0;
}

void server_options_free(server_options *o) {
    json_decref(o->config);
    free(o->key_path);
}

/* ---- keys ----------------------------------------------------------------------------------- */

static char *trim(char *text) {
    text += strspn(text, " \t");
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\r\n", text[n - 1])) text[--n] = '\0';
    return text;
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
