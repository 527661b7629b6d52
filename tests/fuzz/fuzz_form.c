/* SPDX-License-Identifier: MIT
 *
 * fuzz_form.c - multipart bodies: the first line is the Content-Type, the rest the body. Parts lie
 * within the body, in order, and reading them ends. The body also goes through base64.
 */
#include "base64.h"
#include "form.h"

#include <stdlib.h>
#include <string.h>

static void require(int cond) {
    if (!cond) abort();
}

static void read_parts(const char *type, const char *body, size_t n) {
    form f;
    form_part part;
    const char *last = body;
    int more;
    if (!form_open(&f, type, body, n)) return;
    while ((more = form_next(&f, &part)) > 0) {
        require(part.bytes >= last && part.bytes + part.n <= body + n);
        require(strlen(part.name) < FORM_NAME_MAX);
        last = part.bytes + part.n;
    }
    require(more == 0 || more == -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *line = memchr(data, '\n', size);
    size_t type_n = line ? (size_t)(line - data) : size, body_n = line ? size - type_n - 1 : 0;
    char *type = malloc(type_n + 1), *body = malloc(body_n + 1);
    uint8_t *bytes = malloc(body_n / 4 * 3 + 2);
    size_t n;
    if (type && body && bytes) {
        memcpy(type, data, type_n);
        type[type_n] = '\0';
        if (body_n > 0) memcpy(body, line + 1, body_n);
        body = realloc(body, body_n ? body_n : 1); /* sanitizers see the byte behind it */
        read_parts(type, body, body_n);
        if (base64_decode(body, body_n, bytes, &n)) require(n <= body_n / 4 * 3 + 2);
    }
    free(type);
    free(body);
    free(bytes);
    return 0;
}
