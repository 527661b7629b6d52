/* SPDX-License-Identifier: MIT
 * bytes_parse.c - "3.5GB" and the like for newsreader.h. */
#include "newsreader.h"

#include "nr_status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BYTES_MAX ((uint64_t)1 << 60)

static const struct {
    const char *name;
    double factor;
} units[] = {{"", 1},      {"B", 1},        {"kB", 1e3},        {"MB", 1e6},     {"GB", 1e9},
             {"TB", 1e12}, {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};

static bool is_digits(const char *text) {
    return *text && text[strspn(text, "0123456789")] == '\0';
}

nr_status nr_bytes_parse(const char *text, uint64_t *out, nr_error *err) {
    char *end;
    if (is_digits(text) && strlen(text) < 19) { /* exact, however large */
        uint64_t bytes = strtoull(text, NULL, 10);
        NR_FAIL_IF(bytes > BYTES_MAX, LIMIT, "%s: more than 2^60 bytes", text);
        *out = bytes;
        return NR_STATUS_OK;
    }
    size_t n = strspn(text, "0123456789.");
    double value = strtod(text, &end);
    NR_FAIL_IF(n == 0 || end != text + n, FORMAT,
               "\"%.32s\": expected bytes such as 3.5GB, 4GiB or 7500000000", text);
    while (*end == ' ') end++;
    for (size_t i = 0; i < NR_COUNT(units); i++) {
        if (strcasecmp(end, units[i].name) != 0) continue;
        double bytes = rint(value * units[i].factor);
        NR_FAIL_IF(bytes > (double)BYTES_MAX, LIMIT, "%.32s: more than 2^60 bytes", text);
        *out = (uint64_t)bytes;
        return NR_STATUS_OK;
    }
    NR_FAIL(FORMAT,
            "\"%.32s\": \"%.16s\" is no unit, expected kB, MB, GB, TB, KiB, MiB, GiB or TiB", text,
            end);
}
