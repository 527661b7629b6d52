/* SPDX-License-Identifier: MIT
 * http_parse.c - see http_parse.h. RFC 9112 where it says MUST reject, and stricter. */
#include "http_parse.h"

#include <string.h>
#include <strings.h>

#define LENGTH_DIGITS_MAX 12

long http_head_length(const char *bytes, size_t n_bytes) {
    size_t line = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (i >= HTTP_HEAD_BYTES_MAX) return -431;
        if (c == '\n') return -400; /* not behind \r */
        if (c == 0 || (c < 32 && c != '\r' && c != '\t') || c == 127) return -400;
        if (c != '\r') continue;
        if (i + 1 == n_bytes) return 0;
        if (bytes[i + 1] != '\n') return -400;
        if (i == line) return line == 0 ? -400 : (long)(i + 2);
        i++;
        line = i + 1;
    }
    return 0;
}

static bool is_token(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != 0 && strchr("!#$%&'*+-.^_`|~", c));
}

/* "POST /path?query HTTP/1.1" */
static int parse_line(char *line, http_head *out) {
    char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version) return 400;
    *target++ = '\0';
    *version++ = '\0';
    for (const char *p = line; *p; p++)
        if (*p < 'A' || *p > 'Z') return 400;
    if (line[0] == '\0' || strlen(line) > 7) return 501;
    if (strncmp(version, "HTTP/1.", 7) != 0) return strncmp(version, "HTTP/", 5) == 0 ? 505 : 400;
    if ((version[7] != '0' && version[7] != '1') || version[8] != '\0') return 400;
    if (strlen(target) > HTTP_TARGET_BYTES_MAX) return 414;
    if (target[0] != '/') return 400;
    for (const char *p = target; *p; p++)
        if (*p <= ' ' || *p >= 127 || *p == '#') return 400;
    char *query = strchr(target, '?');
    if (query) *query++ = '\0';
    out->method = line;
    out->path = target;
    out->query = query ? query : "";
    out->minor = version[7] - '0';
    return 0;
}

/* Headers that must not come twice because they decide something. */
static bool is_single(const char *name) {
    static const char *const names[] = {"host",          "content-length",    "content-type",
                                        "authorization", "transfer-encoding", "expect",
                                        "origin"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcasecmp(name, names[i]) == 0) return true;
    return false;
}

/* "Name: value" */
static int parse_header(char *line, http_head *out) {
    char *colon = line;
    while (is_token((unsigned char)*colon)) colon++;
    if (colon == line || *colon != ':') return 400; /* folded lines begin with a blank */
    if (out->n_headers == HTTP_HEADERS_MAX) return 431;
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t"), *end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) end--;
    *end = '\0';
    if (is_single(line) && http_head_get(out, line)) return 400;
    out->headers[out->n_headers++] = (http_header){line, value};
    return 0;
}

static int parse_length(http_head *out) {
    const char *value = http_head_get(out, "content-length");
    if (!value) return 0;
    size_t n = strspn(value, "0123456789");
    if (n == 0 || value[n] != '\0') return 400;
    if (n > LENGTH_DIGITS_MAX) return 413;
    for (const char *p = value; *p; p++)
        out->content_length = 10 * out->content_length + (uint64_t)(*p - '0');
    out->has_length = true;
    return 0;
}

/* Is the word one of a comma-separated list? */
static bool lists(const char *value, const char *word) {
    while (value && *value) {
        value += strspn(value, " \t,");
        size_t n = strcspn(value, " \t,");
        if (n == strlen(word) && strncasecmp(value, word, n) == 0) return true;
        value += n;
    }
    return false;
}

static int check(http_head *out) {
    const char *connection = http_head_get(out, "connection");
    const char *expect = http_head_get(out, "expect");
    int status = parse_length(out);
    if (status) return status;
    if (http_head_get(out, "transfer-encoding")) return out->has_length ? 400 : 411;
    out->host = http_head_get(out, "host");
    if (!out->host || !*out->host) return 400;
    if (expect && strcasecmp(expect, "100-continue") != 0) return 417;
    out->expect_continue = expect && out->minor == 1;
    out->keep_alive =
        out->minor == 1 ? !lists(connection, "close") : lists(connection, "keep-alive");
    return 0;
}

int http_head_parse(char *bytes, size_t n_bytes, http_head *out) {
    char *line = bytes, *end = bytes + n_bytes - 2; /* the blank line */
    *out = (http_head){0};
    while (line < end) {
        char *next = memchr(line, '\r', (size_t)(end - line));
        if (!next) return 400;
        *next = '\0';
        int status = line == bytes ? parse_line(line, out) : parse_header(line, out);
        if (status) return status;
        line = next + 2;
    }
    return out->method ? check(out) : 400;
}

const char *http_head_get(const http_head *head, const char *name) {
    for (int i = 0; i < head->n_headers; i++)
        if (strcasecmp(head->headers[i].name, name) == 0) return head->headers[i].value;
    return NULL;
}
