/* SPDX-License-Identifier: MIT
 * image_cache.c - see image_cache.h. Caches are small: entries are searched one after another. */
#include "image_cache.h"

#include "nr_alloc.h"

#include <nettle/sha2.h>
#include <string.h>

_Static_assert(NR_IMAGE_KEY_BYTES == SHA256_DIGEST_SIZE, "key size");

nr_image_key nr_image_key_of(const nr_image *image, int fit) {
    struct sha256_ctx sha;
    nr_image_key key;
    const int32_t head[3] = {fit, image->width, image->height};
    sha256_init(&sha);
    sha256_update(&sha, sizeof head, (const uint8_t *)head);
    sha256_update(&sha, (size_t)image->width * (size_t)image->height * 3, image->rgb);
    sha256_digest(&sha, sizeof key.bytes, key.bytes);
    return key;
}

size_t nr_image_features_bytes(const nr_model *model) {
    nr_arena a = nr_arena_measure();
    if (model->info.n_image_tokens > 0) nr_arena_take(&a, nr_features_bytes(&model->info), 1);
    return a.used;
}

size_t nr_image_cache_bytes(const nr_model *model, int32_t n) {
    size_t bytes, one = nr_image_features_bytes(model);
    if (one == 0) return 0;
    if (!nr_mul_size((size_t)n, one + sizeof(nr_image_entry), &bytes)) return SIZE_MAX;
    return bytes;
}

static void carve(nr_image_cache *c) {
    for (int32_t i = 0; i < c->n; i++)
        c->entries[i].features = nr_arena_take(&c->device, c->features_bytes, 1);
}

nr_status nr_image_cache_open(nr_image_cache *c, nr_backend *be, const nr_model *model, int32_t n,
                              nr_error *err) {
    *c = (nr_image_cache){0};
    if (n == 0 || model->info.n_image_tokens == 0) return NR_STATUS_OK;
    c->entries = nr_calloc((size_t)n, sizeof *c->entries);
    NR_FAIL_IF(!c->entries, NO_MEMORY, "image cache of %d pictures", n);
    c->be = be;
    c->n = n;
    c->features_bytes = nr_features_bytes(&model->info);
    carve(c); /* measures */
    nr_status status = be->ops->arena_alloc(be, &c->device, "image cache", err);
    if (status == NR_STATUS_OK)
        carve(c);
    else
        nr_image_cache_close(c);
    return status;
}

void nr_image_cache_close(nr_image_cache *c) {
    if (c->be) c->be->ops->arena_free(c->be, &c->device);
    nr_free(c->entries);
    *c = (nr_image_cache){0};
}

bool nr_image_cache_get(nr_image_cache *c, const nr_image_key *key, float *dst) {
    for (int32_t i = 0; i < c->n; i++) {
        nr_image_entry *e = &c->entries[i];
        if (e->used_at == 0 || memcmp(&e->key, key, sizeof *key) != 0) continue;
        e->used_at = ++c->clock;
        c->be->ops->copy(c->be, dst, e->features, c->features_bytes);
        return true;
    }
    return false;
}

void nr_image_cache_put(nr_image_cache *c, const nr_image_key *key, const float *features) {
    if (c->n == 0) return;
    nr_image_entry *oldest = &c->entries[0];
    for (int32_t i = 1; i < c->n; i++)
        if (c->entries[i].used_at < oldest->used_at) oldest = &c->entries[i];
    oldest->key = *key;
    oldest->used_at = ++c->clock;
    c->be->ops->copy(c->be, oldest->features, features, c->features_bytes);
}
