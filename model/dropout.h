/* dropout.h - dropout masks that are computed, not stored.
 *
 * Whether an element is kept is a pure function of the pass's key, the layer,
 * the site and the element's row and column (kernels.h, `dropout`), so
 * backward() sees the mask that forward() used. Kept values are scaled by
 * 1 / (1 - rate), as torch does.
 * Ownership: nothing is kept. Thread-safe: pure functions.
 */
#ifndef ALPACA_MODEL_DROPOUT_H
#define ALPACA_MODEL_DROPOUT_H

#include "base/rng.h"

/* Of one training pass. */
struct dropout {
    float rate; /* 0: none */
    uint64_t key;
};

/* Where torch's TransformerEncoderLayer has dropout. */
enum dropout_site {
    DROPOUT_RESIDUAL1, /* after out_proj */
    DROPOUT_HIDDEN,    /* after the ReLU */
    DROPOUT_RESIDUAL2, /* after linear2 */
    DROPOUT_ATTENTION, /* attention weights; head h is DROPOUT_ATTENTION + h */
};

static inline uint32_t dropout_row_key(const struct dropout *dropout, int layer, int site,
                                       int row) {
    uint64_t place = ((uint64_t)layer << 48) | ((uint64_t)site << 32) | (uint32_t)row;
    return (uint32_t)(rng_bits(dropout->key, place) >> 32);
}

/* An element is dropped when its 32 random bits are below this. */
static inline uint32_t dropout_threshold(const struct dropout *dropout) {
    return (uint32_t)((double)dropout->rate * 4294967296.0);
}

static inline float dropout_scale(const struct dropout *dropout) {
    return 1.0f / (1.0f - dropout->rate);
}

#endif
