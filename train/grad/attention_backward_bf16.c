#include "train/grad/attention_backward_bf16.h"

#include "base/arena.h"
#include "model/attention_bf16.h"
#include "model/kernels/bf16.h"

/* What a worker needs: a block's matrices, and packed operands, named by what is packed, with _t
 * for transposed. */
struct scratch {
    float *softmax, *dropped, *d_scores; /* [ATTENTION_BF16_BLOCK, positions] each */
    /* one head's, as the second operand: */
    uint32_t *k, *v; /* columns are positions, pairs along the head */
    uint32_t *k_t;   /* columns are the head's, pairs along positions */
    /* a block's, as the first operand: */
    uint32_t *q, *d_out; /* rows, pairs along the head */
    uint32_t *scores;    /* P^T, dS^T: positions, pairs along rows; then dS: rows, pairs along
                          * positions */
    /* and as the second: columns are the head's, pairs along rows */
    uint32_t *q_t, *d_out_t;
};

static void layout(struct scratch *s, const struct model_config *c, struct arena *arena) {
    enum { BLOCK = ATTENTION_BF16_BLOCK, ROWS = BF16_TILE_ROWS, COLUMNS = BF16_TILE_COLUMNS };
    const size_t word = sizeof(uint32_t);
    size_t positions = (size_t)c->positions, head_dim = (size_t)(c->d_model / c->heads);
    size_t by_rows = bf16_packed_words(BLOCK, ROWS, positions);
    size_t by_positions = bf16_packed_words(positions, ROWS, BLOCK);
    s->softmax = arena_take(arena, BLOCK * positions, sizeof(float));
    s->dropped = arena_take(arena, BLOCK * positions, sizeof(float));
    s->d_scores = arena_take(arena, BLOCK * positions, sizeof(float));
    s->k = arena_take(arena, bf16_packed_words(positions, COLUMNS, head_dim), word);
    s->v = arena_take(arena, bf16_packed_words(positions, COLUMNS, head_dim), word);
    s->k_t = arena_take(arena, bf16_packed_words(head_dim, COLUMNS, positions), word);
    s->q = arena_take(arena, bf16_packed_words(BLOCK, ROWS, head_dim), word);
    s->d_out = arena_take(arena, bf16_packed_words(BLOCK, ROWS, head_dim), word);
    s->scores = arena_take(arena, by_rows > by_positions ? by_rows : by_positions, word);
    s->q_t = arena_take(arena, bf16_packed_words(head_dim, COLUMNS, BLOCK), word);
    s->d_out_t = arena_take(arena, bf16_packed_words(head_dim, COLUMNS, BLOCK), word);
}

size_t attention_backward_bf16_floats(const struct model_config *config) {
    struct arena measure = {0};
    struct scratch s;
    layout(&s, config, &measure);
    return measure.used / sizeof(float);
}

/* softmax(S), P and dS of a block. */
static void block_softmax(const struct attention_head *h, const struct head_gradient *g,
                          const struct query_block *b, const struct scratch *s) {
    const struct bf16_kernels *kernels = bf16_kernels_get();
    const struct bf16_finish set = {0};
    const struct gradient_block matrices = {s->softmax, s->dropped, s->d_scores, b->keys};
    size_t rows = (size_t)b->rows, begin = (size_t)b->begin, pairs = (h->head_dim + 1) / 2;
    kernels->pack_rows(s->q, BF16_TILE_ROWS, h->q + begin * h->q_stride, h->q_stride, rows,
                       h->head_dim, 1.0f);
    bf16_multiply(s->softmax, b->keys, rows, b->keys, s->q, s->k, pairs, h->head_dim, &set);
    kernels->pack_rows(s->d_out, BF16_TILE_ROWS, g->d_out + begin * h->out_stride, h->out_stride,
                       rows, h->head_dim, 1.0f);
    bf16_multiply(s->d_scores, b->keys, rows, b->keys, s->d_out, s->v, pairs, h->head_dim, &set);
    head_gradient_softmax(h, g, b, &matrices);
}

/* The block's dq, and its part of dk and dv. */
static void block_backward(const struct attention_head *h, const struct head_gradient *g,
                           const struct query_block *b, const struct scratch *s) {
    const struct bf16_kernels *kernels = bf16_kernels_get();
    const struct bf16_finish set = {0}, add = {.add = true};
    size_t rows = (size_t)b->rows, begin = (size_t)b->begin, pairs = (rows + 1) / 2;
    size_t keys = b->keys;
    block_softmax(h, g, b, s);

    kernels->pack_columns(s->d_out_t, BF16_TILE_COLUMNS, pairs, g->d_out + begin * h->out_stride,
                          h->out_stride, rows, h->head_dim, NULL);
    kernels->pack_columns(s->scores, BF16_TILE_ROWS, pairs, s->dropped, keys, rows, keys, NULL);
    bf16_multiply(g->dv, h->kv_stride, keys, h->head_dim, s->scores, s->d_out_t, pairs, rows,
                  &add);

    kernels->pack_columns(s->q_t, BF16_TILE_COLUMNS, pairs, h->q + begin * h->q_stride,
                          h->q_stride, rows, h->head_dim, NULL);
    for (size_t i = 0; i < rows * keys; i++)
        s->d_scores[i] *= h->scale;
    kernels->pack_columns(s->scores, BF16_TILE_ROWS, pairs, s->d_scores, keys, rows, keys, NULL);
    bf16_multiply(g->dk, h->kv_stride, keys, h->head_dim, s->scores, s->q_t, pairs, rows, &add);

    kernels->pack_rows(s->scores, BF16_TILE_ROWS, s->d_scores, keys, rows, keys, 1.0f);
    bf16_multiply(g->dq + begin * h->q_stride, h->q_stride, rows, h->head_dim, s->scores, s->k_t,
                  ((size_t)h->rows + 1) / 2, keys, &set);
}

static void head_backward(const void *context, struct attention_head *h, float *memory) {
    const struct attention_gradient *gradient = context;
    const struct bf16_kernels *kernels = bf16_kernels_get();
    struct head_gradient g = head_gradient_start(gradient, h);
    struct arena pieces = {.memory = (unsigned char *)memory, .size = (size_t)-1};
    struct scratch s;
    layout(&s, gradient->pass.config, &pieces);
    size_t rows = (size_t)h->rows;
    /* The scale goes where forward put it, so that the scores are the same again. */
    kernels->pack_rows(s.k, BF16_TILE_COLUMNS, h->k, h->kv_stride, rows, h->head_dim, h->scale);
    kernels->pack_rows(s.v, BF16_TILE_COLUMNS, h->v, h->kv_stride, rows, h->head_dim, 1.0f);
    kernels->pack_columns(s.k_t, BF16_TILE_COLUMNS, (rows + 1) / 2, h->k, h->kv_stride, rows,
                          h->head_dim, NULL);
    for (struct query_block b = {0}; attention_next_block(h, ATTENTION_BF16_BLOCK, &b);)
        block_backward(h, &g, &b, &s);
}

void attention_backward_bf16(struct pool *pool, int worker,
                             const struct attention_gradient *gradient) {
    attention_each_head(pool, worker, &gradient->pass, head_backward, gradient);
}
