/* SPDX-License-Identifier: MIT
 *
 * test_safetensors.c - the directory of good files, every way a header can lie, and the writer.
 */
#include "fmt_test.h"
#include "safetensors.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

/* Header text and data_bytes zero bytes as a file image of exactly that size (so that
 * AddressSanitizer sees a read past the end); *n gets the size. The caller frees. */
static uint8_t *image(const char *header, size_t data_bytes, size_t *n) {
    uint64_t length = strlen(header);
    *n = 8 + length + data_bytes;
    uint8_t *bytes = calloc(1, *n);
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(length >> (8 * i));
    memcpy(bytes + 8, header, length);
    return bytes;
}

static nr_status parse_text(const char *header, size_t data_bytes, nr_safetensors *st,
                            nr_error *err) {
    size_t n;
    uint8_t *bytes = image(header, data_bytes, &n);
    nr_status status = nr_safetensors_parse(bytes, n, st, err);
    free(bytes);
    return status;
}

static void expect_refused(const char *header, size_t data_bytes, nr_status expected,
                           const char *part) {
    nr_safetensors st;
    nr_error err = {0};
    uint64_t live = nr_alloc_get_stats().live_count;
    nr_status status = parse_text(header, data_bytes, &st, &err);
    if (status != expected) print_message("%s\n%s\n", header, err.message);
    assert_int_equal(status, expected);
    assert_message_has(err, part);
    assert_null(st.tensors);
    assert_int_equal(nr_alloc_get_stats().live_count, live);
}

static void reads_a_directory(void **state) {
    (void)state;
    nr_safetensors st;
    nr_error err = {0};
    const char *header = "{\"__metadata__\":{\"format\":\"pt\"},"
                         "\"b\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
                         "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                         "\"none\":{\"dtype\":\"I64\",\"shape\":[0,5],\"data_offsets\":[16,16]},"
                         "\"mask\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[16,19],"
                         "\"extra\":1}}   ";
    assert_int_equal(parse_text(header, 19, &st, &err), 0);
    assert_int_equal(st.n_tensors, 4);
    const char *const file_order[] = {"a", "b", "none", "mask"};
    for (int i = 0; i < 4; i++) assert_string_equal(st.tensors[i].name, file_order[i]);
    const nr_safetensor *b = nr_safetensors_find(&st, "b");
    assert_int_equal(b->dtype, NR_DTYPE_F16);
    assert_true(b->n_dims == 2 && b->dims[0] == 2 && b->dims[1] == 3 && b->n_elements == 6);
    assert_true(b->offset == st.data_begin + 4 && b->bytes == 12);
    assert_int_equal(st.data_begin, 8 + strlen(header));
    assert_int_equal(nr_safetensors_find(&st, "a")->n_elements, 1);
    assert_int_equal(nr_safetensors_find(&st, "none")->n_elements, 0);
    assert_int_equal(nr_safetensors_find(&st, "mask")->dtype, NR_DTYPE_COUNT);
    assert_string_equal(nr_safetensors_find(&st, "mask")->dtype_name, "BOOL");
    assert_null(nr_safetensors_find(&st, "c"));
    assert_null(nr_safetensors_find(&st, ""));
    assert_string_equal(nr_safetensors_metadata(&st, "format"), "pt");
    assert_null(nr_safetensors_metadata(&st, "other"));
    nr_safetensors_reset(&st);
    header = "{\"a\":{\"dtype\":\"F4\",\"shape\":[3,0],\"data_offsets\":[0,0]}}";
    assert_int_equal(parse_text(header, 0, &st, &err), 0);
    assert_int_equal(nr_safetensors_find(&st, "a")->n_elements, 0);
    nr_safetensors_reset(&st);
    assert_int_equal(parse_text("{}", 0, &st, &err), 0); /* legal, if useless */
    assert_null(nr_safetensors_find(&st, "a"));
    assert_null(nr_safetensors_metadata(&st, "format"));
    nr_safetensors_reset(&st);
}

