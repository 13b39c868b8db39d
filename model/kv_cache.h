/* kv_cache.h - keys and values of every running sequence, by slot.
 *
 * A slot holds one sequence: for each layer and position the key and value
 * rows of all heads. attention_stage() writes the rows of new positions and
 * reads the earlier ones. A slot needs no clearing between sequences, since no
 * row is read before it was written.
 *
 * F32 keeps rows as they are. INT8 keeps each head's row of each position as
 * signed bytes with a scale of its own, in the order that kernels/int8.h
 * reads: a quarter of the memory, and of the traffic that decoding waits for.
 * Ownership: the cache owns all slots. One thread uses it at a time; different
 * heads may be used at the same time.
 */
#ifndef ALPACA_MODEL_KV_CACHE_H
#define ALPACA_MODEL_KV_CACHE_H

#include "base/arena.h"
#include "base/status.h"
#include "model/model.h"

struct kv_cache {
    enum dtype dtype; /* F32 or INT8 */
    int slots, layers, heads, positions, d_model;
    /* F32: [slots, layers, positions, d_model] each. */
    float *keys, *values;
    /* INT8, with positions rounded up to `rows` and the head's size to `lanes`, multiples of 16. */
    size_t rows, lanes;
    uint8_t *key_bytes;                /* [slots, layers, heads, rows / 16, lanes / 4, 16, 4] */
    int8_t *value_bytes;               /* [slots, layers, heads, rows / 4, lanes, 4] */
    float *key_scales, *value_scales;  /* [slots, layers, heads, rows] */
    struct arena arena;
};

/* dtype is F32 or INT8. STATUS_NO_MEMORY is all that can go wrong. */
enum status kv_cache_create(struct kv_cache *cache, const struct model_config *config, int slots,
                            enum dtype dtype, struct error *err);
void kv_cache_destroy(struct kv_cache *cache);

/* F32: [positions, d_model] of one slot and layer. */
float *kv_cache_keys(const struct kv_cache *cache, int slot, int layer);
float *kv_cache_values(const struct kv_cache *cache, int slot, int layer);

/* INT8: one head of one slot and layer. */
struct kv_head {
    uint8_t *keys;  /* [rows / 16, lanes / 4, 16, 4]: key = (byte - 128) * scale */
    int8_t *values; /* [rows / 4, lanes, 4]: value = byte * scale */
    float *key_scales, *value_scales; /* [rows] */
};
struct kv_head kv_cache_head(const struct kv_cache *cache, int slot, int layer, int head);
/* Stores key[head_dim] and value[head_dim] of a position; scratch is [lanes]. */
void kv_head_store(const struct kv_cache *cache, const struct kv_head *head, size_t position,
                   const float *key, const float *value, int8_t *scratch);

/* Copies at least the first `count` positions of a sequence from one slot to another. */
void kv_cache_copy(const struct kv_cache *cache, int from, int to, int count);

#endif
