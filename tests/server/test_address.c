/* SPDX-License-Identifier: MIT
 * test_address.c - addresses that must not be fetched from, at both ends of every range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static bool allowed(const char *text, const net_range *nets, int n_nets) {
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return address_allowed((struct sockaddr *)&v4, nets, n_nets);
    if (inet_pton(AF_INET6, text, &v6.sin6_addr) != 1) fail_msg("%s is no address", text);
    return address_allowed((struct sockaddr *)&v6, nets, n_nets);
}

static const char *const closed[] = {"0.0.0.0",
                                     "0.255.255.255",
                                     "10.0.0.0",
                                     "10.255.255.255",
                                     "100.64.0.0",
                                     "100.127.255.255",
                                     "127.0.0.1",
                                     "127.255.255.254",
                                     "169.254.169.254",
                                     "169.254.0.0",
                                     "172.16.0.0",
                                     "172.31.255.255",
                                     "192.0.0.1",
                                     "192.0.0.170",
                                     "192.0.2.1",
                                     "192.88.99.1",
                                     "192.168.0.1",
                                     "192.168.255.255",
                                     "198.18.0.1",
                                     "198.19.255.255",
                                     "198.51.100.7",
                                     "203.0.113.9",
                                     "224.0.0.1",
                                     "239.255.255.255",
                                     "240.0.0.1",
                                     "255.255.255.255",
                                     "::",
                                     "::1",
                                     "::ffff:127.0.0.1",
                                     "::ffff:8.8.8.8",
                                     "::127.0.0.1",
                                     "::8.8.8.8",
                                     "64:ff9b::7f00:1",
                                     "64:ff9b::808:808",
                                     "64:ff9b:1::1",
                                     "100::1",
                                     "2001::1",
                                     "2001:0:53aa:64c::1",
                                     "2001:10::1",
                                     "2001:20::1",
                                     "2001:1ff:ffff::1",
                                     "2001:2::1",
                                     "2001:db8::1",
                                     "2002:7f00:1::1",
                                     "2002:808:808::1",
                                     "2620:4f:8000::1",
                                     "3fff::1",
                                     "3fff:fff:ffff::1",
                                     "4000::1",
                                     "5f00::1",
                                     "fc00::1",
                                     "fd12::1",
                                     "fe80::1",
                                     "febf::1",
                                     "fec0::1",
                                     "ff02::1",
                                     "ffff::1"};

static const char *const open_to_all[] = {"1.1.1.1",
                                          "8.8.8.8",
                                          "9.255.255.255",
                                          "11.0.0.0",
                                          "100.63.255.255",
                                          "100.128.0.0",
                                          "126.255.255.255",
                                          "128.0.0.1",
                                          "169.253.255.255",
                                          "169.255.0.0",
                                          "172.15.255.255",
                                          "172.32.0.0",
                                          "192.0.1.0",
                                          "192.0.3.0",
                                          "192.167.255.255",
                                          "192.169.0.0",
                                          "198.17.255.255",
                                          "198.20.0.0",
                                          "203.0.112.255",
                                          "203.0.114.0",
                                          "223.255.255.255",
                                          "2001:200::1",
                                          "2001:4860:4860::8888",
                                          "2003::1",
                                          "2606:4700::1111",
                                          "2a00:1450::1",
                                          "3ffe::1"};

static void test_closed(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++)
        if (allowed(closed[i], NULL, 0)) fail_msg("%s is allowed", closed[i]);
}

static void test_open(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof open_to_all / sizeof open_to_all[0]; i++)
        if (!allowed(open_to_all[i], NULL, 0)) fail_msg("%s is refused", open_to_all[i]);
}

static void test_nets(void **state) {
    static const char *const bad[] = {
        "",       "a",        "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1",
        "::/129", "10.0.0/8", "10.0.0.0/8x", "localhost", "010.0.0.1/8"};
    net_range nets[2], again;
    char text[64];
    (void)state;
    assert_true(net_parse("10.1.0.0/17", &nets[0]));
    assert_true(net_parse("fd00::/8", &nets[1]));
    assert_true(allowed("10.1.127.255", nets, 2));
    assert_false(allowed("10.1.128.0", nets, 2));
    assert_true(allowed("fdff::1", nets, 2));
    assert_false(allowed("fc00::1", nets, 2));
    assert_false(allowed("::ffff:10.1.0.1", nets, 2));
    assert_true(net_parse("127.0.0.1", &nets[0]));
    assert_true(allowed("127.0.0.1", nets, 1));
    assert_false(allowed("127.0.0.2", nets, 1));
    net_format(&nets[1], text, sizeof text);
    assert_string_equal(text, "fd00::/8");
    assert_true(net_parse(text, &again));
    assert_memory_equal(&again, &nets[1], sizeof again);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (net_parse(bad[i], &again)) fail_msg("\"%s\" is a net", bad[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_closed), cmocka_unit_test(test_open),
                                       cmocka_unit_test(test_nets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
