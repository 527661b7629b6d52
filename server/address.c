/* SPDX-License-Identifier: MIT
 * address.c - see address.h. After IANA's registries of special-purpose addresses. */
#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* IPv4 that is not of the public internet. */
static const struct {
    uint8_t bytes[4];
    int n_bits;
} special4[] = {{{0, 0, 0, 0}, 8},       {{10, 0, 0, 0}, 8},     {{100, 64, 0, 0}, 10},
                {{127, 0, 0, 0}, 8},     {{169, 254, 0, 0}, 16}, {{172, 16, 0, 0}, 12},
                {{192, 0, 0, 0}, 24},    {{192, 0, 2, 0}, 24},   {{192, 31, 196, 0}, 24},
                {{192, 52, 193, 0}, 24}, {{192, 88, 99, 0}, 24}, {{192, 168, 0, 0}, 16},
                {{192, 175, 48, 0}, 24}, {{198, 18, 0, 0}, 15},  {{198, 51, 100, 0}, 24},
                {{203, 0, 113, 0}, 24},  {{224, 0, 0, 0}, 4},    {{240, 0, 0, 0}, 4}};

/* The parts of 2000::/3 that are not; outside of it nothing is. */
static const struct {
    uint8_t bytes[4];
    int n_bits;
} special6[] = {{{0x20, 0x01, 0, 0}, 23},       /* IETF: Teredo, ORCHID, benchmarks */
                {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
                {{0x20, 0x02, 0, 0}, 16},       /* 6to4: carries an IPv4 address */
                {{0x26, 0x20, 0, 0x4f}, 32},    /* direct delegation, AS112 */
                {{0x3f, 0xff, 0, 0}, 20}};      /* documentation */

static bool begins_with(const uint8_t *address, const uint8_t *bits, int n_bits) {
    int n = n_bits / 8, rest = n_bits % 8;
    if (memcmp(address, bits, (size_t)n) != 0) return false;
    return rest == 0 || (address[n] >> (8 - rest)) == (bits[n] >> (8 - rest));
}

static bool global4(const uint8_t *a) {
    for (size_t i = 0; i < sizeof special4 / sizeof special4[0]; i++)
        if (begins_with(a, special4[i].bytes, special4[i].n_bits)) return false;
    return true;
}

static bool global6(const uint8_t *a) {
    if (a[0] >> 5 != 1) return false; /* 2000::/3 */
    for (size_t i = 0; i < sizeof special6 / sizeof special6[0]; i++)
        if (begins_with(a, special6[i].bytes, special6[i].n_bits)) return false;
    return true;
}

bool net_parse(const char *text, net_range *out) {
    char address[64];
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    if (n >= sizeof address) return false;
    memcpy(address, text, n);
    address[n] = '\0';
    *out = (net_range){.family = strchr(address, ':') ? AF_INET6 : AF_INET};
    int most = out->family == AF_INET ? 32 : 128;
    if (inet_pton(out->family, address, out->bytes) != 1) return false;
    char *end = NULL;
    long bits = slash ? strtol(slash + 1, &end, 10) : most;
    if (slash && (end == slash + 1 || *end || bits < 0 || bits > most)) return false;
    out->n_bits = (int)bits;
    return true;
}

void net_format(const net_range *net, char *dst, size_t cap) {
    char address[INET6_ADDRSTRLEN] = "";
    inet_ntop(net->family, net->bytes, address, sizeof address);
    snprintf(dst, cap, "%s/%d", address, net->n_bits);
}

bool address_allowed(const struct sockaddr *address, const net_range *nets, int n_nets) {
    const uint8_t *bytes;
    if (address->sa_family == AF_INET)
        bytes = (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
    else if (address->sa_family == AF_INET6)
        bytes = (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    else
        return false;
    for (int i = 0; i < n_nets; i++)
        if (nets[i].family == address->sa_family &&
            begins_with(bytes, nets[i].bytes, nets[i].n_bits))
            return true;
    return address->sa_family == AF_INET ? global4(bytes) : global6(bytes);
}