#define ENTRY(name, type, shape, begin, end)                                                       \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static void refuses_bad_layout(void **state) {
    (void)state;
    expect_refused(
        "{" ENTRY("a", "F32", "[1]", "0", "4") "," ENTRY("b", "F32", "[2]", "2", "10") "}", 10,
        NR_STATUS_FORMAT, "tensor \"b\": data begins at byte 2, expected 4: it overlaps");
    expect_refused(
        "{" ENTRY("a", "F32", "[1]", "0", "4") "," ENTRY("b", "F32", "[1]", "0", "4") "}", 4,
        NR_STATUS_FORMAT, "overlaps");
    expect_refused(
        "{" ENTRY("a", "F32", "[1]", "0", "4") "," ENTRY("b", "F32", "[1]", "8", "12") "}", 12,
        NR_STATUS_FORMAT, "tensor \"b\": data begins at byte 8, expected 4: there is a");
    expect_refused("{" ENTRY("a", "F32", "[1]", "4", "8") "}", 8, NR_STATUS_FORMAT, "hole");
    expect_refused("{" ENTRY("a", "F32", "[1]", "0", "4") "}", 5, NR_STATUS_FORMAT,
                   "5 bytes of data, but the tensors take 4");
    expect_refused("{" ENTRY("a", "F32", "[2]", "0", "8") "}", 7, NR_STATUS_FORMAT,
                   "1 bytes short");
    expect_refused("{" ENTRY("a", "F32", "[2]", "0", "4") "}", 4, NR_STATUS_FORMAT,
                   "4 bytes, but F32 of this shape takes 8");
    expect_refused("{" ENTRY("a", "F32", "[1]", "4", "0") "}", 4, NR_STATUS_FORMAT,
                   "before it begins");
    expect_refused("{" ENTRY("a", "F32", "[1]", "-4", "0") "}", 4, NR_STATUS_LIMIT,
                   "data_offsets[0]");
    expect_refused("{" ENTRY("a", "F32", "[1]", "9223372036854775806", "9223372036854775807") "}",
                   4, NR_STATUS_FORMAT, "tensor \"a\"");
    expect_refused("{" ENTRY("a", "U8", "[9223372036854775807]", "0", "9223372036854775807") "}", 4,
                   NR_STATUS_LIMIT, "bytes does not fit"); /* bits are counted, so this wraps */
    expect_refused("{" ENTRY("a", "U8", "[4]", "0", "18446744073709551620") "}", 4,
                   NR_STATUS_FORMAT, "data_offsets[1]"); /* 2^64 + 4 would wrap to 4 */
    expect_refused("{}", 1, NR_STATUS_FORMAT, "1 bytes of data");
}

static void refuses_bad_shapes(void **state) {
    (void)state;
    expect_refused("{" ENTRY("a", "F32", "[4294967296,4294967296]", "0", "0") "}", 0,
                   NR_STATUS_LIMIT, "elements does not fit");
    expect_refused("{" ENTRY("a", "F32", "[4611686018427387904,2,2]", "0", "0") "}", 0,
                   NR_STATUS_LIMIT, "does not fit");
    expect_refused("{" ENTRY("a", "F32", "[4611686018427387905]", "0", "4") "}", 4, NR_STATUS_LIMIT,
                   "does not fit"); /* times 4 would wrap to 4 */
    expect_refused("{" ENTRY("a", "U8", "[4294967296,4249967296,0]", "0", "0") "}", 0,
                   NR_STATUS_LIMIT, "does not fit"); /* though nothing is stored */
    expect_refused("{" ENTRY("a", "F32", "[-1]", "0", "4") "}", 4, NR_STATUS_LIMIT, "shape[0]");
    expect_refused("{" ENTRY("a", "F32", "[1.0]", "0", "4") "}", 4, NR_STATUS_FORMAT, "shape[0]");
    expect_refused("{" ENTRY("a", "F32", "[\"1\"]", "0", "4") "}", 4, NR_STATUS_FORMAT, "shape[0]");
    expect_refused("{" ENTRY("a", "F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, NR_STATUS_LIMIT,
                   "at most 8 items");
    expect_refused("{" ENTRY("a", "F32", "1", "0", "4") "}", 4, NR_STATUS_FORMAT,
                   "expected a list");
    expect_refused("{" ENTRY("a", "F4", "[3]", "0", "2") "}", 2, NR_STATUS_FORMAT,
                   "no whole bytes");
    expect_refused("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, NR_STATUS_FORMAT,
                   "no shape");
    expect_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, NR_STATUS_FORMAT,
                   "0 values, expected 2");
    expect_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4,
                   NR_STATUS_FORMAT, "1 values, expected 2");
    expect_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4,
                   NR_STATUS_LIMIT, "data_offsets");
    expect_refused("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, NR_STATUS_FORMAT, "dtype");
    expect_refused("{" ENTRY("a", "F33", "[1]", "0", "4") "}", 4, NR_STATUS_UNSUPPORTED,
                   "\"F33\" is no element type");
}

