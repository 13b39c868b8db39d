/* kv_cache.h - keys and values of every running sequence, by slot.
 *
 * A slot holds one sequence: for each layer the key and value rows
 * [positions, d_model], in fp32. forward() writes the rows it computes and
 * reads the earlier ones. A slot needs no clearing between sequences, since
 * no row is read before it was written.
 * Ownership: the cache owns all slots. One thread uses it at a time.
 */
#ifndef ALPACA_ENGINE_KV_CACHE_H
#define ALPACA_ENGINE_KV_CACHE_H

#include "base/arena.h"
#include "base/status.h"
#include "engine/model.h"

struct kv_cache {
    int slots, layers, positions, d_model;
    float *keys;   /* [slots, layers, positions, d_model] */
    float *values; /* the same */
    struct arena arena;
};

enum status kv_cache_create(struct kv_cache *cache, const struct model_config *config, int slots,
                            struct error *err);
void kv_cache_destroy(struct kv_cache *cache);

/* [positions, d_model] of one slot and layer. */
float *kv_cache_keys(const struct kv_cache *cache, int slot, int layer);
float *kv_cache_values(const struct kv_cache *cache, int slot, int layer);

#endif
