#include "base/hash.h"

#include "base/rng.h"

#include <string.h>

uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count) {
    const unsigned char *at = bytes;
    hash = rng_derive(hash, count);
    for (; count > 0; at += 8) {
        uint64_t word = 0;
        size_t taken = count < 8 ? count : 8;
        memcpy(&word, at, taken);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u; /* an odd number: no bit is lost */
        hash ^= hash >> 29;
        count -= taken;
    }
    return hash;
}
