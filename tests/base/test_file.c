/* SPDX-License-Identifier: MIT
 *
 * Files: exact reads, errors that say what was there, and writing that leaves the whole file or
 * nothing, whether it is given up, the disk is full, or the last step fails.
 */
#define _GNU_SOURCE
#include "base_test.h"
#include "nr_alloc.h"
#include "nr_file.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/newsreader-test-file-XXXXXX";

static const char *in_folder(const char *name) {
    static char path[4][600];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void put_file(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static int entries_in_folder(void) {
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int n = -2; /* . and .. */
    while (readdir(dir)) n++;
    closedir(dir);
    return n;
}

static int make_folder(void **state) {
    (void)state;
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[700];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void opening_names_the_path(void **state) {
    (void)state;
    nr_file f = {.fd = -1};
    nr_error err;
    assert_int_equal(nr_file_open(in_folder("none"), &f, &err), NR_STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, in_folder("none")));
    assert_int_equal(nr_file_open(folder, &f, &err), NR_STATUS_FORMAT);
    assert_non_null(strstr(err.message, "not a regular file"));
    assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
    assert_int_equal(nr_file_open(in_folder("fifo"), &f, &err), NR_STATUS_FORMAT); /* and at once */
    assert_int_equal(nr_file_open("/dev/zero", &f, &err), NR_STATUS_FORMAT);
    assert_int_equal(f.fd, -1);
}

static void short_file_says_where_it_ends(void **state) {
    (void)state;
    uint8_t bytes[100], back[100];
    for (int i = 0; i < 100; i++) bytes[i] = (uint8_t)i;
    put_file(in_folder("f"), bytes, sizeof bytes);
    nr_file f;
    nr_error err;
    assert_int_equal(nr_file_open(in_folder("f"), &f, &err), NR_STATUS_OK);
    assert_int_equal(f.size, 100);
    assert_int_equal(nr_file_read_at(&f, 30, back, 70, &err), NR_STATUS_OK);
    assert_memory_equal(back, bytes + 30, 70);
    assert_int_equal(nr_file_read_at(&f, 100, back, 0, &err), NR_STATUS_OK);
    assert_int_equal(nr_file_read_at(&f, 31, back, 70, &err), NR_STATUS_FORMAT);
    assert_non_null(strstr(err.message, "byte 100, 1 bytes short"));
    assert_int_equal(truncate(in_folder("f"), 40), 0); /* shrinks while it is open */
    assert_int_equal(nr_file_read_at(&f, 0, back, 100, &err), NR_STATUS_FORMAT);
    assert_non_null(strstr(err.message, "byte 40, 60 bytes short"));
    assert_int_equal(nr_file_read_at(&f, UINT64_MAX - 5, back, 4, &err), NR_STATUS_IO);
    nr_file_close(&f);
    nr_file_close(&f);
}

static void read_all_has_a_limit(void **state) {
    (void)state;
    put_file(in_folder("f"), "0123456789", 10);
    put_file(in_folder("empty"), "", 0);
    char *text = NULL;
    size_t n = 77;
    nr_error err;
    assert_int_equal(nr_file_read_all(in_folder("f"), 9, &text, &n, &err), NR_STATUS_LIMIT);
    assert_non_null(strstr(err.message, "10 bytes, at most 9"));
    assert_null(text);
    assert_int_equal(n, 77);
    assert_int_equal(nr_file_read_all(in_folder("f"), 10, &text, &n, &err), NR_STATUS_OK);
    assert_string_equal(text, "0123456789");
    assert_int_equal(n, 10);
    nr_free(text);
    assert_int_equal(nr_file_read_all(in_folder("empty"), 10, &text, &n, &err), NR_STATUS_OK);
    assert_string_equal(text, "");
    assert_int_equal(n, 0);
    nr_free(text);
    uint64_t live = nr_alloc_get_stats().live_count;
    nr_alloc_fail_nth(1, false);
    assert_int_equal(nr_file_read_all(in_folder("f"), 10, &text, &n, &err), NR_STATUS_NO_MEMORY);
    nr_alloc_fail_nth(0, false);
    assert_int_equal(nr_alloc_get_stats().live_count, live);
}

static void paths_join_or_are_refused(void **state) {
    (void)state;
    char path[8];
    nr_error err;
    assert_int_equal(nr_path_join(path, sizeof path, "abc", "def", &err), NR_STATUS_OK);
    assert_string_equal(path, "abc/def");
    assert_int_equal(nr_path_join(path, sizeof path, "abc", "defg", &err), NR_STATUS_LIMIT);
    assert_non_null(strstr(err.message, "8 bytes"));
}

static void committed_file_is_whole_and_alone(void **state) {
    (void)state;
    put_file(in_folder("out"), "old", 3);
    nr_file_writer w;
    nr_error err;
    assert_int_equal(nr_file_writer_open(&w, in_folder("out"), &err), NR_STATUS_OK);
    assert_int_equal(nr_file_writer_put(&w, "hello ", 6, &err), NR_STATUS_OK);
    assert_int_equal(nr_file_writer_put(&w, "world", 5, &err), NR_STATUS_OK);
    char *text = NULL;
    size_t n;
    assert_int_equal(nr_file_read_all(in_folder("out"), 99, &text, &n, &err), NR_STATUS_OK);
    assert_string_equal(text, "old"); /* until the commit */
    nr_free(text);
    assert_int_equal(nr_file_writer_commit(&w, &err), NR_STATUS_OK);
    nr_file_writer_abort(&w); /* too late to matter */
    assert_int_equal(nr_file_read_all(in_folder("out"), 99, &text, &n, &err), NR_STATUS_OK);
    assert_string_equal(text, "hello world");
    nr_free(text);
    assert_int_equal(entries_in_folder(), 1);
}

static void given_up_file_leaves_nothing(void **state) {
    (void)state;
    nr_file_writer w;
    assert_int_equal(nr_file_writer_open(&w, in_folder("out"), NULL), NR_STATUS_OK);
    assert_int_equal(nr_file_writer_put(&w, "hello", 5, NULL), NR_STATUS_OK);
    assert_int_equal(entries_in_folder(), 1);
    nr_file_writer_abort(&w);
    nr_file_writer_abort(&w);
    assert_int_equal(entries_in_folder(), 0);
}

static void full_disk_leaves_nothing(void **state) {
    (void)state;
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 10000, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    static const char block[4096];
    nr_file_writer w;
    nr_error err = {0};
    assert_int_equal(nr_file_writer_open(&w, in_folder("out"), &err), NR_STATUS_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    nr_status status = NR_STATUS_OK;
    int n_blocks = 0;
    while (status == NR_STATUS_OK && n_blocks < 10) {
        status = nr_file_writer_put(&w, block, sizeof block, &err);
        n_blocks++;
    }
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, NR_STATUS_IO);
    assert_int_equal(n_blocks, 3); /* the third is written in part */
    assert_non_null(strstr(err.message, in_folder("out")));
    nr_file_writer_abort(&w);
    assert_int_equal(entries_in_folder(), 0);
}

static void failed_commit_leaves_nothing(void **state) {
    (void)state;
    assert_int_equal(mkdir(in_folder("out"), 0700), 0);
    put_file(in_folder("out/inside"), "x", 1);
    nr_file_writer w;
    nr_error err;
    assert_int_equal(nr_file_writer_open(&w, in_folder("out"), &err), NR_STATUS_OK);
    assert_int_equal(nr_file_writer_put(&w, "hello", 5, &err), NR_STATUS_OK);
    assert_int_equal(nr_file_writer_commit(&w, &err), NR_STATUS_IO);
    assert_non_null(strstr(err.message, in_folder("out")));
    assert_int_equal(w.fd, -1);
    assert_int_equal(entries_in_folder(), 1);
}

static void leftover_of_a_killed_process_does_not_block(void **state) {
    (void)state;
    nr_file_writer killed, w; /* the same process id, as in a container that restarts */
    assert_int_equal(nr_file_writer_open(&killed, in_folder("out"), NULL), NR_STATUS_OK);
    close(killed.fd);
    nr_error err;
    assert_int_equal(nr_file_writer_open(&w, in_folder("out"), &err), NR_STATUS_OK);
    assert_int_equal(nr_file_writer_put(&w, "new", 3, &err), NR_STATUS_OK);
    assert_int_equal(nr_file_writer_commit(&w, &err), NR_STATUS_OK);
    assert_int_equal(entries_in_folder(), 2);
}

static void bad_targets_are_refused_at_once(void **state) {
    (void)state;
    nr_file_writer w;
    nr_error err;
    assert_int_equal(nr_file_writer_open(&w, in_folder("no/such/out"), &err), NR_STATUS_IO);
    assert_int_equal(w.fd, -1);
    nr_file_writer_abort(&w);
    static char path[5000];
    for (size_t n = 4070; n < 4100; n++) { /* around the longest path */
        memset(path, 'a', n);
        path[n] = '\0';
        assert_int_not_equal(nr_file_writer_open(&w, path, &err), NR_STATUS_OK);
        assert_int_equal(w.fd, -1);
    }
    assert_int_equal(err.status, NR_STATUS_LIMIT);
    assert_non_null(strstr(err.message, "4099 bytes"));
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(opening_names_the_path),
        IN_FOLDER(short_file_says_where_it_ends),
        IN_FOLDER(read_all_has_a_limit),
        IN_FOLDER(paths_join_or_are_refused),
        IN_FOLDER(committed_file_is_whole_and_alone),
        IN_FOLDER(given_up_file_leaves_nothing),
        IN_FOLDER(full_disk_leaves_nothing),
        IN_FOLDER(failed_commit_leaves_nothing),
        IN_FOLDER(leftover_of_a_killed_process_does_not_block),
        IN_FOLDER(bad_targets_are_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
