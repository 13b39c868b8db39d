#include "train/attention_backward_bf16.h"

#include "base/pool.h"
#include "engine/attention.h"
#include "engine/attention_bf16.h"
#include "engine/dropout.h"
#include "engine/kernels/kernels.h"
#include "engine/linear_bf16.h"

#include <math.h>
#include <string.h>

/* ---- scratch -------------------------------------------------------------- */

/* One worker's. P are the softmax's shares, `rows` are a block's query rows. */
struct room {
    float *shares, *dropped, *d_scores; /* [ATTENTION_BF16_BLOCK, positions] each */
    /* one head's, as the second operand: */
    uint32_t *keys, *values; /* columns are positions, pairs along the head */
    uint32_t *keys_across;   /* columns are the head's, pairs along positions */
    /* a block's, as the first operand: */
    uint32_t *queries, *d_out; /* rows, pairs along the head */
    uint32_t *scores;          /* rows, pairs along positions; or positions, pairs along rows */
    /* and as the second: columns are the head's, pairs along rows */
    uint32_t *queries_across, *d_out_across;
};

static float *take(float **next, size_t count) {
    float *piece = *next;
    *next += (count + 15) / 16 * 16;
    return piece;
}

static uint32_t *take_packed(float **next, size_t lines, size_t width, size_t k) {
    return (uint32_t *)(void *)take(next, bf16_packed_words(lines, width, k));
}

static float *room_bind(struct room *room, const struct model_config *c, float *memory) {
    enum { BLOCK = ATTENTION_BF16_BLOCK, ROWS = BF16_TILE_ROWS, COLUMNS = BF16_TILE_COLUMNS };
    size_t positions = (size_t)c->positions, head_dim = (size_t)(c->d_model / c->heads);
    size_t by_rows = bf16_packed_words(BLOCK, ROWS, positions);
    size_t by_positions = bf16_packed_words(positions, ROWS, BLOCK);
    float *next = memory;
    room->shares = take(&next, BLOCK * positions);
    room->dropped = take(&next, BLOCK * positions);
    room->d_scores = take(&next, BLOCK * positions);
    room->keys = take_packed(&next, positions, COLUMNS, head_dim);
    room->values = take_packed(&next, positions, COLUMNS, head_dim);
    room->keys_across = take_packed(&next, head_dim, COLUMNS, positions);
    room->queries = take_packed(&next, BLOCK, ROWS, head_dim);
    room->d_out = take_packed(&next, BLOCK, ROWS, head_dim);
    room->scores = (uint32_t *)(void *)take(&next, by_rows > by_positions ? by_rows : by_positions);
    room->queries_across = take_packed(&next, head_dim, COLUMNS, BLOCK);
    room->d_out_across = take_packed(&next, head_dim, COLUMNS, BLOCK);
    return next;
}

size_t attention_backward_bf16_floats(const struct model_config *config) {
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
    const float *d_attention;
    float *scratch;
    size_t scratch_floats;
    float *d_qkv;
};

/* One head of one sequence. q, k, v and their gradients have stride 3 d_model, out and d_out
 * d_model. */
struct head_view {
    const float *q, *k, *v, *out, *d_out;
    float *dq, *dk, *dv;
    const float *log_sums; /* [rows] */
    int head, row, rows;   /* row of the batch where the sequence begins; its length */
    size_t head_dim, d_model;
    float scale;
};

static struct head_view view_head(const struct task *t, int row, int rows, int head) {
    size_t d_model = (size_t)t->config->d_model, head_dim = d_model / (size_t)t->config->heads;
    size_t qkv = (size_t)row * 3 * d_model + (size_t)head * head_dim;
    size_t out = (size_t)row * d_model + (size_t)head * head_dim;
    return (struct head_view){
        .q = t->a->qkv + qkv,
        .k = t->a->qkv + qkv + d_model,
        .v = t->a->qkv + qkv + 2 * d_model,
        .out = t->a->attention + out,
        .d_out = t->d_attention + out,
        .dq = t->d_qkv + qkv,
        .dk = t->d_qkv + qkv + d_model,
        .dv = t->d_qkv + qkv + 2 * d_model,
        .log_sums = t->a->log_sums + (size_t)head * (size_t)t->log_sum_stride + row,
        .head = head,
        .row = row,
        .rows = rows,
        .head_dim = head_dim,
        .d_model = d_model,
        .scale = 1.0f / sqrtf((float)head_dim),
    };
}

/* From scores and the gradient of the shares to the shares after dropout and the gradient of the
 * scores, row by row; zeros beyond the keys that a row sees. */
static void block_softmax(const struct task *t, const struct head_view *h, int begin, int count,
                          size_t keys, const struct room *room) {
    const struct kernels *k = kernels_get();
    const struct dropout *dropout = &t->batch->dropout;
    for (int i = 0; i < count; i++) {
        float *p = room->shares + (size_t)i * keys, *dropped = room->dropped + (size_t)i * keys;
        float *ds = room->d_scores + (size_t)i * keys;
        size_t row = (size_t)(begin + i), visible = row + 1;
        k->exp_minus(p, h->log_sums[row], visible);
        memset(p + visible, 0, (keys - visible) * sizeof(float));
        memcpy(dropped, p, keys * sizeof(float));
        if (dropout->rate > 0) {
            uint32_t key = attention_dropout_key(dropout, t->layer, h->head, h->row + (int)row);
            k->dropout(dropped, visible, key, dropout_threshold(dropout), dropout_scale(dropout));
            k->dropout(ds, visible, key, dropout_threshold(dropout), dropout_scale(dropout));
        }
        float total = k->dot(h->d_out + row * h->d_model, h->out + row * h->d_model, h->head_dim);
        for (size_t j = 0; j < keys; j++)
            ds[j] = p[j] * (ds[j] - total); /* 0 beyond `visible`, since p is */
    }
}

