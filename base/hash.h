/* hash.h - a number that tells different data, or different weights, apart.
 *
 * Two inputs that differ by chance hardly ever share it; it is no protection
 * against somebody who makes them do so. Thread-safe.
 */
#ifndef ALPACA_BASE_HASH_H
#define ALPACA_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from `hash`, 0 at the start. */
uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count);

#endif
