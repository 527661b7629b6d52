/* SPDX-License-Identifier: MIT
 * nr_file.c - see nr_file.h. */
#define _GNU_SOURCE
#include "nr_file.h"

#include "nr_alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IO_CHUNK_BYTES ((size_t)64 << 20) /* one system call's share; the kernel caps at 2 GiB */
#define TEMP_NAMES_MAX 100

nr_status nr_file_open(const char *path, nr_file *out, nr_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    NR_FAIL_IF(fd < 0 && errno == ENOENT, NOT_FOUND, "%s: no such file", path);
    NR_FAIL_IF(fd < 0, IO, "%s: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        NR_FAIL(FORMAT, "%s: not a regular file", path);
    }
    *out = (nr_file){.fd = fd, .size = (uint64_t)st.st_size};
    return NR_STATUS_OK;
}

void nr_file_close(nr_file *f) {
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}

nr_status nr_file_read_at(const nr_file *f, uint64_t offset, void *dst, size_t bytes,
                          nr_error *err) {
    uint8_t *p = dst;
    while (bytes > 0) {
        ssize_t n = pread(f->fd, p, NR_MIN(bytes, IO_CHUNK_BYTES), (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        NR_FAIL_IF(n < 0, IO, "read at byte %llu: %s", (unsigned long long)offset, strerror(errno));
        NR_FAIL_IF(n == 0, FORMAT, "file ends at byte %llu, %zu bytes short",
                   (unsigned long long)offset, bytes);
        p += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return NR_STATUS_OK;
}

void nr_file_forget(const nr_file *f, uint64_t offset, uint64_t bytes) {
    (void)posix_fadvise(f->fd, (off_t)offset, (off_t)bytes, POSIX_FADV_DONTNEED);
}

nr_status nr_file_read_all(const char *path, size_t bytes_max, char **out, size_t *size_bytes,
                           nr_error *err) {
    nr_file f;
    NR_TRY(nr_file_open(path, &f, err));
    nr_status status = NR_STATUS_OK;
    char *text = NULL;
    NR_FAIL_IF_GOTO(f.size > bytes_max, LIMIT, "%s: %llu bytes, at most %zu are read", path,
                    (unsigned long long)f.size, bytes_max);
    text = f.size < SIZE_MAX ? nr_malloc((size_t)f.size + 1) : NULL;
    NR_FAIL_IF_GOTO(!text, NO_MEMORY, "%s: %llu bytes", path, (unsigned long long)f.size);
    status = nr_file_read_at(&f, 0, text, (size_t)f.size, err);
    if (status != NR_STATUS_OK) {
        nr_error_prefix(err, status, "%s", path);
        goto done;
    }
    text[f.size] = '\0';
    *out = text;
    *size_bytes = (size_t)f.size;
    text = NULL;
done:
    nr_free(text);
    nr_file_close(&f);
    return status;
}

nr_status nr_file_read_into(const char *path, void *dst, size_t bytes_max, size_t *size_bytes,
                            nr_error *err) {
    nr_file f;
    NR_TRY(nr_file_open(path, &f, err));
    nr_status status = NR_STATUS_OK;
    NR_FAIL_IF_GOTO(f.size > bytes_max, LIMIT, "%s: %llu bytes, at most %zu are read", path,
                    (unsigned long long)f.size, bytes_max);
    status = nr_file_read_at(&f, 0, dst, (size_t)f.size, err);
    if (status != NR_STATUS_OK) nr_error_prefix(err, status, "%s", path);
    else *size_bytes = (size_t)f.size;
done:
    nr_file_close(&f);
    return status;
}

bool nr_file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

nr_status nr_path_join(char *dst, size_t cap, const char *dir, const char *name, nr_error *err) {
    int n = snprintf(dst, cap, "%s/%s", dir, name);
    NR_FAIL_IF(n < 0 || (size_t)n >= cap, LIMIT, "path of %d bytes, expected fewer than %zu", n,
               cap);
    return NR_STATUS_OK;
}

nr_status nr_file_writer_open(nr_file_writer *w, const char *path, nr_error *err) {
    w->fd = -1;
    int n = snprintf(w->path, sizeof w->path, "%s", path);
    /* A killed process leaves its temporary file, and process ids come again: try other names. */
    for (int i = 0; i < TEMP_NAMES_MAX; i++) {
        int t =
            snprintf(w->temp_path, sizeof w->temp_path, "%s.tmp-%ld-%d", path, (long)getpid(), i);
        NR_FAIL_IF(n < 0 || t < 0 || (size_t)t >= sizeof w->temp_path, LIMIT,
                   "path of %d bytes, at most %zu with the temporary name's end", n,
                   sizeof w->temp_path - 1);
        w->fd = open(w->temp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (w->fd >= 0) return NR_STATUS_OK;
        if (errno != EEXIST) break;
    }
    NR_FAIL(IO, "%s: cannot create: %s", w->temp_path, strerror(errno));
}

nr_status nr_file_writer_put(nr_file_writer *w, const void *src, size_t bytes, nr_error *err) {
    NR_ASSERT(w->fd >= 0);
    const uint8_t *p = src;
    while (bytes > 0) {
        ssize_t n = write(w->fd, p, NR_MIN(bytes, IO_CHUNK_BYTES));
        if (n < 0 && errno == EINTR) continue;
        NR_FAIL_IF(n <= 0, IO, "%s: write: %s", w->temp_path,
                   n < 0 ? strerror(errno) : "nothing was written");
        p += n;
        bytes -= (size_t)n;
    }
    return NR_STATUS_OK;
}

void nr_file_sync_folder_of(const char *path) {
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash) *slash = '\0';
    int fd = open(slash ? (slash == dir ? "/" : dir) : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

nr_status nr_file_writer_commit(nr_file_writer *w, nr_error *err) {
    NR_ASSERT(w->fd >= 0);
    int sync_failed = fsync(w->fd);
    int sync_errno = errno;
    int close_failed = close(w->fd);
    w->fd = -1;
    if (sync_failed || close_failed || rename(w->temp_path, w->path) != 0) {
        int cause = sync_failed ? sync_errno : errno;
        unlink(w->temp_path);
        NR_FAIL(IO, "%s: cannot be completed: %s", w->path, strerror(cause));
    }
    nr_file_sync_folder_of(w->path);
    return NR_STATUS_OK;
}

void nr_file_writer_abort(nr_file_writer *w) {
    if (w->fd < 0) return;
    close(w->fd);
    w->fd = -1;
    unlink(w->temp_path);
}
