/* SPDX-License-Identifier: MIT
 *
 * nr_cgroup.h - what a container or service manager allows this process, from Linux control groups
 * (version 2 and 1). Limits of a group hold for all below it, so the group of the process and each
 * of its parents is looked at. Files that are absent or make no sense are no limit. Any thread.
 */
#ifndef NR_CGROUP_H
#define NR_CGROUP_H

#include "nr_base.h"

/* Where the system keeps them: pass these two; tests pass folders of their own. */
#define NR_CGROUP_MEMBERSHIP "/proc/self/cgroup"
#define NR_CGROUP_ROOT "/sys/fs/cgroup"

/* dir is one group's folder; unified: of version 2. */
typedef void (*nr_cgroup_fn)(void *ctx, const char *dir, bool unified);

/* Call fn for the process's group and each parent up to the root, those of version 2 and those of
 * version 1's `controller` ("cpu", "memory"). The folders may not exist. */
void nr_cgroup_walk(const char *membership, const char *root, const char *controller,
                    nr_cgroup_fn fn, void *ctx);

/* Beginning of dir/name as text; "" where there is no such file. Returns text. */
const char *nr_cgroup_text(const char *dir, const char *name, char text[64]);

/* Cores whose whole time the groups allow, a fraction counted as one; 0: no limit. */
int nr_cgroup_cpu_count(const char *membership, const char *root);

#endif
