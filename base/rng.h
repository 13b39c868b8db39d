/* rng.h - counter-based random numbers: a pure function of (key, counter).
 *
 * Nothing is stored, so any draw can be repeated or skipped: the sampler draws
 * at (seed, position), dropout at (step, element), a shuffle at (epoch, index).
 * Source of the mixer: splitmix64's finalizer (Steele, Lea & Flood, "Fast
 * splittable pseudorandom number generators", OOPSLA 2014).
 * Not for secrets. Thread-safe.
 */
#ifndef ALPACA_BASE_RNG_H
#define ALPACA_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

uint64_t rng_bits(uint64_t key, uint64_t counter);    /* 64 random bits */
double rng_uniform(uint64_t key, uint64_t counter);   /* [0, 1), 53 bits */
double rng_normal(uint64_t key, uint64_t counter);    /* mean 0, deviation 1 */
uint64_t rng_derive(uint64_t key, uint64_t stream);   /* an independent key */
uint64_t rng_entropy(void);                           /* a fresh seed from the system */

/* Fisher-Yates over `items[count]`, determined by the key alone. */
void rng_shuffle(uint64_t key, int32_t *items, size_t count);

#endif
