/* SPDX-License-Identifier: MIT
 *
 * http_parse.h - the head of an HTTP/1 request, strictly: what two servers could read in two ways
 * is refused. Only CRLF ends a line, no line folding, no blank before a colon, one Host, at most
 * one Content-Length of digits, no Transfer-Encoding.
 */
#ifndef HTTP_PARSE_H
#define HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_BYTES_MAX 16384 /* request line and headers */
#define HTTP_TARGET_BYTES_MAX 2048
#define HTTP_HEADERS_MAX 64

typedef struct http_header {
    const char *name, *value; /* NUL-terminated; point into the parsed bytes */
} http_header;

typedef struct http_head {
    const char *method, *path, *query; /* query "" where there is none */
    int minor;                         /* HTTP/1.0 or HTTP/1.1 */
    http_header headers[HTTP_HEADERS_MAX];
    int n_headers;
    const char *host;        /* of the Host header */
    uint64_t content_length; /* 0 where there is none */
    bool has_length, keep_alive, expect_continue;
} http_head;

/* Bytes of the head at the beginning of bytes, blank line included; 0: not complete yet; negative:
 * -(status to refuse with). May be called with a growing prefix. Does not change bytes. */
long http_head_length(const char *bytes, size_t n_bytes);

/* Parse a complete head (its length from above) in place: zero bytes are written into it, and out
 * points there. Returns 0 or the status to refuse with: 400, 411, 414, 417, 431, 501, 505. */
int http_head_parse(char *bytes, size_t n_bytes, http_head *out);

/* Value of a header, any case; NULL when absent. */
const char *http_head_get(const http_head *head, const char *name);

#endif
