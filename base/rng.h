/* rng.h - counter-based random numbers: a pure function of (key, counter).
 *
 * Nothing is stored, so any draw can be repeated or skipped: the sampler draws
 * at (seed, position, id), dropout at (step, story, row, element), a shuffle at (epoch, index).
 * Source of the mixer: splitmix64's finalizer (Steele, Lea & Flood, "Fast
 * splittable pseudorandom number generators", OOPSLA 2014).
 * Not for secrets. Thread-safe.
 */
#ifndef ALPACA_BASE_RNG_H
#define ALPACA_BASE_RNG_H

#include "base/shared_inline.h"

#include <stddef.h>
#include <stdint.h>

SHARED_INLINE uint64_t rng_mix(uint64_t x) {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* 64 random bits. Mixing the key first keeps neighboring seeds from sharing shifted sequences. */
SHARED_INLINE uint64_t rng_bits(uint64_t key, uint64_t counter) {
    return rng_mix(rng_mix(key + 0x9e3779b97f4a7c15u) + (counter + 1) * 0x9e3779b97f4a7c15u);
}

/* 32 random bits, of a key that is random itself: quick enough for every element of a large row. A
 * finalizer over both; the constants are Chris Wellons' "lowbias32" (hash-prospector). */
SHARED_INLINE uint32_t rng_bits32(uint32_t key, uint32_t counter) {
    uint32_t h = counter * 0x9e3779b1u ^ key;
    h ^= h >> 16;
    h *= 0x7feb352du;
    h ^= h >> 15;
    h *= 0x846ca68bu;
    return h ^ (h >> 16);
}

double rng_uniform(uint64_t key, uint64_t counter);   /* [0, 1), 53 bits */
double rng_normal(uint64_t key, uint64_t counter);    /* mean 0, deviation 1 */
uint64_t rng_derive(uint64_t key, uint64_t stream);   /* an independent key */
uint64_t rng_entropy(void);                           /* a fresh seed from the system */

/* Fisher-Yates over `items[count]`, determined by the key alone. */
void rng_shuffle(uint64_t key, int32_t *items, size_t count);

#endif
