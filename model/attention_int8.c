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

/* Whoever attends the last head of a span quantizes its rows, and sets the count back for the next
 * layer. */
static void count_heads(const struct attention_pass *pass, int span, int heads, int row) {
    if (atomic_fetch_add(&pass->heads_done[span].count, heads) + heads < pass->config->heads)
        return;
    atomic_store_explicit(&pass->heads_done[span].count, 0, memory_order_relaxed);
    for (int r = row; r < row + pass->batch->spans[span].rows; r++)
        linear_quantize(pass->quantized, (size_t)r,
                        pass->a->attention + (size_t)r * (size_t)pass->config->d_model,
                        pass->config->d_model);
}

/* Pairs [begin, end), which all belong to the span that begins at `row`. Decoding waits for memory
 * here, so each pair fetches what the next one reads. */
static void attend_span(const struct attention_pass *pass, int begin, int end, int row,
                        float *scratch) {
    const struct kv_cache *cache = pass->batch->cache;
    int items = pass->batch->span_count * cache->heads, span = begin / cache->heads;
    for (int item = begin; item < end; item++) {
        int next = item + 1 < items ? item + 1 : item;
        int next_row = next / cache->heads > span ? row + pass->batch->spans[span].rows : row;
        struct kv_head head = head_at(pass, item), ahead = head_at(pass, next);
        struct head_rows rows = rows_at(pass, item, row);
        struct head_rows rows_ahead = rows_at(pass, next, next_row);
        fetch_item(cache, &ahead, &rows_ahead);
        attention_int8(cache, &head, &ahead, &rows, scratch);
    }
    if (pass->quantized)
        count_heads(pass, span, end - begin, row);
}

enum { PARTS = 16 }; /* of a worker's slice */

void attention_int8_stage(struct pool *pool, int worker, const struct attention_pass *pass) {
    const struct batch *batch = pass->batch;
    size_t heads = (size_t)pass->config->heads, items = (size_t)batch->span_count * heads;
    size_t grain = 1 + items / ((size_t)pool_workers(pool) * PARTS), begin, end;
    float *scratch = pass->scratch + (size_t)worker * pass->scratch_floats;
    int row = 0, span = 0;
    while (pool_take(pool, worker, items, grain, &begin, &end)) {
        if (span > (int)(begin / heads))
            row = span = 0;
        while (begin < end) {
            size_t last = (begin / heads + 1) * heads;
            last = last < end ? last : end;
            while (span < (int)(begin / heads))
                row += batch->spans[span++].rows;
            attend_span(pass, (int)begin, (int)last, row, scratch);
            begin = last;
        }
    }
}

bool attention_int8_quantizes(const struct model *model, const struct batch *batch, int layer) {
    return batch->cache && batch->cache->dtype == DTYPE_INT8 &&
           linear_prepares(&model->linears[layer].out_proj, (size_t)batch->rows);
}

struct fetch_list attention_int8_reads(const struct batch *batch, int layer, size_t begin,
                                       size_t end, struct fetch_run *runs) {
    const struct kv_cache *cache = batch->cache;
    struct fetch_list list = {runs, 0};
    for (size_t item = begin; item < end; item++) {
        const struct span *span = &batch->spans[item / (size_t)cache->heads];
        size_t lines = round_up(span->first + span->rows) * cache->lanes / FETCH_LINE_BYTES;
        int index = (int)(item % (size_t)cache->heads);
        struct kv_head head = kv_cache_head(cache, span->slot, layer, index);
        runs[list.count++] = (struct fetch_run){(uintptr_t)head.keys, lines};
        runs[list.count++] = (struct fetch_run){(uintptr_t)head.values, lines};
    }
    return list;
}
