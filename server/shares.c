/* SPDX-License-Identifier: MIT
 *
 * shares.c - places in the queue, bytes of bodies, workers and decoders, shared between the keys.
 * Whoever sends a hundred times as much as others waits for himself: a key may hold no more of a
 * thing than is left free, so that n keys that want all have a share of 1 / (n + 1) each and the
 * next one finds as much. One whose pictures hang their decoders holds up nobody else. The model's
 * time is shared by src/sched/fair.h. Rejected: a fixed share for each key, which is too small
 * while few are busy and too large when many are.
 */
#include "server_internal.h"

static bool is_fair(const server *s, uint64_t held, uint64_t wanted, uint64_t left) {
    return wanted <= left && (s->n_keys < 2 || held + wanted <= left);
}

bool share_take_place(server *s, int key, uint64_t bytes) {
    key_use *use = &s->uses[key];
    uint64_t places_left = (uint64_t)(s->admitted_max - s->n_admitted);
    uint64_t bytes_left = s->options.bodies_bytes_max - s->bytes_admitted;
    if (!is_fair(s, (uint64_t)use->n_places, 1, places_left)) return false;
    if (!is_fair(s, use->bytes, bytes, bytes_left)) return false;
    s->n_admitted++;
    s->bytes_admitted += bytes;
    use->n_places++;
    use->bytes += bytes;
    return true;
}

void share_return_place(server *s, int key, uint64_t bytes) {
    if (--s->n_admitted == 0) s->promised_ms = 0; /* who was told to come has, or will not */
    s->bytes_admitted -= bytes;
    s->uses[key].n_places--;
    s->uses[key].bytes -= bytes;
}

task *share_take_task(server *s) {
    task **best = NULL;
    for (task **at = &s->todo; *at; at = &(*at)->next) {
        const key_use *use = &s->uses[(*at)->key];
        bool fair = is_fair(s, (uint64_t)use->n_workers, 1, (uint64_t)(s->n_workers - s->n_busy));
        if (!fair && !s->stopping) continue;
        if (!best || use->turn < s->uses[(*best)->key].turn) best = at;
    }
    if (!best) return NULL;
    task *t = *best;
    *best = t->next;
    s->n_busy++;
    s->uses[t->key].n_workers++;
    s->uses[t->key].turn = ++s->n_turns;
    return t;
}

void share_return_worker(server *s, int key) {
    s->n_busy--;
    s->uses[key].n_workers--;
    pthread_cond_signal(&s->work); /* somebody may have waited for this one */
}

void share_take_decoder(server *s, int key) {
    key_use *use = &s->uses[key];
    pthread_mutex_lock(&s->lock);
    while (!is_fair(s, (uint64_t)use->n_decoding, 1, (uint64_t)(s->n_decoders - s->n_decoding)))
        pthread_cond_wait(&s->decoded, &s->lock);
    s->n_decoding++;
    use->n_decoding++;
    pthread_mutex_unlock(&s->lock);
}

void share_return_decoder(server *s, int key) {
    pthread_mutex_lock(&s->lock);
    s->n_decoding--;
    s->uses[key].n_decoding--;
    pthread_cond_broadcast(&s->decoded);
    pthread_mutex_unlock(&s->lock);
}
