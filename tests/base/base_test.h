/* SPDX-License-Identifier: MIT
 *
 * base_test.h - cmocka and the headers it wants before it. */
#ifndef BASE_TEST_H
#define BASE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
