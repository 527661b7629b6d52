/* SPDX-License-Identifier: MIT
 *
 * newsreader_types.h - plain data shared by the public headers and src/base: status codes and
 * the error record. Nothing here allocates or has behaviour.
 */
#ifndef NEWSREADER_TYPES_H
#define NEWSREADER_TYPES_H

#include <stdint.h>

#if defined(__GNUC__)
#define NR_API __attribute__((visibility("default")))
#else
#define NR_API
#endif

/* One list, three uses: the enum below, nr_status_name() and nr_status_text(). */
#define NR_STATUS_MAP(X)                                                                           \
    X(OK, 0, "success")                                                                            \
    X(ARG, -1, "invalid argument")                                                                 \
    X(NO_MEMORY, -2, "out of memory")                                                              \
    X(IO, -3, "input/output error")                                                                \
    X(NOT_FOUND, -4, "not found")                                                                  \
    X(FORMAT, -5, "malformed input")                                                               \
    X(UNSUPPORTED, -6, "not supported")                                                            \
    X(LIMIT, -7, "over a limit")                                                                   \
    X(SHAPE, -8, "unexpected shape or type")                                                       \
    X(NOT_FINITE, -9, "NaN or infinity in weights")                                                \
    X(CONTEXT_FULL, -10, "prompt does not fit the context")                                        \
    X(CANCELLED, -11, "cancelled")                                                                 \
    X(CEILING, -12, "memory plan exceeds the ceiling")                                             \
    X(INTERNAL, -13, "internal error")                                                             \
    X(TIMEOUT, -14, "deadline passed")                                                             \
    X(BUSY, -15, "no room for another request")                                                    \
    X(SELF_TEST, -16, "self-test failed")                                                          \
    X(DEVICE, -17, "the graphics card failed")

typedef enum nr_status {
#define NR_STATUS_ENUM(name, value, text) NR_STATUS_##name = value,
    NR_STATUS_MAP(NR_STATUS_ENUM)
#undef NR_STATUS_ENUM
} nr_status;

NR_API const char *nr_status_name(nr_status status); /* "FORMAT"; static */
NR_API const char *nr_status_text(nr_status status); /* "malformed input"; static */

/* First cause of a failure. Filled at the place of failure; forwarding never overwrites it. */
typedef struct nr_error {
    nr_status status;
    int line;          /* of the first cause */
    const char *file;  /* static string: source file of the first cause */
    char message[256]; /* what was found, what was expected, and where; UTF-8, no newline */
} nr_error;

#endif
