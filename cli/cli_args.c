/* SPDX-License-Identifier: MIT
 * cli_args.c - the command line's options; one table for all commands. */
#define _GNU_SOURCE
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum option_id {
    OPT_MODEL = 256,
    OPT_DTYPE,
    OPT_THREADS,
    OPT_CONTEXT,
    OPT_CPU,
    OPT_DEVICE,
    OPT_PROMPT,
    OPT_FIELDS,
    OPT_FIT,
    OPT_MAX_TOKENS,
    OPT_TEMPERATURE,
    OPT_TOP_P,
    OPT_TOP_K,
    OPT_SEED,
    OPT_JSON,
    OPT_IGNORE_STOP,
    OPT_IMAGE,
    OPT_OUT,
    OPT_NO_SPECIAL,
    OPT_PARSE_SPECIAL,
    OPT_TOKENS,
    OPT_RUNS,
    OPT_KV,
    OPT_SLOTS,
    OPT_IMAGE_CACHE,
    OPT_MAX_PIXELS,
    OPT_MAX_RAM,
    OPT_MAX_VRAM,
    OPT_GPU_LAYERS,
    OPT_VISION,
    OPT_FALLBACK,
    OPT_CONFIG,
    OPT_SELF_TEST,
    OPT_NO_SELF_TEST,
    OPT_GPU,
    OPT_ALSO,
    OPT_SERVICE,
    OPT_SERVE
};

static const struct option table[] = {{"model", required_argument, NULL, OPT_MODEL},
                                      {"dtype", required_argument, NULL, OPT_DTYPE},
                                      {"threads", required_argument, NULL, OPT_THREADS},
                                      {"context", required_argument, NULL, OPT_CONTEXT},
                                      {"cpu", required_argument, NULL, OPT_CPU},
                                      {"device", required_argument, NULL, OPT_DEVICE},
                                      {"prompt", required_argument, NULL, OPT_PROMPT},
                                      {"fields", required_argument, NULL, OPT_FIELDS},
                                      {"image-fit", required_argument, NULL, OPT_FIT},
                                      {"max-tokens", required_argument, NULL, OPT_MAX_TOKENS},
                                      {"temperature", required_argument, NULL, OPT_TEMPERATURE},
                                      {"top-p", required_argument, NULL, OPT_TOP_P},
                                      {"top-k", required_argument, NULL, OPT_TOP_K},
                                      {"seed", required_argument, NULL, OPT_SEED},
                                      {"json", no_argument, NULL, OPT_JSON},
                                      {"ignore-stop", no_argument, NULL, OPT_IGNORE_STOP},
                                      {"image", required_argument, NULL, OPT_IMAGE},
                                      {"out", required_argument, NULL, OPT_OUT},
                                      {"no-special", no_argument, NULL, OPT_NO_SPECIAL},
                                      {"parse-special", no_argument, NULL, OPT_PARSE_SPECIAL},
                                      {"tokens", required_argument, NULL, OPT_TOKENS},
                                      {"runs", required_argument, NULL, OPT_RUNS},
                                      {"kv", required_argument, NULL, OPT_KV},
                                      {"slots", required_argument, NULL, OPT_SLOTS},
                                      {"image-cache", required_argument, NULL, OPT_IMAGE_CACHE},
                                      {"max-pixels", required_argument, NULL, OPT_MAX_PIXELS},
                                      {"max-ram", required_argument, NULL, OPT_MAX_RAM},
                                      {"max-vram", required_argument, NULL, OPT_MAX_VRAM},
                                      {"gpu-layers", required_argument, NULL, OPT_GPU_LAYERS},
                                      {"vision", required_argument, NULL, OPT_VISION},
                                      {"fallback", required_argument, NULL, OPT_FALLBACK},
                                      {"config", required_argument, NULL, OPT_CONFIG},
                                      {"self-test", no_argument, NULL, OPT_SELF_TEST},
                                      {"no-self-test", no_argument, NULL, OPT_NO_SELF_TEST},
                                      {"gpu", required_argument, NULL, OPT_GPU},
                                      {"also", required_argument, NULL, OPT_ALSO},
                                      {"service", no_argument, NULL, OPT_SERVICE},
                                      {"host", required_argument, NULL, OPT_SERVE},
                                      {"port", required_argument, NULL, OPT_SERVE},
                                      {"queue", required_argument, NULL, OPT_SERVE},
                                      {"api-key-file", required_argument, NULL, OPT_SERVE},
                                      {"allow-host", required_argument, NULL, OPT_SERVE},
                                      {"allow-net", required_argument, NULL, OPT_SERVE},
                                      {"request-seconds", required_argument, NULL, OPT_SERVE},
                                      {"drain-seconds", required_argument, NULL, OPT_SERVE},
                                      {"connections", required_argument, NULL, OPT_SERVE},
                                      {"max-bodies", required_argument, NULL, OPT_SERVE},
                                      {"quiet", no_argument, NULL, OPT_SERVE},
                                      {"help", no_argument, NULL, 'h'},
                                      {NULL, 0, NULL, 0}};

