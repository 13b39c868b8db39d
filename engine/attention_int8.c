#include "engine/attention_int8.h"

#include "base/arena.h"
#include "engine/kernels/int8.h"
#include "engine/kernels/kernels.h"

#include <math.h>

struct scratch {
    int8_t *bytes;               /* [lanes] a quantised query, key or value */
    int32_t *dots;               /* [rows] query times key */
    float *scores;               /* [rows] */
    uint8_t *high, *low;         /* [rows] the shares' two digits */
    int32_t *high_sums, *low_sums; /* [lanes] */
};

static void layout(struct scratch *s, size_t rows, size_t lanes, struct arena *arena) {
    s->bytes = arena_take(arena, lanes, sizeof *s->bytes);
    s->dots = arena_take(arena, rows, sizeof *s->dots);
    s->scores = arena_take(arena, rows, sizeof *s->scores);
    s->high = arena_take(arena, rows, sizeof *s->high);
    s->low = arena_take(arena, rows, sizeof *s->low);
    s->high_sums = arena_take(arena, lanes, sizeof *s->high_sums);
    s->low_sums = arena_take(arena, lanes, sizeof *s->low_sums);
}

static size_t round_up(int count) {
    return ((size_t)count + INT8_PANEL - 1) / INT8_PANEL * INT8_PANEL;
}

size_t attention_int8_scratch_bytes(const struct model_config *config) {
    struct arena measure = {0};
    struct scratch s;
    layout(&s, round_up(config->positions), round_up(config->d_model / config->heads), &measure);
    return measure.used;
}

static void attend(const struct kv_cache *cache, const struct kv_head *head, size_t count,
                   const float *q, float *out, const struct scratch *s) {
    const struct kernels *k = kernels_get();
    const struct int8_kernels *integers = int8_kernels_get();
    size_t head_dim = (size_t)(cache->d_model / cache->heads), lanes = cache->lanes;
    size_t blocks = (count + INT8_PANEL - 1) / INT8_PANEL;
    size_t quads = (count + INT8_GROUP - 1) / INT8_GROUP;

    float q_scale = k->quantise_signed(s->bytes, lanes, q, head_dim);
    integers->scores(s->dots, s->bytes, head->keys, blocks, lanes / INT8_GROUP);
    float factor = k->attention_shares(s->high, s->low, s->dots, head->key_scales,
                                       head->value_scales, count, blocks * INT8_PANEL,
                                       q_scale / sqrtf((float)head_dim), s->scores);
    integers->mix(s->high_sums, s->low_sums, s->high, s->low, head->values, quads, lanes);
    k->join_digits(out, s->high_sums, s->low_sums, head_dim, factor);
}

void attention_int8(const struct kv_cache *cache, const struct kv_head *head,
                    const struct head_rows *rows, void *scratch) {
    struct arena pieces = {.memory = scratch, .size = (size_t)-1};
    struct scratch s;
    layout(&s, cache->rows, cache->lanes, &pieces);
    for (size_t r = 0; r < rows->rows; r++)
        kv_head_store(cache, head, rows->first + r, rows->k + r * rows->stride,
                      rows->v + r * rows->stride, s.bytes);
    for (size_t r = 0; r < rows->rows; r++)
        attend(cache, head, rows->first + r + 1, rows->q + r * rows->stride,
               rows->out + r * rows->out_stride, &s);
}
