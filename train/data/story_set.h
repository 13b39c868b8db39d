/* story_set.h - which texts have been seen, remembered as 128-bit hashes.
 *
 * 16 bytes a text (24 to 64 with the table's free room), so that duplicates
 * among millions of stories are found without keeping them. Two different
 * texts are taken for one with a chance of n^2 / 2^129.
 *
 * Ownership: starts as {0}, ends with story_set_free(). Not thread-safe.
 */
#ifndef ALPACA_TRAIN_DATA_STORY_SET_H
#define ALPACA_TRAIN_DATA_STORY_SET_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct story_hash {
    uint64_t low, high;
};

/* MurmurHash3, x64, 128 bits (Austin Appleby, public domain); the same on every machine. */
struct story_hash story_hash(const char *text, size_t bytes);

struct story_set {
    struct story_hash *slots; /* [capacity], a power of two; all zero is free */
    size_t capacity;
    size_t count;
};

bool story_set_has(const struct story_set *set, struct story_hash hash);
/* *added is false when the hash was there already. */
enum status story_set_add(struct story_set *set, struct story_hash hash, bool *added,
                          struct error *err);
void story_set_free(struct story_set *set);

#endif