static const char *name_of(int id) {
    for (const struct option *o = table; o->name; o++)
        if (o->val == id) return o->name;
    return "?";
}

static bool parse_int(int id, const char *text, int32_t min, int32_t *out) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < min || value > INT32_MAX) {
        cli_error("--%s %s: expected a whole number from %d", name_of(id), text, min);
        return false;
    }
    *out = (int32_t)value;
    return true;
}

static bool parse_float(int id, const char *text, float min, float max, float *out) {
    char *end;
    float value = strtof(text, &end);
    if (end == text || *end || !(value >= min && value <= max)) {
        cli_error("--%s %s: expected a number from %g to %g", name_of(id), text, (double)min,
                  (double)max);
        return false;
    }
    *out = value;
    return true;
}

static bool parse_seed(const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end || errno || strchr(text, '-')) {
        cli_error("--seed %s: expected a whole number from 0", text);
        return false;
    }
    *out = value;
    return true;
}

static bool parse_fit(const char *text, cli_options *o) {
    for (nr_fit fit = NR_FIT_AUTO; fit <= NR_FIT_SQUASH; fit = (nr_fit)(fit + 1))
        if (strcmp(text, nr_fit_name(fit)) == 0) {
            o->fit = fit;
            o->fit_given = true;
            return true;
        }
    cli_error("--image-fit %s: expected pad, crop, squash, checkpoint or auto", text);
    return false;
}

static bool parse_dtype(const char *text, cli_options *o) {
    if (strcmp(text, "int8") == 0)
        o->engine.precision = NR_PRECISION_INT8;
    else if (strcmp(text, "f32") == 0)
        o->engine.precision = NR_PRECISION_F32;
    else {
        cli_error("--dtype %s: expected int8 or f32", text);
        return false;
    }
    return true;
}

static bool parse_kv(const char *text, cli_options *o) {
    if (strcmp(text, "f16") == 0)
        o->engine.kv = NR_KV_F16;
    else if (strcmp(text, "int8") == 0)
        o->engine.kv = NR_KV_INT8;
    else {
        cli_error("--kv %s: expected int8 or f16", text);
        return false;
    }
    return true;
}

/* No ceiling and one of nothing differ: 0 is refused. */
static bool parse_bytes(int id, const char *text, uint64_t *out) {
    nr_error err;
    if (nr_bytes_parse(text, out, &err) != NR_STATUS_OK) {
        cli_error("--%s %s", name_of(id), err.message);
        return false;
    }
    if (*out == 0) cli_error("--%s %s: expected more than nothing", name_of(id), text);
    return *out > 0;
}

static bool parse_gpu_layers(const char *text, cli_options *o) {
    nr_error err;
    if (nr_gpu_layers_parse(text, &o->engine.gpu_layers, &err) == NR_STATUS_OK) return true;
    cli_error("--gpu-layers %s", err.message);
    return false;
}

static bool parse_vision(const char *text, cli_options *o) {
    static const char *const names[] = {"auto", "gpu", "cpu"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            o->engine.vision = (nr_vision_place)i; /* in the order of the words */
            return true;
        }
    cli_error("--vision %s: expected auto, gpu or cpu", text);
    return false;
}

static bool parse_pixels(const char *text, uint64_t *out) {
    int32_t pixels;
    if (!parse_int(OPT_MAX_PIXELS, text, 1, &pixels)) return false;
    *out = (uint64_t)pixels;
    return true;
}

static bool add_fallback(const char *dir, cli_options *o) {
    if (o->n_fallbacks == NR_RUNGS_MAX - 1) {
        cli_error("--fallback %s: at most %d of them", dir, NR_RUNGS_MAX - 1);
        return false;
    }
    o->fallbacks[o->n_fallbacks++] = dir;
    return true;
}

