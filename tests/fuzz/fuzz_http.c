/* SPDX-License-Identifier: MIT
 *
 * fuzz_http.c - heads of HTTP requests: the length is found, then the head is parsed in place. What
 * was accepted must hold what the service relies on.
 */
#include "http_parse.h"

#include <stdlib.h>
#include <string.h>

static void require(int cond) {
    if (!cond) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    http_head head;
    long length = http_head_length((const char *)data, size);
    require(length <= (long)size && length >= -600);
    for (size_t n = 0; n < size && n < 64; n++) { /* a prefix never knows better */
        long early = http_head_length((const char *)data, n);
        if (early != 0) require(early == length);
    }
    if (length <= 0) return 0;
    char *bytes = malloc((size_t)length + 1);
    if (!bytes) return 0;
    memcpy(bytes, data, (size_t)length);
    bytes[length] = '\0';
    int status = http_head_parse(bytes, (size_t)length, &head);
    require(status == 0 || (status >= 400 && status <= 505));
    if (status == 0) {
        require(head.path[0] == '/' && head.host[0] != '\0' && head.n_headers <= HTTP_HEADERS_MAX);
        require(!http_head_get(&head, "transfer-encoding"));
        require(head.has_length || head.content_length == 0);
        for (int i = 0; i < head.n_headers; i++)
            require(!strpbrk(head.headers[i].value, "\r\n") && head.headers[i].name[0] != '\0');
    }
    free(bytes);
    return 0;
}
