/* SPDX-License-Identifier: MIT
 *
 * outliers.h - which input features of a linear are kept in float (docs/QUANT.md has the measured
 * comparison). A norm's weight says, before any data is seen, which features it makes large.
 */
#ifndef NR_OUTLIERS_H
#define NR_OUTLIERS_H

#include "nr_base.h"

#define NR_OUTLIER_COLUMNS 8 /* of every linear that a norm feeds */

/* Number of outlier columns of a norm-fed linear with n_in features. */
int32_t nr_outlier_count(int32_t n_in);
/* The n features with the largest |gamma|, ascending; ties go to the lower index.
 * gamma [n_in], columns [n]; n <= n_in. */
void nr_outlier_columns(const float *gamma, int32_t n_in, int32_t n, int32_t *columns);

#endif
