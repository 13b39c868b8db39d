#include "model/attention_int8.h"

#include "base/arena.h"
#include "base/pool.h"
#include "model/kernels/int8.h"
#include "model/kernels/kernels.h"

#include <math.h>

struct scratch {
    int8_t *bytes;                 /* [lanes] a quantized query, key or value */
    int32_t *dots;                 /* [rows] query times key */
    float *scores;                 /* [rows] */
    uint8_t *high, *low;           /* [rows] bytes of the attention probabilities */
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

/* Attends from row r of the rows to all positions up to its own. */
static void attend(const struct kv_cache *cache, const struct kv_head *head,
                   const struct kv_head *ahead, const struct head_rows *rows, size_t r,
                   const struct scratch *s) {
    const struct kernels *k = kernels_get();
    const struct int8_kernels *integers = int8_kernels_get();
    size_t head_dim = (size_t)(cache->d_model / cache->heads), lanes = cache->lanes;
    size_t count = rows->first + r + 1;
    size_t blocks = (count + INT8_PANEL - 1) / INT8_PANEL;
    size_t quads = (count + INT8_GROUP - 1) / INT8_GROUP;

    float q_scale = k->quantize_signed(s->bytes, lanes, rows->q + r * rows->stride, head_dim);
    integers->scores(s->dots, s->bytes, head->keys, blocks, lanes / INT8_GROUP,
                     ahead->keys);
    float factor = k->attention_probabilities(s->high, s->low, s->dots, head->key_scales,
                                              head->value_scales, count, blocks * INT8_PANEL,
                                              q_scale / sqrtf((float)head_dim), s->scores);
    integers->mix(s->high_sums, s->low_sums, s->high, s->low, head->values, quads, lanes,
                  ahead->values);
    k->combine_high_low(rows->out + r * rows->out_stride, s->high_sums, s->low_sums, head_dim,
                        factor);
}

void attention_int8(const struct kv_cache *cache, const struct kv_head *head,
                    const struct kv_head *ahead, const struct head_rows *rows, void *scratch) {
    struct arena pieces = {.memory = scratch, .size = (size_t)-1};
    struct scratch s;
    layout(&s, cache->rows, cache->lanes, &pieces);
    for (size_t r = 0; r < rows->rows; r++)
        kv_head_store(cache, head, rows->first + r, rows->k + r * rows->stride,
                      rows->v + r * rows->stride, s.bytes);
    for (size_t r = 0; r < rows->rows; r++)
        attend(cache, head, r + 1 < rows->rows ? head : ahead, rows, r, &s);
}

/* ---- a batch ---------------------------------------------------------------- */

static struct kv_head head_at(const struct attention_pass *pass, int item) {
    const struct kv_cache *cache = pass->batch->cache;
    return kv_cache_head(cache, pass->batch->spans[item / cache->heads].slot, pass->layer,
                         item % cache->heads);
}

/* Where the rows of an item lie, whose span begins at `row` of the batch. */
static struct head_rows rows_at(const struct attention_pass *pass, int item, int row) {
    const struct kv_cache *cache = pass->batch->cache;
    const struct span *span = &pass->batch->spans[item / cache->heads];
    size_t d_model = (size_t)cache->d_model, head_dim = d_model / (size_t)cache->heads;
    size_t column = (size_t)(item % cache->heads) * head_dim;
    const float *q = pass->a->qkv + (size_t)row * 3 * d_model + column;
    return (struct head_rows){.q = q,
                              .k = q + d_model,
                              .v = q + 2 * d_model,
                              .stride = 3 * d_model,
                              .out = pass->a->attention + (size_t)row * d_model + column,
                              .out_stride = d_model,
                              .first = (size_t)span->first,
                              .rows = (size_t)span->rows};
}

static void fetch_floats(const float *x, size_t count) {
    for (size_t i = 0; i < count; i += FETCH_LINE_BYTES / sizeof *x)
        __builtin_prefetch(x + i);
}

/* Brings near what the kernels do not fetch while they work on the item before: the scales, and
 * the first row of q, k and v, which other cores have written just now. */
static void fetch_item(const struct kv_cache *cache, const struct kv_head *head,
                       const struct head_rows *rows) {
    size_t head_dim = (size_t)(cache->d_model / cache->heads);
    fetch_floats(rows->k, head_dim);
    fetch_floats(rows->v, head_dim);
    fetch_floats(rows->q, head_dim);
    fetch_floats(head->key_scales, rows->first + rows->rows);
    fetch_floats(head->value_scales, rows->first + rows->rows);
}

struct task {
    struct pool *pool;
    const struct attention_pass *pass;
};

enum { PARTS = 16 }; /* of a worker's slice */

/* Decoding waits for memory here, so each pair fetches what the worker's next one reads. */
static void attend_items(void *context, int worker, int workers) {
    const struct task *t = context;
    const struct attention_pass *pass = t->pass;
    const struct kv_cache *cache = pass->batch->cache;
    size_t items = (size_t)pass->batch->span_count * (size_t)cache->heads, begin, end;
    size_t grain = 1 + items / ((size_t)workers * PARTS);
    int row = 0, span = 0;
    while (pool_take(t->pool, items, grain, worker, &begin, &end)) {
        if (span > (int)begin / cache->heads)
            row = span = 0;
        for (int item = (int)begin; item < (int)end; item++) {
            while (span < item / cache->heads)
                row += pass->batch->spans[span++].rows;
            int next = (size_t)item + 1 < items ? item + 1 : item;
            int next_row = next / cache->heads > span ? row + pass->batch->spans[span].rows : row;
            struct kv_head head = head_at(pass, item), ahead = head_at(pass, next);
            struct head_rows rows = rows_at(pass, item, row);
            struct head_rows rows_ahead = rows_at(pass, next, next_row);
            fetch_item(cache, &ahead, &rows_ahead);
            attention_int8(cache, &head, &ahead, &rows,
                           pass->scratch + (size_t)worker * pass->scratch_floats);
        }
    }
}

struct fetch_list attention_int8_reads(const struct batch *batch, int layer,
                                       struct fetch_run *runs) {
    const struct kv_cache *cache = batch->cache;
    struct fetch_list list = {runs, 0};
    for (int s = 0; s < batch->span_count; s++) {
        const struct span *span = &batch->spans[s];
        size_t lines = round_up(span->first + span->rows) * cache->lanes / FETCH_LINE_BYTES;
        for (int h = 0; h < cache->heads; h++) {
            struct kv_head head = kv_cache_head(cache, span->slot, layer, h);
            runs[list.count++] = (struct fetch_run){(uintptr_t)head.keys, lines};
            runs[list.count++] = (struct fetch_run){(uintptr_t)head.values, lines};
        }
    }
    return list;
}

void attention_int8_forward(struct pool *pool, const struct attention_pass *pass) {
    struct task task = {pool, pass};
    pool_run(pool, attend_items, &task);
}
