/* SPDX-License-Identifier: MIT
 *
 * nr_machine.h - how much memory this machine, and the control groups around this process, can
 * still give. Reads the kernel's text files; allocates nothing; any thread.
 */
#ifndef NR_MACHINE_H
#define NR_MACHINE_H

#include "nr_base.h"

typedef struct nr_machine {
    uint64_t total_bytes;     /* physical, or the tightest group's limit; 0: not known */
    uint64_t available_bytes; /* MemAvailable, or the least room of a group; 0: not known */
    bool by_cgroup;           /* a group bounds available_bytes */
} nr_machine;

/* root is put before /proc and /sys ("" for the real ones). Groups of both versions are followed
 * up to the top, because any of them may have the limit. Room in a group is its limit less what it
 * uses, without file pages that the kernel would drop first. */
nr_machine nr_machine_read(const char *root);

#endif
