#include "train/data/story_set.h"

#include <stdlib.h>
#include <string.h>

static uint64_t rotate(uint64_t x, int bits) {
    return x << bits | x >> (64 - bits);
}

static uint64_t finish(uint64_t x) {
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

/* Little-endian whatever the machine, so that a split is the same everywhere. */
static uint64_t word_at(const unsigned char *bytes, size_t count) {
    uint64_t word = 0;
    for (size_t i = 0; i < count; i++)
        word |= (uint64_t)bytes[i] << (8 * i);
    return word;
}

struct story_hash story_hash(const char *text, size_t bytes) {
    const uint64_t c1 = 0x87c37b91114253d5u, c2 = 0x4cf5ad432745937fu;
    const unsigned char *at = (const unsigned char *)text;
    uint64_t h1 = 0, h2 = 0;
    size_t left = bytes;
    for (; left >= 16; left -= 16, at += 16) {
        h1 ^= rotate(word_at(at, 8) * c1, 31) * c2;
        h1 = (rotate(h1, 27) + h2) * 5 + 0x52dce729;
        h2 ^= rotate(word_at(at + 8, 8) * c2, 33) * c1;
        h2 = (rotate(h2, 31) + h1) * 5 + 0x38495ab5;
    }
    if (left > 8)
        h2 ^= rotate(word_at(at + 8, left - 8) * c2, 33) * c1;
    if (left > 0)
        h1 ^= rotate(word_at(at, left < 8 ? left : 8) * c1, 31) * c2;
    h1 ^= bytes;
    h2 ^= bytes;
    h1 += h2;
    h2 += h1;
    h1 = finish(h1);
    h2 = finish(h2);
    h1 += h2;
    h2 += h1;
    return (struct story_hash){h1, h2};
}

/* All zero marks a free slot, so the one text that hashes to it takes another value. */
static struct story_hash storable(struct story_hash hash) {
    if (!hash.low && !hash.high)
        hash.low = 1;
    return hash;
}

static struct story_hash *slot_of(struct story_hash *slots, size_t capacity,
                                  struct story_hash hash) {
    for (size_t i = (size_t)hash.low;; i++) {
        struct story_hash *slot = &slots[i & (capacity - 1)];
        if ((!slot->low && !slot->high) || (slot->low == hash.low && slot->high == hash.high))
            return slot;
    }
}

bool story_set_has(const struct story_set *set, struct story_hash hash) {
    if (!set->capacity)
        return false;
    const struct story_hash *slot = slot_of(set->slots, set->capacity, storable(hash));
    return slot->low || slot->high;
}

static enum status grow(struct story_set *set, struct error *err) {
    size_t capacity = set->capacity ? set->capacity * 2 : 1024;
    struct story_hash *slots = calloc(capacity, sizeof *slots);
    if (!slots)
        return error_set(err, STATUS_NO_MEMORY, "no memory to remember %zu stories", set->count);
    for (size_t i = 0; i < set->capacity; i++) {
        if (set->slots[i].low || set->slots[i].high)
            *slot_of(slots, capacity, set->slots[i]) = set->slots[i];
    }
    free(set->slots);
    set->slots = slots;
    set->capacity = capacity;
    return STATUS_OK;
}

enum status story_set_add(struct story_set *set, struct story_hash hash, bool *added,
                          struct error *err) {
    *added = false;
    if (set->count >= set->capacity / 4 * 3) { /* free slots end every search */
        enum status status = grow(set, err);
        if (status != STATUS_OK)
            return status;
    }
    hash = storable(hash);
    struct story_hash *slot = slot_of(set->slots, set->capacity, hash);
    if (slot->low || slot->high)
        return STATUS_OK;
    *slot = hash;
    set->count++;
    *added = true;
    return STATUS_OK;
}

void story_set_free(struct story_set *set) {
    free(set->slots);
    *set = (struct story_set){0};
}
