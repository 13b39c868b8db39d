#include "model/attention_bf16.h"

#include "base/arena.h"
#include "model/attention_head.h"
#include "model/kernels/bf16.h"

bool attention_bf16_takes(const struct batch *batch) {
    return !batch->cache && !batch->unmasked;
}

/* What a worker needs: a block's scores, and the packed operands of one head. */
struct scratch {
    float *scores;     /* [ATTENTION_BF16_BLOCK, positions] S, then P */
    uint32_t *k;       /* columns are positions, pairs along the head */
    uint32_t *v;       /* columns are the head's, pairs along positions */
    uint32_t *q_block; /* rows of a block, pairs along the head */
    uint32_t *p_block; /* rows of a block, pairs along positions */
};

static void layout(struct scratch *s, const struct model_config *c, struct arena *arena) {
    enum { BLOCK = ATTENTION_BF16_BLOCK, ROWS = BF16_TILE_ROWS, COLUMNS = BF16_TILE_COLUMNS };
    size_t positions = (size_t)c->positions, head_dim = (size_t)(c->d_model / c->heads);
    s->scores = arena_take(arena, BLOCK * positions, sizeof(float));
    s->k = arena_take(arena, bf16_packed_words(positions, COLUMNS, head_dim), sizeof(uint32_t));
    s->v = arena_take(arena, bf16_packed_words(head_dim, COLUMNS, positions), sizeof(uint32_t));
    s->q_block = arena_take(arena, bf16_packed_words(BLOCK, ROWS, head_dim), sizeof(uint32_t));
    s->p_block = arena_take(arena, bf16_packed_words(BLOCK, ROWS, positions), sizeof(uint32_t));
}

size_t attention_bf16_scratch_floats(const struct model_config *config) {
    struct arena measure = {0};
    struct scratch s;
    layout(&s, config, &measure);
    return measure.used / sizeof(float);
}

/* O of one block. */
static void attend_block(const struct attention_head *h, const struct query_block *b,
                         const struct scratch *s) {
    const struct bf16_kernels *kernels = bf16_kernels_get();
    const struct bf16_finish finish = {0};
    size_t rows = (size_t)b->rows, begin = (size_t)b->begin;
    kernels->pack_rows(s->q_block, BF16_TILE_ROWS, h->q + begin * h->q_stride, h->q_stride, rows,
                       h->head_dim, 1.0f);
    bf16_multiply(s->scores, b->keys, rows, b->keys, s->q_block, s->k, (h->head_dim + 1) / 2,
                  h->head_dim, &finish);
    attention_softmax(h, b, s->scores, b->keys);
    kernels->pack_rows(s->p_block, BF16_TILE_ROWS, s->scores, b->keys, rows, b->keys, 1.0f);
    bf16_multiply(h->out + begin * h->out_stride, h->out_stride, rows, h->head_dim, s->p_block,
                  s->v, ((size_t)h->rows + 1) / 2, b->keys, &finish);
}

static void attend(const void *context, struct attention_head *h, float *memory) {
    const struct attention_pass *pass = context;
    const struct bf16_kernels *kernels = bf16_kernels_get();
    struct arena pieces = {.memory = (unsigned char *)memory, .size = (size_t)-1};
    struct scratch s;
    layout(&s, pass->config, &pieces);
    size_t rows = (size_t)h->rows;
    kernels->pack_rows(s.k, BF16_TILE_COLUMNS, h->k, h->kv_stride, rows, h->head_dim, h->scale);
    kernels->pack_columns(s.v, BF16_TILE_COLUMNS, (rows + 1) / 2, h->v, h->kv_stride, rows,
                          h->head_dim, NULL);
    for (struct query_block b = {0}; attention_next_block(h, ATTENTION_BF16_BLOCK, &b);)
        attend_block(h, &b, &s);
}

void attention_bf16_stage(struct pool *pool, int worker, const struct attention_pass *pass) {
    attention_each_head(pool, worker, pass, attend, pass);
}