static void refuses_bad_names(void **state) {
    (void)state;
    char header[512], name[300];
    expect_refused("{" ENTRY("", "U8", "[1]", "0", "1") "}", 1, NR_STATUS_FORMAT, "1 to 255 bytes");
    expect_refused("{" ENTRY("a\\nb", "U8", "[1]", "0", "1") "}", 1, NR_STATUS_FORMAT, "control");
    expect_refused("{" ENTRY("a", "U8", "[1]", "0", "1") "," ENTRY("a", "U8", "[1]", "0", "1") "}",
                   1, NR_STATUS_FORMAT, "duplicate");
    expect_refused(
        "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
        NR_STATUS_FORMAT, "duplicate");
    for (size_t n = 255; n <= 256; n++) {
        memset(name, 'x', n);
        name[n] = '\0';
        snprintf(header, sizeof header,
                 "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", name);
        nr_safetensors st;
        nr_error err = {0};
        assert_int_equal(parse_text(header, 1, &st, &err), n == 255 ? 0 : NR_STATUS_FORMAT);
        nr_safetensors_reset(&st);
    }
    expect_refused("{\"__metadata__\":[]}", 0, NR_STATUS_FORMAT, "__metadata__");
    expect_refused("{\"__metadata__\":{\"a\":1}}", 0, NR_STATUS_FORMAT, "__metadata__.a");
    expect_refused("{\"a\":1}", 0, NR_STATUS_FORMAT, "expected an object");
    expect_refused("[]", 0, NR_STATUS_FORMAT, "begin with");
    expect_refused(" {}", 0, NR_STATUS_FORMAT, "begin with");
    expect_refused("", 0, NR_STATUS_FORMAT, "begin with");
    expect_refused("{}x", 0, NR_STATUS_FORMAT, "line 1");
}

static void refuses_bad_lengths(void **state) {
    (void)state;
    const uint64_t lengths[] = {
        3,          1000,           NR_SAFETENSORS_HEADER_MAX, NR_SAFETENSORS_HEADER_MAX + 1u,
        UINT64_MAX, UINT64_MAX - 7, (uint64_t)INT64_MAX + 1};
    for (size_t i = 0; i < NR_COUNT(lengths); i++) {
        uint8_t bytes[10] = {0};
        for (int k = 0; k < 8; k++) bytes[k] = (uint8_t)(lengths[i] >> (8 * k));
        memcpy(bytes + 8, "{}", 2);
        nr_safetensors st;
        nr_error err = {0};
        nr_status status = nr_safetensors_parse(bytes, sizeof bytes, &st, &err);
        assert_true(status == NR_STATUS_FORMAT || status == NR_STATUS_LIMIT);
        assert_message_has(err, "header of ");
    }
}

