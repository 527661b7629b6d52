/* SPDX-License-Identifier: MIT
 * nr_status.c - names of the status codes and the error record. */
#include "nr_status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *nr_status_name(nr_status status) {
    switch (status) {
#define NR_STATUS_CASE(name, value, text)                                                          \
    case NR_STATUS_##name: return #name;
        NR_STATUS_MAP(NR_STATUS_CASE)
#undef NR_STATUS_CASE
    }
    return "UNKNOWN";
}

const char *nr_status_text(nr_status status) {
    switch (status) {
#define NR_STATUS_CASE(name, value, text)                                                          \
    case NR_STATUS_##name: return text;
        NR_STATUS_MAP(NR_STATUS_CASE)
#undef NR_STATUS_CASE
    }
    return "unknown status";
}

nr_status nr_error_set(nr_error *err, nr_status status, const char *file, int line, const char *fmt,
                       ...) {
    if (!err) return status;
    err->status = status;
    err->file = file;
    err->line = line;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    return status;
}

nr_status nr_error_prefix(nr_error *err, nr_status status, const char *fmt, ...) {
    if (!err) return status;
    char cause[sizeof err->message];
    memcpy(cause, err->message, sizeof cause);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->message) {
        size_t used = (size_t)n;
        snprintf(err->message + used, sizeof err->message - used, ": %s", cause);
    }
    return err->status;
}
