/* SPDX-License-Identifier: MIT
 *
 * image_cache.h - features of pictures that were looked at before, so that the same picture does
 * not go through the vision tower again. A key is the SHA-256 of what the tower would be given:
 * fit, size and decoded pixels. The cache belongs to one engine, so the model is part of every key
 * already. What comes out is what went in, bit for bit. Fixed size; the picture that was not asked
 * for longest makes room. One thread, as the engine.
 */
#ifndef NR_IMAGE_CACHE_H
#define NR_IMAGE_CACHE_H

#include "image.h"
#include "model.h"

#define NR_IMAGE_KEY_BYTES 32
typedef struct nr_image_key {
    uint8_t bytes[NR_IMAGE_KEY_BYTES];
} nr_image_key;

nr_image_key nr_image_key_of(const nr_image *image, int fit);

typedef struct nr_image_entry {
    nr_image_key key;
    uint64_t used_at; /* 0: empty */
    float *features;  /* device [n_image_tokens, hidden] */
} nr_image_entry;

typedef struct nr_image_cache {
    nr_backend *be; /* borrows */
    nr_arena device;
    nr_image_entry *entries; /* owns [n] */
    int32_t n;
    size_t features_bytes; /* of one picture, without alignment */
    uint64_t clock;
} nr_image_cache;

/* Arena bytes of one picture's features; 0 for text models. */
size_t nr_image_features_bytes(const nr_model *model);
/* All that nr_image_cache_open will allocate for n pictures; SIZE_MAX when it wraps. */
size_t nr_image_cache_bytes(const nr_model *model, int32_t n);

/* n 0, or a text model: an empty cache that never holds anything. Errors: NO_MEMORY. */
nr_status nr_image_cache_open(nr_image_cache *c, nr_backend *be, const nr_model *model, int32_t n,
                              nr_error *err);
void nr_image_cache_close(nr_image_cache *c); /* accepts a zeroed one */

/* Copy the features of key to dst (device); false when they are not held. */
bool nr_image_cache_get(nr_image_cache *c, const nr_image_key *key, float *dst);
void nr_image_cache_put(nr_image_cache *c, const nr_image_key *key, const float *features);

#endif
