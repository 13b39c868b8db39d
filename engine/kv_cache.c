#include "engine/kv_cache.h"

static void layout(struct kv_cache *cache, struct arena *arena) {
    size_t rows = (size_t)cache->slots * (size_t)cache->layers * (size_t)cache->positions;
    cache->keys = arena_take(arena, rows * (size_t)cache->d_model, sizeof(float));
    cache->values = arena_take(arena, rows * (size_t)cache->d_model, sizeof(float));
}

enum status kv_cache_create(struct kv_cache *cache, const struct model_config *config, int slots,
                            struct error *err) {
    *cache = (struct kv_cache){.slots = slots,
                               .layers = config->layers,
                               .positions = config->positions,
                               .d_model = config->d_model};
    struct arena measure = {0};
    layout(cache, &measure);
    enum status status = arena_create(&cache->arena, measure.used, err);
    if (status == STATUS_OK)
        layout(cache, &cache->arena);
    return status;
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
