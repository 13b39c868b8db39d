/* hash.h - a number that other bytes hardly share, to tell data and weights
 * apart. Not against somebody who wants two to be alike. Thread-safe. */
#ifndef ALPACA_BASE_HASH_H
#define ALPACA_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from `hash`, 0 at the start. */
uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count);

#endif
