/* dropout.h - dropout masks that are computed, not stored.
 *
 * Whether an element is kept is a pure function of the step's key, the story's place in its step,
 * the row within the story, the layer, the site and the column. So backward() sees the mask that
 * forward() used, and it is the same mask however the stories of a step are divided among
 * micro-batches, processes or devices. Kept values are scaled by 1 / (1 - rate), as torch does.
 * Ownership: nothing is kept. Thread-safe: pure functions.
 */
#ifndef ALPACA_MODEL_KERNELS_DROPOUT_H
#define ALPACA_MODEL_KERNELS_DROPOUT_H

#include "base/rng.h"

/* Where torch's TransformerEncoderLayer has dropout. */
enum dropout_site {
    DROPOUT_RESIDUAL1, /* after out_proj */
    DROPOUT_HIDDEN,    /* after the ReLU */
    DROPOUT_RESIDUAL2, /* after linear2 */
    DROPOUT_ATTENTION, /* attention weights; head h is DROPOUT_ATTENTION + h */
};

/* Which row of a step: the story's place among the step's stories, and its row in the story. */
struct dropout_row {
    uint32_t story, row;
};

/* Of one training pass. */
struct dropout {
    float rate;                     /* 0: none */
    uint64_t key;                   /* of the step */
    const struct dropout_row *rows; /* [rows of the batch]; not read where rate is 0 */
};

/* What all columns of a row share. */
SHARED_INLINE uint32_t dropout_key(uint64_t step_key, struct dropout_row at, int layer, int site) {
    uint64_t place = ((uint64_t)layer << 48) | ((uint64_t)site << 32) | at.row;
    return (uint32_t)(rng_bits(rng_bits(step_key, at.story), place) >> 32);
}

/* The 32 random bits of an element. It is dropped when they are below the threshold. */
SHARED_INLINE uint32_t dropout_bits(uint32_t key, uint32_t column) {
    return rng_bits32(key, column);
}

SHARED_INLINE uint32_t dropout_threshold(float rate) {
    return (uint32_t)((double)rate * 4294967296.0);
}

SHARED_INLINE float dropout_scale(float rate) {
    return 1.0f / (1.0f - rate);
}

/* Of a row of the batch. */
SHARED_INLINE uint32_t dropout_row_key(const struct dropout *dropout, int layer, int site,
                                       int row) {
    return dropout_key(dropout->key, dropout->rows[row], layer, site);
}

#endif
