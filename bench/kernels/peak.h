/* SPDX-License-Identifier: MIT
 *
 * peak.h - the limits that kernels are measured against: register-only int8 and float loops and a
 * plain read of memory, on the instruction set in use. Rates are of one call on one thread.
 */
#ifndef PEAK_H
#define PEAK_H

#include <stddef.h>
#include <stdint.h>

/* Run about `rounds` rounds of independent multiply-adds in registers; return the operations done
 * (a multiply-add counts 2), 0 where this instruction set has no loop here. */
double peak_i8(const char *isa, int64_t rounds);
double peak_f32(const char *isa, int64_t rounds);
/* Read every cache line of a block. */
void peak_read(const char *isa, const void *src, size_t bytes);

#endif
