/* SPDX-License-Identifier: MIT
 * nr_machine.c - see nr_machine.h. */
#define _GNU_SOURCE
#include "nr_machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 16384 /* memory.stat has about 3 KB */
#define PATH_MAX_BYTES 2048

/* The beginning of a file as text; false when it cannot be read. */
static bool read_text(const char *path, char text[TEXT_MAX]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t n = 0;
    if (fd < 0) return false;
    while (used < TEXT_MAX - 1 && (n = read(fd, text + used, TEXT_MAX - 1 - used)) > 0)
        used += (size_t)n;
    close(fd);
    text[used] = '\0';
    return n >= 0;
}

/* The number behind `key` at the beginning of a line; 0 without one. */
static uint64_t value_of(const char *text, const char *key) {
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, key, n) == 0) return strtoull(line + n, NULL, 10);
    }
    return 0;
}

/* Files of one version of control groups. */
typedef struct group_files {
    const char *mount, *limit, *used, *droppable;
} group_files;
static const group_files version_1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                      "memory.usage_in_bytes", "total_inactive_file "};
static const group_files version_2 = {"/sys/fs/cgroup", "memory.max", "memory.current",
                                      "inactive_file "};

/* A number in a file of its own; false for "max", and where there is no such file. */
static bool read_number(const char *dir, const char *name, uint64_t *out) {
    char path[2 * PATH_MAX_BYTES], text[TEXT_MAX], *end;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!read_text(path, text)) return false;
    *out = strtoull(text, &end, 10);
    return end != text;
}

static void take_group(nr_machine *m, const group_files *files, const char *dir) {
    uint64_t limit, used;
    char path[2 * PATH_MAX_BYTES], text[TEXT_MAX];
    if (!read_number(dir, files->limit, &limit) || !read_number(dir, files->used, &used)) return;
    if (m->total_bytes && limit >= m->total_bytes) return; /* version 1 says "none" by a huge one */
    snprintf(path, sizeof path, "%s/memory.stat", dir);
    uint64_t droppable = read_text(path, text) ? value_of(text, files->droppable) : 0;
    used -= NR_MIN(used, droppable);
    uint64_t room = limit - NR_MIN(limit, used);
    m->total_bytes = limit;
    if (m->available_bytes && room >= m->available_bytes) return;
    m->available_bytes = NR_MAX(room, 1u);
    m->by_cgroup = true;
}

/* A group and those above it. */
static void take_groups(nr_machine *m, const char *root, const group_files *files,
                        const char *group) {
    char dir[PATH_MAX_BYTES];
    int n = snprintf(dir, sizeof dir, "%s%s%s", root, files->mount, group);
    size_t top = strlen(root) + strlen(files->mount);
    if (n < 0 || (size_t)n >= sizeof dir) return;
    for (;;) {
        take_group(m, files, dir);
        char *slash = strrchr(dir + top, '/');
        if (!slash) return;
        *slash = '\0';
    }
}

nr_machine nr_machine_read(const char *root) {
    nr_machine m = {0};
    char path[PATH_MAX_BYTES], text[TEXT_MAX], *rest = NULL;
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    if (read_text(path, text)) {
        m.total_bytes = value_of(text, "MemTotal:") * 1024;
        m.available_bytes = value_of(text, "MemAvailable:") * 1024;
    }
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    if (!read_text(path, text)) return m;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *kind = strchr(line, ':'), *group = kind ? strchr(kind + 1, ':') : NULL;
        if (!group) continue;
        *group++ = '\0';
        if (kind[1] == '\0')
            take_groups(&m, root, &version_2, group);
        else if (strstr(kind, "memory"))
            take_groups(&m, root, &version_1, group);
    }
    return m;
}
