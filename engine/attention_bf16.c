#include "engine/attention_bf16.h"

#include "base/pool.h"
#include "engine/attention.h"
#include "engine/dropout.h"
#include "engine/kernels/kernels.h"
#include "engine/linear_bf16.h"

#include <math.h>
#include <string.h>

bool attention_bf16_takes(const struct batch *batch) {
    return !batch->cache && !batch->unmasked;
}

/* ---- scratch -------------------------------------------------------------- */

/* One worker's: a block's scores, and the packed operands of one head. */
struct room {
    float *scores;      /* [ATTENTION_BF16_BLOCK, positions] */
    uint32_t *keys;     /* columns are positions, pairs along the head */
    uint32_t *values;   /* columns are the head's, pairs along positions */
    uint32_t *queries;  /* rows of a block, pairs along the head */
    uint32_t *shares;   /* rows of a block, pairs along positions */
};

static float *take(float **next, size_t count) {
    float *piece = *next;
    *next += (count + 15) / 16 * 16;
    return piece;
}

static uint32_t *take_packed(float **next, size_t lines, size_t width, size_t k) {
    return (uint32_t *)(void *)take(next, bf16_packed_words(lines, width, k));
}

/* Returns where the room ends. */
static float *room_bind(struct room *room, const struct model_config *c, float *memory) {
    size_t positions = (size_t)c->positions, head_dim = (size_t)(c->d_model / c->heads);
    float *next = memory;
    room->scores = take(&next, ATTENTION_BF16_BLOCK * positions);
    room->keys = take_packed(&next, positions, BF16_TILE_COLUMNS, head_dim);
    room->values = take_packed(&next, head_dim, BF16_TILE_COLUMNS, positions);
    room->queries = take_packed(&next, ATTENTION_BF16_BLOCK, BF16_TILE_ROWS, head_dim);
    room->shares = take_packed(&next, ATTENTION_BF16_BLOCK, BF16_TILE_ROWS, positions);
    return next;
}

size_t attention_bf16_scratch_floats(const struct model_config *config) {
    struct room room;
    static float origin[1]; /* only its address is used, to measure from */
    return (size_t)((uintptr_t)room_bind(&room, config, origin) - (uintptr_t)origin) /
           sizeof(float);
}

/* ---- one head ------------------------------------------------------------- */

struct task {
    const struct model_config *config;
    const struct batch *batch;
    int layer;
    const struct layer_activations *a;
    int log_sum_stride;
    float *scratch; /* [workers, scratch_floats] */
    size_t scratch_floats;
};

/* Softmax, then dropout, over the keys that each row of the block sees; zeros beyond. */
static void weigh(const struct task *t, int head, int row, int begin, int count, size_t keys,
                  float *scores) {
    const struct kernels *k = kernels_get();
    const struct dropout *dropout = &t->batch->dropout;
    float *log_sums = t->a->log_sums + (size_t)head * (size_t)t->log_sum_stride + row + begin;
    for (int i = 0; i < count; i++) {
        float *s = scores + (size_t)i * keys;
        size_t visible = (size_t)(begin + i + 1);
        log_sums[i] = k->softmax(s, visible);
        memset(s + visible, 0, (keys - visible) * sizeof(float));
        if (dropout->rate > 0)
            k->dropout(s, visible,
                       attention_dropout_key(dropout, t->layer, head, row + begin + i),
                       dropout_threshold(dropout), dropout_scale(dropout));
    }
}

static void attend(const struct task *t, int row, int rows, int head, const struct room *room) {
    const struct bf16_kernels *kernels = bf16_kernels_get();
    const struct bf16_finish finish = {0};
    size_t d_model = (size_t)t->config->d_model, head_dim = d_model / (size_t)t->config->heads;
    size_t stride = 3 * d_model, pairs = ((size_t)rows + 1) / 2;
    const float *q = t->a->qkv + (size_t)row * stride + (size_t)head * head_dim;
    const float *k = q + d_model, *v = k + d_model;
    float *out = t->a->attention + (size_t)row * d_model + (size_t)head * head_dim;
    kernels->pack_rows(room->keys, BF16_TILE_COLUMNS, k, stride, (size_t)rows, head_dim,
                       1.0f / sqrtf((float)head_dim));
    kernels->pack_columns(room->values, BF16_TILE_COLUMNS, pairs, v, stride, (size_t)rows,
                          head_dim, NULL);
    for (int begin = 0; begin < rows; begin += ATTENTION_BF16_BLOCK) {
        int left = rows - begin, count = left < ATTENTION_BF16_BLOCK ? left : ATTENTION_BF16_BLOCK;
        size_t keys = (size_t)(begin + count); /* that the last row sees */
        kernels->pack_rows(room->queries, BF16_TILE_ROWS, q + (size_t)begin * stride, stride,
                           (size_t)count, head_dim, 1.0f);
        bf16_multiply(room->scores, keys, (size_t)count, keys, room->queries, room->keys,
                      (head_dim + 1) / 2, head_dim, &finish);
        weigh(t, head, row, begin, count, keys, room->scores);
        kernels->pack_rows(room->shares, BF16_TILE_ROWS, room->scores, keys, (size_t)count, keys,
                           1.0f);
        bf16_multiply(out + (size_t)begin * d_model, d_model, (size_t)count, head_dim,
                      room->shares, room->values, pairs, keys, &finish);
    }
}

/* The (span, head) pairs are dealt out in turn, so that long spans spread evenly. */
static void attend_all(void *context, int worker, int workers) {
    const struct task *t = context;
    struct room room;
    (void)room_bind(&room, t->config, t->scratch + (size_t)worker * t->scratch_floats);
    int row = 0, item = 0;
    for (int s = 0; s < t->batch->span_count; s++) {
        for (int head = 0; head < t->config->heads; head++, item++)
            if (item % workers == worker)
                attend(t, row, t->batch->spans[s].rows, head, &room);
        row += t->batch->spans[s].rows;
    }
}

void attention_bf16_forward(const struct model_config *config, struct pool *pool,
                            const struct batch *batch, int layer,
                            const struct layer_activations *a, int log_sum_stride,
                            float *scratch) {
    struct task task = {config, batch,          layer,
                        a,      log_sum_stride, scratch, attention_scratch_floats(config)};
    pool_run(pool, attend_all, &task);
}
