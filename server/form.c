/* SPDX-License-Identifier: MIT
 * form.c - see form.h. RFC 7578 as far as clients use it; no nested parts, no encodings. */
#define _GNU_SOURCE
#include "form.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BOUNDARY_MAX 70 /* RFC 2046 */

/* Value of a parameter in "word; name=value; other=\"value\"", as a slice. False when absent. */
static bool find_parameter(const char *text, size_t n, const char *name, const char **value,
                           size_t *value_n) {
    const char *p = memchr(text, ';', n), *end = text + n;
    while (p && p < end) {
        p++;
        while (p < end && (*p == ' ' || *p == '\t')) p++;
        const char *key = p;
        while (p < end && *p != '=' && *p != ';') p++;
        size_t key_n = (size_t)(p - key);
        if (p == end || *p == ';') continue;
        bool quoted = ++p < end && *p == '"';
        p += quoted;
        const char *begin = p;
        while (p < end && (quoted ? *p != '"' : *p != ';' && *p != ' ')) p++;
        if (quoted && p == end) return false;
        *value = begin;
        *value_n = (size_t)(p - begin);
        if (key_n == strlen(name) && strncasecmp(key, name, key_n) == 0) return true;
        p = memchr(p, ';', (size_t)(end - p));
    }
    return false;
}

bool form_open(form *f, const char *content_type, const char *body, size_t n) {
    const char *boundary;
    size_t boundary_n;
    if (!find_parameter(content_type, strlen(content_type), "boundary", &boundary, &boundary_n) ||
        boundary_n < 1 || boundary_n > BOUNDARY_MAX)
        return false;
    f->mark_n = (size_t)snprintf(f->mark, sizeof f->mark, "\r\n--%.*s", (int)boundary_n, boundary);
    f->at = body;
    f->end = body + n;
    if (n < f->mark_n - 2 || memcmp(body, f->mark + 2, f->mark_n - 2) != 0) return false;
    f->at += f->mark_n - 2;
    return true;
}

/* The part's name from its headers, which end where `end` is. */
static bool read_name(const char *line, const char *end, form_part *part) {
    static const char header[] = "content-disposition:";
    const char *name;
    size_t n;
    while (line < end) {
        const char *next = memmem(line, (size_t)(end - line), "\r\n", 2);
        size_t line_n = (size_t)((next ? next : end) - line);
        if (line_n > sizeof header && strncasecmp(line, header, sizeof header - 1) == 0 &&
            find_parameter(line, line_n, "name", &name, &n) && n < FORM_NAME_MAX) {
            memcpy(part->name, name, n);
            part->name[n] = '\0';
            return true;
        }
        line += line_n + 2;
    }
    return false;
}

int form_next(form *f, form_part *part) {
    size_t left = (size_t)(f->end - f->at);
    if (left >= 2 && memcmp(f->at, "--", 2) == 0) return 0;
    if (left < 2 || memcmp(f->at, "\r\n", 2) != 0) return -1;
    const char *head = f->at + 2;
    const char *blank = memmem(f->at, left, "\r\n\r\n", 4);
    const char *next =
        blank ? memmem(blank + 2, (size_t)(f->end - blank - 2), f->mark, f->mark_n) : NULL;
    if (!next || !read_name(head, blank, part)) return -1;
    part->bytes = blank + 4;
    if (next < part->bytes) return -1; /* the mark follows the headers at once */
    part->n = (size_t)(next - part->bytes);
    f->at = next + f->mark_n;
    return 1;
}
