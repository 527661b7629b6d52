/* SPDX-License-Identifier: MIT
 * address.h - which addresses pictures may be fetched from. */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Addresses that begin with these bits. */
typedef struct net_range {
    uint8_t bytes[16];
    int family; /* AF_INET or AF_INET6 */
    int n_bits;
} net_range;

/* "10.0.0.0/8", "::1/128", or an address alone. */
bool net_parse(const char *text, net_range *out);
/* The same back; 64 bytes suffice. */
void net_format(const net_range *net, char *dst, size_t cap);

/* Is it an address of the public internet, or in one of the nets? What is mapped, tunnelled or
 * reserved is not. */
bool address_allowed(const struct sockaddr *address, const net_range *nets, int n_nets);

#endif
