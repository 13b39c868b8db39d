#include "base/hash.h"

#include "base/rng.h"

#include <string.h>

uint64_t digest_bytes(uint64_t digest, const void *bytes, size_t count) {
    const unsigned char *at = bytes;
    digest = rng_derive(digest, count);
    for (; count > 0; at += 8) {
        uint64_t word = 0;
        size_t taken = count < 8 ? count : 8;
        memcpy(&word, at, taken);
        digest = (digest ^ word) * 0x9e3779b97f4a7c15u; /* an odd number: no bit is lost */
        digest ^= digest >> 29;
        count -= taken;
    }
    return digest;
}
