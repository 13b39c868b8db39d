#include "model/kv_cache.h"

#include "model/kernels/int8.h"
#include "model/kernels/kernels.h"

#include <string.h>

static size_t round_up(int count) {
    return ((size_t)count + INT8_PANEL - 1) / INT8_PANEL * INT8_PANEL;
}

static void layout(void *context, struct arena *arena) {
    struct kv_cache *cache = context;
    size_t layers = (size_t)cache->slots * (size_t)cache->layers;
    if (cache->dtype == DTYPE_F32) {
        size_t floats = layers * (size_t)cache->positions * (size_t)cache->d_model;
        cache->keys = arena_take(arena, floats, sizeof(float));
        cache->values = arena_take(arena, floats, sizeof(float));
        return;
    }
    size_t rows = layers * (size_t)cache->heads * cache->rows;
    cache->key_bytes = arena_take(arena, rows * cache->lanes, sizeof(uint8_t));
    cache->value_bytes = arena_take(arena, rows * cache->lanes, sizeof(int8_t));
    cache->key_scales = arena_take(arena, rows, sizeof(float));
    cache->value_scales = arena_take(arena, rows, sizeof(float));
}

enum status kv_cache_create(struct kv_cache *cache, const struct model_config *config, int slots,
                            enum dtype dtype, struct error *err) {
    *cache = (struct kv_cache){.dtype = dtype,
                               .slots = slots,
                               .layers = config->layers,
                               .heads = config->heads,
                               .positions = config->positions,
                               .d_model = config->d_model,
                               .rows = round_up(config->positions),
                               .lanes = round_up(config->d_model / config->heads)};
    return arena_build(&cache->arena, layout, cache, err);
}

void kv_cache_destroy(struct kv_cache *cache) {
    arena_destroy(&cache->arena);
    *cache = (struct kv_cache){0};
}

static size_t offset(const struct kv_cache *cache, int slot, int layer) {
    return ((size_t)slot * (size_t)cache->layers + (size_t)layer) * (size_t)cache->positions *
           (size_t)cache->d_model;
}

float *kv_cache_keys(const struct kv_cache *cache, int slot, int layer) {
    return cache->keys + offset(cache, slot, layer);
}

float *kv_cache_values(const struct kv_cache *cache, int slot, int layer) {
    return cache->values + offset(cache, slot, layer);
}

struct kv_head kv_cache_head(const struct kv_cache *cache, int slot, int layer, int head) {
    size_t row = (((size_t)slot * (size_t)cache->layers + (size_t)layer) * (size_t)cache->heads +
                  (size_t)head) *
                 cache->rows;
    return (struct kv_head){cache->key_bytes + row * cache->lanes,
                            cache->value_bytes + row * cache->lanes, cache->key_scales + row,
                            cache->value_scales + row};
}

void kv_head_store(const struct kv_cache *cache, const struct kv_head *head, size_t position,
                   const float *key, const float *value, int8_t *scratch) {
    const struct kernels *k = kernels_get();
    size_t head_dim = (size_t)(cache->d_model / cache->heads), lanes = cache->lanes;

    head->key_scales[position] = k->quantize_signed(scratch, lanes, key, head_dim);
    uint8_t *keys = head->keys + position / INT8_PANEL * INT8_PANEL * lanes +
                    position % INT8_PANEL * INT8_GROUP;
    for (size_t i = 0; i < lanes; i += INT8_GROUP) {
        uint32_t four;
        memcpy(&four, scratch + i, sizeof four);
        four ^= 0x80808080u; /* + 128 to each byte */
        memcpy(keys + i * INT8_PANEL, &four, sizeof four);
    }

    head->value_scales[position] = k->quantize_signed(scratch, lanes, value, head_dim);
    int8_t *values = head->values + position / INT8_GROUP * INT8_GROUP * lanes +
                     position % INT8_GROUP;
    for (size_t i = 0; i < lanes; i++)
        values[i * INT8_GROUP] = scratch[i];
}

/* INT8 copies whole blocks, so a few positions more than `count`; they are written again before
 * they are read. */
void kv_cache_copy(const struct kv_cache *cache, int from, int to, int count) {
    for (int layer = 0; layer < cache->layers; layer++) {
        if (cache->dtype == DTYPE_F32) {
            size_t bytes = (size_t)count * (size_t)cache->d_model * sizeof(float);
            memcpy(kv_cache_keys(cache, to, layer), kv_cache_keys(cache, from, layer), bytes);
            memcpy(kv_cache_values(cache, to, layer), kv_cache_values(cache, from, layer), bytes);
            continue;
        }
        size_t rows = round_up(count);
        for (int head = 0; head < cache->heads; head++) {
            struct kv_head source = kv_cache_head(cache, from, layer, head);
            struct kv_head target = kv_cache_head(cache, to, layer, head);
            memcpy(target.keys, source.keys, rows * cache->lanes);
            memcpy(target.values, source.values, rows * cache->lanes);
            memcpy(target.key_scales, source.key_scales, rows * sizeof(float));
            memcpy(target.value_scales, source.value_scales, rows * sizeof(float));
        }
    }
}
