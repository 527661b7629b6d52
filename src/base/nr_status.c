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

/* Length of the well-formed UTF-8 character at s, or 0. Overlong forms, surrogates and values over
 * U+10FFFF are not well-formed (Unicode 15, table 3-7). */
static size_t utf8_length(const unsigned char *s) {
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 4;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0;
    if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
    return n;
}

/* Names in messages come from files. Whatever they hold, the message is UTF-8 on one line and
 * cannot steer a terminal: control characters (C1 too) and stray bytes become '?'; a character
 * that was cut at the end goes. */
static void clean_message(char *message, bool was_cut) {
    unsigned char *s = (unsigned char *)message;
    if (was_cut) {
        size_t end = strlen(message), start = end;
        while (start > 0 && end - start < 3 && (s[start - 1] & 0xc0) == 0x80) start--;
        if (start > 0 && s[start - 1] >= 0xc0 && utf8_length(s + start - 1) == 0)
            s[start - 1] = '\0';
    }
    while (*s) {
        size_t n = utf8_length(s);
        bool control = *s < 0x20 || *s == 0x7f || (n == 2 && s[0] == 0xc2 && s[1] < 0xa0);
        if (n == 0 || control) *s = '?';
        if (control && n == 2) s[1] = '?';
        s += NR_MAX(n, (size_t)1);
    }
}

nr_status nr_error_set(nr_error *err, nr_status status, const char *file, int line, const char *fmt,
                       ...) {
    if (!err) return status;
    char text[sizeof err->message]; /* an argument may be err->message itself */
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n < 0) text[0] = '\0';
    clean_message(text, n >= (int)sizeof text);
    memcpy(err->message, text, sizeof text);
    err->status = status;
    err->file = file;
    err->line = line;
    return status;
}

nr_status nr_error_prefix(nr_error *err, nr_status status, const char *fmt, ...) {
    if (!err) return status;
    char prefix[8192], cause[sizeof err->message];
    memcpy(cause, err->message, sizeof cause);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(prefix, sizeof prefix, fmt, args);
    va_end(args);
    if (n < 0) return status;
    /* A long prefix is a path: keep its end, and of the message at least half for the cause. */
    size_t length = strlen(prefix), cap = sizeof err->message - sizeof ": ", causes = strlen(cause);
    size_t room = cap - NR_MIN(causes, cap / 2);
    const char *dots = length > room ? "..." : "";
    const char *kept = length > room ? prefix + length - (room - 3) : prefix;
    n = snprintf(err->message, sizeof err->message, "%s%s: %s", dots, kept, cause);
    clean_message(err->message, n >= (int)sizeof err->message);
    return status;
}