/* A small real file, written by the writer. */
static void write_sample(const scratch *s, const char *name) {
    nr_safetensors_writer *w;
    nr_error err = {0};
    const float f[3] = {1, -2, 3.5f};
    const uint8_t q[5] = {1, 2, 3, 4, 5};
    assert_int_equal(nr_safetensors_writer_create(&w, &err), 0);
    assert_int_equal(nr_safetensors_writer_add_metadata(w, "format", "pt", &err), 0);
    assert_int_equal(nr_safetensors_writer_add(w, "z.f", NR_DTYPE_F32, 2, (int64_t[]){1, 3}, &err),
                     0);
    assert_int_equal(nr_safetensors_writer_add(w, "a.q", NR_DTYPE_U8, 1, (int64_t[]){5}, &err), 0);
    assert_int_equal(nr_safetensors_writer_open(w, scratch_path(s, name), &err), 0);
    for (size_t i = 0; i < sizeof f; i += 4) /* pieces of any size */
        assert_int_equal(nr_safetensors_writer_put(w, (const char *)f + i, 4, &err), 0);
    assert_int_equal(nr_safetensors_writer_put(w, q, 0, &err), 0);
    assert_int_equal(nr_safetensors_writer_put(w, q, 2, &err), 0);
    assert_int_equal(nr_safetensors_writer_put(w, q + 2, 3, &err), 0);
    assert_int_equal(nr_safetensors_writer_commit(w, &err), 0);
    assert_int_equal(nr_safetensors_writer_bytes(w) % NR_ALIGN_BYTES, 17);
    nr_safetensors_writer_free(w);
}

static void writes_what_it_reads(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    write_sample(&s, "m.safetensors");
    nr_file f;
    nr_safetensors st;
    nr_error err = {0};
    assert_int_equal(nr_file_open(scratch_path(&s, "m.safetensors"), &f, &err), 0);
    assert_int_equal(nr_safetensors_read(&f, &st, &err), 0);
    assert_int_equal(st.n_tensors, 2);
    assert_int_equal(st.data_begin % NR_ALIGN_BYTES, 0);
    assert_string_equal(st.tensors[0].name, "z.f"); /* declaration order is file order */
    assert_string_equal(nr_safetensors_metadata(&st, "format"), "pt");
    const nr_safetensor *t = nr_safetensors_find(&st, "z.f");
    float values[3];
    assert_true(t->n_dims == 2 && t->dims[0] == 1 && t->dims[1] == 3 && t->bytes == 12);
    assert_int_equal(nr_file_read_at(&f, t->offset, values, sizeof values, &err), 0);
    assert_true(values[0] == 1 && values[1] == -2 && values[2] == 3.5f);
    t = nr_safetensors_find(&st, "a.q");
    uint8_t bytes[5];
    assert_int_equal(nr_file_read_at(&f, t->offset, bytes, 5, &err), 0);
    assert_memory_equal(bytes, "\1\2\3\4\5", 5);
    nr_safetensors_reset(&st);
    nr_file_close(&f);
    assert_int_equal(count_entries(&s), 1);
    scratch_remove(&s);
}

static void refuses_every_truncation(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    write_sample(&s, "m.safetensors");
    char *whole;
    size_t n;
    nr_error err = {0};
    nr_safetensors st;
    assert_int_equal(nr_file_read_all(scratch_path(&s, "m.safetensors"), 1 << 20, &whole, &n, &err),
                     0);
    assert_int_equal(nr_safetensors_parse(whole, n, &st, &err), 0);
    nr_safetensors_reset(&st);
    for (size_t keep = 0; keep < n; keep++) {
        uint8_t *cut = malloc(keep ? keep : 1);
        memcpy(cut, whole, keep);
        nr_status in_memory = nr_safetensors_parse(cut, keep, &st, &err);
        assert_int_equal(in_memory, NR_STATUS_FORMAT);
        assert_null(st.tensors);
        put_file(&s, "cut", cut, keep);
        nr_file f;
        assert_int_equal(nr_file_open(scratch_path(&s, "cut"), &f, &err), 0);
        assert_int_equal(nr_safetensors_read(&f, &st, &err), in_memory);
        nr_file_close(&f);
        free(cut);
    }
    uint8_t *longer = malloc(n + 1);
    memcpy(longer, whole, n);
    longer[n] = 0;
    assert_int_equal(nr_safetensors_parse(longer, n + 1, &st, &err), NR_STATUS_FORMAT);
    free(longer);
    nr_free(whole);
    scratch_remove(&s);
}

