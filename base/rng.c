#include "base/rng.h"

#include "base/clock.h"

#include <math.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/random.h> /* getentropy */
#endif

double rng_uniform(uint64_t key, uint64_t counter) {
    return (double)(rng_bits(key, counter) >> 11) * 0x1p-53;
}

double rng_normal(uint64_t key, uint64_t counter) { /* Box-Muller */
    const double two_pi = 6.283185307179586476925;
    double radius = sqrt(-2.0 * log(1.0 - rng_uniform(key, 2 * counter)));
    return radius * cos(two_pi * rng_uniform(key, 2 * counter + 1));
}

uint64_t rng_derive(uint64_t key, uint64_t stream) {
    return rng_bits(key ^ 0xa0761d6478bd642fu, stream);
}

uint64_t rng_entropy(void) {
    uint64_t seed;
    if (getentropy(&seed, sizeof seed) != 0) /* a system too old to have it */
        seed = rng_bits(clock_now_ns(), (uint64_t)getpid());
    return seed;
}

void rng_shuffle(uint64_t key, int32_t *items, size_t count) {
    for (size_t i = count; i > 1; i--) {
        size_t j = rng_bits(key, i) % i;
        int32_t item = items[i - 1];
        items[i - 1] = items[j];
        items[j] = item;
    }
}