/* Query rows begin .. begin + count: their dq, and their part of dk and dv. */
static void block_backward(const struct task *t, const struct head_view *h, int begin, int count,
                           const struct room *room) {
    const struct bf16_kernels *kernels = bf16_kernels_get();
    const struct bf16_finish set = {0}, add = {.add = true};
    size_t stride = 3 * h->d_model, rows = (size_t)count, keys = (size_t)(begin + count);
    size_t head_pairs = (h->head_dim + 1) / 2, row_pairs = (rows + 1) / 2;
    const float *q = h->q + (size_t)begin * stride, *d_out = h->d_out + (size_t)begin * h->d_model;

    kernels->pack_rows(room->queries, BF16_TILE_ROWS, q, stride, rows, h->head_dim, 1.0f);
    bf16_multiply(room->shares, keys, rows, keys, room->queries, room->keys, head_pairs,
                  h->head_dim, &set);
    kernels->pack_rows(room->d_out, BF16_TILE_ROWS, d_out, h->d_model, rows, h->head_dim, 1.0f);
    bf16_multiply(room->d_scores, keys, rows, keys, room->d_out, room->values, head_pairs,
                  h->head_dim, &set);
    block_softmax(t, h, begin, count, keys, room);

    kernels->pack_columns(room->d_out_across, BF16_TILE_COLUMNS, row_pairs, d_out, h->d_model,
                          rows, h->head_dim, NULL);
    kernels->pack_columns(room->scores, BF16_TILE_ROWS, row_pairs, room->dropped, keys, rows, keys,
                          NULL);
    bf16_multiply(h->dv, stride, keys, h->head_dim, room->scores, room->d_out_across, row_pairs,
                  rows, &add);

    kernels->pack_columns(room->queries_across, BF16_TILE_COLUMNS, row_pairs, q, stride, rows,
                          h->head_dim, NULL);
    for (size_t i = 0; i < rows * keys; i++)
        room->d_scores[i] *= h->scale;
    kernels->pack_columns(room->scores, BF16_TILE_ROWS, row_pairs, room->d_scores, keys, rows,
                          keys, NULL);
    bf16_multiply(h->dk, stride, keys, h->head_dim, room->scores, room->queries_across, row_pairs,
                  rows, &add);

    kernels->pack_rows(room->scores, BF16_TILE_ROWS, room->d_scores, keys, rows, keys, 1.0f);
    bf16_multiply(h->dq + (size_t)begin * stride, stride, rows, h->head_dim, room->scores,
                  room->keys_across, ((size_t)h->rows + 1) / 2, keys, &set);
}

static void head_backward(const struct task *t, const struct head_view *h,
                          const struct room *room) {
    const struct bf16_kernels *kernels = bf16_kernels_get();
    size_t stride = 3 * h->d_model, rows = (size_t)h->rows;
    /* The scale goes where forward put it, so that the scores are the same again. */
    kernels->pack_rows(room->keys, BF16_TILE_COLUMNS, h->k, stride, rows, h->head_dim, h->scale);
    kernels->pack_rows(room->values, BF16_TILE_COLUMNS, h->v, stride, rows, h->head_dim, 1.0f);
    kernels->pack_columns(room->keys_across, BF16_TILE_COLUMNS, (rows + 1) / 2, h->k, stride, rows,
                          h->head_dim, NULL);
    for (size_t r = 0; r < rows; r++) {
        memset(h->dk + r * stride, 0, h->head_dim * sizeof(float));
        memset(h->dv + r * stride, 0, h->head_dim * sizeof(float));
    }
    for (int begin = 0; begin < h->rows; begin += ATTENTION_BF16_BLOCK) {
        int left = h->rows - begin;
        block_backward(t, h, begin, left < ATTENTION_BF16_BLOCK ? left : ATTENTION_BF16_BLOCK,
                       room);
    }
}

static void worker_main(void *context, int worker, int workers) {
    const struct task *t = context;
    struct room room;
    (void)room_bind(&room, t->config, t->scratch + (size_t)worker * t->scratch_floats);
    int row = 0, item = 0;
    for (int s = 0; s < t->batch->span_count; s++) {
        for (int head = 0; head < t->config->heads; head++, item++)
            if (item % workers == worker) {
                struct head_view view = view_head(t, row, t->batch->spans[s].rows, head);
                head_backward(t, &view, &room);
            }
        row += t->batch->spans[s].rows;
    }
}

void attention_backward_bf16(const struct model_config *config, struct pool *pool,
                             const struct batch *batch, int layer,
                             const struct layer_activations *a, int log_sum_stride,
                             const float *d_attention, float *scratch, size_t scratch_floats,
                             float *d_qkv) {
    struct task task = {config,      batch,   layer,          a,    log_sum_stride,
                        d_attention, scratch, scratch_floats, d_qkv};
    pool_run(pool, worker_main, &task);
}