/* Options of the engine; *known says whether this is one. */
static bool apply_engine(int id, const char *value, cli_options *o, bool *known) {
    *known = true;
    switch (id) {
    case OPT_DTYPE: return parse_dtype(value, o);
    case OPT_KV: return parse_kv(value, o);
    case OPT_THREADS: return parse_int(id, value, 0, &o->engine.n_threads);
    case OPT_CONTEXT: return parse_int(id, value, 1, &o->engine.context_tokens);
    case OPT_SLOTS: return parse_int(id, value, 1, &o->engine.n_slots);
    case OPT_IMAGE_CACHE: return parse_int(id, value, 0, &o->engine.image_cache);
    case OPT_MAX_PIXELS: return parse_pixels(value, &o->engine.picture_pixels_max);
    case OPT_MAX_RAM: return parse_bytes(id, value, &o->engine.ram_bytes_max);
    case OPT_MAX_VRAM: return parse_bytes(id, value, &o->engine.vram_bytes_max);
    case OPT_GPU_LAYERS: return parse_gpu_layers(value, o);
    case OPT_VISION: return parse_vision(value, o);
    case OPT_CPU: o->engine.cpu_kernels = value; return true;
    case OPT_DEVICE: o->engine.device = value; return true;
    default: *known = false; return true;
    }
}

static bool apply(int id, const char *value, cli_options *o) {
    switch (id) {
    case OPT_MODEL: o->model_dir = value; return true;
    case OPT_FALLBACK: return add_fallback(value, o);
    case OPT_CONFIG: o->config = value; return true;
    case OPT_SELF_TEST: o->self_test = 1; return true;
    case OPT_NO_SELF_TEST: o->self_test = 0; return true;
    case OPT_GPU: o->gpu = value; return true;
    case OPT_ALSO: o->also = value; return true;
    case OPT_SERVICE: o->service = true; return true;
    case OPT_PROMPT: o->prompt = value; return true;
    case OPT_FIELDS: o->fields = value; return true;
    case OPT_FIT: return parse_fit(value, o);
    case OPT_MAX_TOKENS: return parse_int(id, value, 1, &o->generation.max_tokens);
    case OPT_TEMPERATURE: return parse_float(id, value, 0, 100, &o->generation.temperature);
    case OPT_TOP_P: return parse_float(id, value, 1e-6f, 1, &o->generation.top_p);
    case OPT_TOP_K: return parse_int(id, value, 0, &o->generation.top_k);
    case OPT_SEED: return parse_seed(value, &o->generation.seed);
    case OPT_JSON: o->json = true; return true;
    case OPT_IGNORE_STOP: o->generation.ignore_stop = true; return true;
    case OPT_IMAGE: o->image = value; return true;
    case OPT_OUT: o->out = value; return true;
    case OPT_NO_SPECIAL: o->no_special = true; return true;
    case OPT_PARSE_SPECIAL: o->parse_special = true; return true;
    case OPT_TOKENS: return parse_int(id, value, 1, &o->n_tokens);
    case OPT_RUNS: return parse_int(id, value, 1, &o->n_runs);
    case 'h': o->help = true; return true;
    default: return false; /* getopt has said why */
    }
}

static bool take(int id, const char *value, cli_options *o) {
    bool known;
    if (!apply_engine(id, value, o, &known)) return false;
    if (!known) return apply(id, value, o);
    if (o->n_replay == CLI_REPLAY_MAX) {
        cli_error("--%s: more than %d options of the model", name_of(id), CLI_REPLAY_MAX);
        return false;
    }
    o->replay[o->n_replay].id = id;
    o->replay[o->n_replay++].value = value;
    return true;
}

void cli_replay_engine(const cli_options *options, nr_engine_options *engine) {
    cli_options o = {.engine = *engine};
    bool known;
    for (int i = 0; i < options->n_replay; i++)
        (void)apply_engine(options->replay[i].id, options->replay[i].value, &o, &known);
    *engine = o.engine;
}

/* The server knows what its settings may be. */
static bool take_setting(const char *name, const char *value, cli_options *o) {
    if (o->n_settings == CLI_SETTINGS_MAX) {
        cli_error("--%s: more than %d options of the service", name, CLI_SETTINGS_MAX);
        return false;
    }
    o->settings[o->n_settings++] = (server_setting){.name = name, .value = value};
    return true;
}

int cli_parse(int argc, char **argv, cli_options *out) {
    *out = (cli_options){.engine = nr_engine_options_default(),
                         .generation = nr_generation_options_default(),
                         .n_tokens = 128,
                         .n_runs = 1,
                         .self_test = -1};
    int id, at = 0;
    optind = 1;
    argv[0] = (char *)"newsreader"; /* getopt's messages begin with it */
    while ((id = getopt_long(argc, argv, "h", table, &at)) != -1)
        if (id == OPT_SERVE ? !take_setting(table[at].name, optarg, out) : !take(id, optarg, out))
            return CLI_USAGE;
    out->files = argv + optind;
    out->n_files = argc - optind;
    return CLI_OK;
}

bool cli_no_files(const cli_options *options, const char *command) {
    if (options->n_files == 0) return true;
    cli_error("%s: found \"%s\", expected options only", command, options->files[0]);
    return false;
}
