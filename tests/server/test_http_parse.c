/* SPDX-License-Identifier: MIT
 *
 * test_http_parse.c - heads that must be refused, heads that must not, each also byte by byte: what
 * is said about a prefix never contradicts what is said about the whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "http_parse.h"

#include <stdlib.h>
#include <string.h>

#define H "Host: a\r\n"

static const struct {
    const char *head;
    int status; /* 0: accepted */
} cases[] = {
    {"GET / HTTP/1.1\r\n" H "\r\n", 0},
    {"GET / HTTP/1.0\r\n" H "\r\n", 0},
    {"POST /a?b=c HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n", 0},
    {"POST / HTTP/1.1\r\n" H "X:\t a \t\r\nConnection: a, Close\r\n\r\n", 0},
    {"POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n", 0},
    /* lines */
    {"GET / HTTP/1.1\n" H "\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "\n", 400},
    {"\r\nGET / HTTP/1.1\r\n" H "\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: a\x01\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: a\x7f\r\n\r\n", 400},
    /* request line */
    {"GET  / HTTP/1.1\r\n" H "\r\n", 400},
    {"GET / HTTP/1.1 \r\n" H "\r\n", 400},
    {" GET / HTTP/1.1\r\n" H "\r\n", 501},
    {"GET\t/ HTTP/1.1\r\n" H "\r\n", 400},
    {"get / HTTP/1.1\r\n" H "\r\n", 400},
    {"G@T / HTTP/1.1\r\n" H "\r\n", 400},
    {"GETGETGETGET / HTTP/1.1\r\n" H "\r\n", 501},
    {"GET /\r\n" H "\r\n", 400},
    {"GET / HTTP/2.0\r\n" H "\r\n", 505},
    {"GET / HTTP/1.2\r\n" H "\r\n", 400},
    {"GET / HTTP/1.10\r\n" H "\r\n", 400},
    {"GET / http/1.1\r\n" H "\r\n", 400},
    {"GET / ICAP/1.1\r\n" H "\r\n", 400},
    {"GET a HTTP/1.1\r\n" H "\r\n", 400},
    {"GET http://a/ HTTP/1.1\r\n" H "\r\n", 400},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /#a HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n", 400},
    /* headers */
    {"GET / HTTP/1.1\r\n" H "X : a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H " X: a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H ": a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X(: a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.0\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Host: b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "hOST: a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Authorization: a\r\nAuthorization: a\r\n\r\n", 400},
    /* lengths */
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5 5\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\n", 413},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 411},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, identity\r\n\r\n", 411},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", 411},
    {"POST / HTTP/1.1\r\n" H "Expect: a\r\n\r\n", 417}};

/* What a server would do that gets the bytes up to n. 0: accepted, -1: waits. */
static int judge(const char *bytes, size_t n, http_head *head, char **kept) {
    long length = http_head_length(bytes, n);
    *kept = NULL;
    if (length <= 0) return length == 0 ? -1 : (int)-length;
    *kept = malloc((size_t)length + 1); /* its own size: sanitizers see every byte beyond */
    memcpy(*kept, bytes, (size_t)length);
    (*kept)[length] = '\0';
    return http_head_parse(*kept, (size_t)length, head);
}

static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *text = cases[i].head;
        size_t n = strlen(text);
        http_head head;
        char *kept;
        int early = -1;
        for (size_t k = 0; k < n && early == -1; k++) {
            char *prefix = malloc(k + 1);
            memcpy(prefix, text, k);
            early = judge(prefix, k, &head, &kept);
            free(kept);
            free(prefix);
        }
        int status = judge(text, n, &head, &kept);
        if (status != cases[i].status)
            fail_msg("%d, expected %d: %s", status, cases[i].status, text);
        if (early != -1 && early != status) fail_msg("a prefix said %d: %s", early, text);
        free(kept);
    }
}

static void test_values(void **state) {
    http_head head;
    char *kept;
    (void)state;
    const char *text = "POST /a/b?c=d HTTP/1.1\r\nhOst:  x:80 \r\nContent-Length: 007\r\n"
                       "Connection: keep-alive, close\r\nX-Y: \xff z\r\n\r\nbody";
    assert_int_equal(judge(text, strlen(text), &head, &kept), 0);
    assert_string_equal(head.method, "POST");
    assert_string_equal(head.path, "/a/b");
    assert_string_equal(head.query, "c=d");
    assert_string_equal(head.host, "x:80");
    assert_int_equal(head.content_length, 7);
    assert_false(head.keep_alive);
    assert_string_equal(http_head_get(&head, "x-y"), "\xff z");
    assert_null(http_head_get(&head, "body"));
    free(kept);
}

static void test_limits(void **state) {
    http_head head;
    char *kept, *text = malloc(2 * HTTP_HEAD_BYTES_MAX);
    (void)state;
    memset(text, 'a', 2 * HTTP_HEAD_BYTES_MAX);
    memcpy(text, "GET /", 5);
    assert_int_equal(http_head_length(text, HTTP_HEAD_BYTES_MAX), 0);
    assert_int_equal(http_head_length(text, HTTP_HEAD_BYTES_MAX + 1), -431);
    strcpy(text + 6 + HTTP_TARGET_BYTES_MAX, " HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(judge(text, strlen(text), &head, &kept), 414);
    free(kept);
    strcpy(text, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < HTTP_HEADERS_MAX; i++) strcat(text, "A: b\r\n");
    strcat(text, "\r\n");
    assert_int_equal(judge(text, strlen(text), &head, &kept), 431);
    free(kept);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_values),
                                       cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
