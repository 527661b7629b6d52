/* SPDX-License-Identifier: MIT
 *
 * form.h - the parts of a multipart/form-data body, one after the other, in place.
 *
 *   form f; form_part part; int more;
 *   if (!form_open(&f, content_type, body, n)) ...
 *   while ((more = form_next(&f, &part)) > 0) ...      // -1: malformed or cut off
 */
#ifndef FORM_H
#define FORM_H

#include <stdbool.h>
#include <stddef.h>

#define FORM_NAME_MAX 32

typedef struct form {
    const char *at, *end; /* borrow the body */
    char mark[80];        /* what begins and ends parts: CRLF, two dashes, boundary */
    size_t mark_n;
} form;

typedef struct form_part {
    char name[FORM_NAME_MAX]; /* of its Content-Disposition */
    const char *bytes;        /* borrow the body */
    size_t n;
} form_part;

/* False: no usable boundary in the type, or the body does not begin with it. */
bool form_open(form *f, const char *content_type, const char *body, size_t n);
/* 1: a part; 0: the end; -1: malformed. */
int form_next(form *f, form_part *part);

#endif
