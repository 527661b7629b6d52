/* SPDX-License-Identifier: MIT
 *
 * nr_file.h - reading files exactly and writing them whole or not at all. A read never trusts the
 * size it was told: short files are errors that say how many bytes were there.
 */
#ifndef NR_FILE_H
#define NR_FILE_H

#include "nr_status.h"

typedef struct nr_file {
    int fd;        /* owns; -1 when closed */
    uint64_t size; /* bytes at open; regular files only */
} nr_file;

/* Errors: NOT_FOUND, IO, FORMAT (not a regular file). Message names path. */
nr_status nr_file_open(const char *path, nr_file *out, nr_error *err);
void nr_file_close(nr_file *f); /* accepts a closed one */

/* Exactly `bytes` at `offset` into dst. Errors: IO, FORMAT (file ends early; says where). */
nr_status nr_file_read_at(const nr_file *f, uint64_t offset, void *dst, size_t bytes,
                          nr_error *err);
/* Let the kernel drop cached pages it may hold for a range that has been read once. */
void nr_file_forget(const nr_file *f, uint64_t offset, uint64_t bytes);

/* Whole small file, NUL-terminated for text parsers (NUL not counted in *size_bytes).
 * Transfers *out (nr_free). Errors: as open, LIMIT (file over bytes_max), NO_MEMORY. */
nr_status nr_file_read_all(const char *path, size_t bytes_max, char **out, size_t *size_bytes,
                           nr_error *err);
/* The same into the caller's dst [bytes_max], without a NUL. Errors: as above, but NO_MEMORY. */
nr_status nr_file_read_into(const char *path, void *dst, size_t bytes_max, size_t *size_bytes,
                            nr_error *err);

bool nr_file_exists(const char *path);

/* Make a name that was just created or renamed durable: its folder's entry is on disk only after
 * the folder's own fsync. Nothing can be done where that fails. */
void nr_file_sync_folder_of(const char *path);

/* dir + "/" + name into dst; LIMIT when it does not fit cap bytes. */
nr_status nr_path_join(char *dst, size_t cap, const char *dir, const char *name, nr_error *err);

/* A file that appears under its name only when complete: written to a temporary name in the same
 * folder, fsynced, renamed, folder fsynced. nr_file_writer_abort or a failed commit unlinks it. */
typedef struct nr_file_writer {
    int fd; /* owns; -1 when closed */
    char path[4096], temp_path[4096];
} nr_file_writer;
nr_status nr_file_writer_open(nr_file_writer *w, const char *path, nr_error *err);
nr_status nr_file_writer_put(nr_file_writer *w, const void *src, size_t bytes, nr_error *err);
nr_status nr_file_writer_commit(nr_file_writer *w, nr_error *err);
void nr_file_writer_abort(nr_file_writer *w); /* accepts a closed one */

#endif