/* Any one byte of the header changed to any value: an answer, never a crash, and if the file is
 * still accepted every range lies inside it. */
static void survives_every_changed_byte(void **state) {
    (void)state;
    size_t n;
    uint8_t *bytes =
        image("{" ENTRY("a", "F32", "[2,1]", "0", "8") "," ENTRY("b", "U8", "[3]", "8", "11") "}",
              11, &n);
    for (size_t i = 0; i < n - 11; i++) {
        uint8_t kept = bytes[i];
        for (int value = 0; value < 256; value++) {
            bytes[i] = (uint8_t)value;
            nr_safetensors st;
            if (nr_safetensors_parse(bytes, n, &st, NULL) != NR_STATUS_OK) continue;
            for (int k = 0; k < st.n_tensors; k++)
                assert_true(st.tensors[k].bytes <= n &&
                            st.tensors[k].offset <= n - st.tensors[k].bytes);
            nr_safetensors_reset(&st);
        }
        bytes[i] = kept;
    }
    free(bytes);
}

static void writer_refuses_misuse(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    nr_safetensors_writer *w;
    nr_error err = {0};
    int64_t dims[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, huge[2] = {INT64_MAX, 3};
    char name[300];
    memset(name, 'n', 256);
    name[256] = '\0';
    assert_int_equal(nr_safetensors_writer_create(&w, &err), 0);
    assert_int_equal(nr_safetensors_writer_add(w, "", NR_DTYPE_F32, 1, dims, &err), NR_STATUS_ARG);
    assert_int_equal(nr_safetensors_writer_add(w, name, NR_DTYPE_F32, 1, dims, &err),
                     NR_STATUS_ARG);
    assert_int_equal(nr_safetensors_writer_add(w, "__metadata__", NR_DTYPE_F32, 1, dims, &err),
                     NR_STATUS_ARG);
    assert_int_equal(nr_safetensors_writer_add(w, "a", NR_DTYPE_F32, 9, dims, &err),
                     NR_STATUS_LIMIT);
    assert_int_equal(nr_safetensors_writer_add(w, "a", NR_DTYPE_F32, 2, huge, &err),
                     NR_STATUS_LIMIT);
    huge[0] = -1;
    assert_int_equal(nr_safetensors_writer_add(w, "a", NR_DTYPE_F32, 1, huge, &err),
                     NR_STATUS_LIMIT);
    assert_int_equal(nr_safetensors_writer_add(w, "a", NR_DTYPE_F32, 1, dims, &err), 0);
    assert_int_equal(nr_safetensors_writer_add(w, "a", NR_DTYPE_F32, 1, dims, &err), NR_STATUS_ARG);
    assert_message_has(err, "declared twice");
    assert_int_equal(nr_safetensors_writer_add_metadata(w, "k", "v", &err), 0);
    assert_int_equal(nr_safetensors_writer_add_metadata(w, "k", "v", &err), NR_STATUS_ARG);
    assert_int_equal(nr_safetensors_writer_open(w, scratch_path(&s, "no/such/x"), &err),
                     NR_STATUS_IO);
    nr_safetensors_writer_free(w);

    assert_int_equal(nr_safetensors_writer_create(&w, &err), 0);
    assert_int_equal(nr_safetensors_writer_add(w, "a", NR_DTYPE_F32, 1, dims, &err), 0);
    assert_int_equal(nr_safetensors_writer_open(w, scratch_path(&s, "x"), &err), 0);
    assert_int_equal(nr_safetensors_writer_put(w, "12345", 5, &err), NR_STATUS_ARG);
    assert_int_equal(nr_safetensors_writer_put(w, "123", 3, &err), 0);
    assert_int_equal(nr_safetensors_writer_commit(w, &err), NR_STATUS_ARG);
    assert_message_has(err, "3 bytes of data, 4 were declared");
    nr_safetensors_writer_free(w);
    assert_int_equal(count_entries(&s), 0); /* nothing half-written stays */
    scratch_remove(&s);
}

/* A disk that is full after `room` bytes, by way of the limit on file sizes. */
static nr_status write_with_room(const scratch *s, rlim_t room, nr_error *err) {
    static const uint8_t block[4096];
    nr_safetensors_writer *w;
    NR_TRY(nr_safetensors_writer_create(&w, err));
    nr_status status = nr_safetensors_writer_add(w, "a", NR_DTYPE_U8, 1, (int64_t[]){40960}, err);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = room;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    if (status == NR_STATUS_OK) status = nr_safetensors_writer_open(w, scratch_path(s, "x"), err);
    for (int i = 0; i < 10 && status == NR_STATUS_OK; i++)
        status = nr_safetensors_writer_put(w, block, sizeof block, err);
    if (status == NR_STATUS_OK) status = nr_safetensors_writer_commit(w, err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    nr_safetensors_writer_free(w);
    return status;
}

static void leaves_nothing_on_a_full_disk(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    put_text(&s, "x", "the file that was there before");
    const rlim_t rooms[] = {0, 10, 128, 5000, 40960};
    for (size_t i = 0; i < NR_COUNT(rooms); i++) {
        nr_error err = {0};
        assert_int_equal(write_with_room(&s, rooms[i], &err), NR_STATUS_IO);
        assert_message_has(err, "/x.tmp");
        assert_message_has(err, strerror(EFBIG));
        assert_int_equal(count_entries(&s), 1);
        char *text;
        size_t n;
        assert_int_equal(nr_file_read_all(scratch_path(&s, "x"), 100, &text, &n, &err), 0);
        assert_string_equal(text, "the file that was there before");
        nr_free(text);
    }
    nr_error err = {0};
    assert_int_equal(write_with_room(&s, 50000, &err), 0);
    assert_int_equal(count_entries(&s), 1);
    scratch_remove(&s);
}

static nr_status read_sample(void *ctx, nr_error *err) {
    nr_file f;
    nr_safetensors st;
    NR_TRY(nr_file_open(ctx, &f, err));
    nr_status status = nr_safetensors_read(&f, &st, err);
    nr_safetensors_reset(&st);
    nr_file_close(&f);
    return status;
}

static nr_status write_again(void *ctx, nr_error *err) {
    nr_safetensors_writer *w;
    NR_TRY(nr_safetensors_writer_create(&w, err));
    nr_status status = nr_safetensors_writer_add_metadata(w, "k", "v", err);
    for (int i = 0; i < 20 && status == NR_STATUS_OK; i++) {
        char name[32];
        snprintf(name, sizeof name, "tensor.number.%d", i);
        status = nr_safetensors_writer_add(w, name, NR_DTYPE_U8, 2, (int64_t[]){1, 1}, err);
    }
    if (status == NR_STATUS_OK) status = nr_safetensors_writer_open(w, ctx, err);
    if (status == NR_STATUS_OK)
        status = nr_safetensors_writer_put(w, "12345678901234567890", 20, err);
    if (status == NR_STATUS_OK) status = nr_safetensors_writer_commit(w, err);
    nr_safetensors_writer_free(w);
    return status;
}

static void survives_failing_allocations(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    char path[256];
    snprintf(path, sizeof path, "%s", scratch_path(&s, "m.safetensors"));
    sweep_allocations(write_again, path);
    assert_int_equal(count_entries(&s), 1);
    sweep_allocations(read_sample, path);
    scratch_remove(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_directory),
        cmocka_unit_test(refuses_bad_layout),
        cmocka_unit_test(refuses_bad_shapes),
        cmocka_unit_test(refuses_bad_names),
        cmocka_unit_test(refuses_bad_lengths),
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(survives_every_changed_byte),
        cmocka_unit_test(writer_refuses_misuse),
        cmocka_unit_test(leaves_nothing_on_a_full_disk),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
