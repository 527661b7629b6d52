/* SPDX-License-Identifier: MIT
 * outliers.c - see outliers.h. n is small: insertion into a sorted list of n. */
#include "outliers.h"

#include <math.h>

int32_t nr_outlier_count(int32_t n_in) {
    return NR_MIN(NR_OUTLIER_COLUMNS, n_in);
}

static void insert_sorted(int32_t *columns, int32_t at, int32_t value) {
    for (; at > 0 && columns[at - 1] > value; at--) columns[at] = columns[at - 1];
    columns[at] = value;
}

void nr_outlier_columns(const float *gamma, int32_t n_in, int32_t n, int32_t *columns) {
    for (int32_t i = 0; i < n; i++) {
        int32_t best = -1;
        for (int32_t c = 0; c < n_in; c++) {
            bool taken = false;
            for (int32_t j = 0; j < i; j++) taken |= columns[j] == c;
            if (!taken && (best < 0 || fabsf(gamma[c]) > fabsf(gamma[best]))) best = c;
        }
        insert_sorted(columns, i, best);
    }
}
