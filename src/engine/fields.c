/* SPDX-License-Identifier: MIT
 * fields.c - the questions behind the names of a news page's fields. */
#include "newsreader.h"

#include "nr_base.h"

#include <string.h>

static const nr_field fields[] = {{"headline", "What is the headline?"},
                                  {"byline", "Who wrote it?"},
                                  {"site", "What site or paper is it?"},
                                  {"date", "When was it published?"},
                                  {"lead", "Read the first paragraph."}};

const nr_field *nr_field_at(int32_t i) {
    return i >= 0 && (size_t)i < NR_COUNT(fields) ? &fields[i] : NULL;
}

const nr_field *nr_field_find(const char *name, size_t n_bytes) {
    for (size_t i = 0; i < NR_COUNT(fields); i++)
        if (strlen(fields[i].name) == n_bytes && memcmp(fields[i].name, name, n_bytes) == 0)
            return &fields[i];
    return NULL;
}
