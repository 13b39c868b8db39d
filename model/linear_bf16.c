#include "model/linear_bf16.h"

#include "base/arena.h"
#include "base/pool.h"
#include "model/linear_dtypes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_BYTES = 448 * 1024, /* of packed A; a panel of B and the sums share its cache */
    K_BLOCK = 512,            /* 32 columns of it are what the first cache holds of B */
};

/* ---- products ------------------------------------------------------------- */

size_t bf16_block_rows(size_t k) {
    size_t panels = BLOCK_BYTES / (sizeof(uint32_t) * BF16_TILE_ROWS * ((k + 1) / 2));
    return (panels ? panels : 1) * BF16_TILE_ROWS;
}

size_t bf16_room_words(size_t k) {
    size_t panel = bf16_packed_words(BF16_TILE_ROWS, BF16_TILE_ROWS, k);
    return panel > BLOCK_BYTES / sizeof(uint32_t) ? panel : BLOCK_BYTES / sizeof(uint32_t);
}

void bf16_multiply(float *c, size_t stride, size_t m, size_t n, const uint32_t *a,
                   const uint32_t *b, size_t b_pairs, size_t k, const struct bf16_finish *finish) {
    const struct bf16_kernels *kernels = bf16_kernels_get();
    size_t pairs = (k + 1) / 2;
    for (size_t first = 0; first < pairs; first += K_BLOCK / 2) {
        size_t count = pairs - first < K_BLOCK / 2 ? pairs - first : K_BLOCK / 2;
        bool last = first + count == pairs;
        struct bf16_finish part = {finish->add || first > 0, NULL, last && finish->relu};
        for (size_t j = 0; j < n; j += BF16_TILE_COLUMNS) {
            size_t columns = n - j < BF16_TILE_COLUMNS ? n - j : BF16_TILE_COLUMNS;
            part.bias = last && finish->bias ? finish->bias + j : NULL;
            for (size_t i = 0; i < m; i += BF16_TILE_ROWS)
                kernels->tile(c + i * stride + j, stride,
                              m - i < BF16_TILE_ROWS ? m - i : BF16_TILE_ROWS, columns,
                              a + i * pairs + first * BF16_TILE_ROWS,
                              b + j * b_pairs + first * BF16_TILE_COLUMNS, count, &part);
        }
    }
}

void bf16_multiply_rows(float *c, size_t stride, size_t n, const float *x, size_t k, size_t begin,
                        size_t end, const uint32_t *b, uint32_t *room,
                        const struct bf16_finish *finish) {
    size_t block = bf16_block_rows(k);
    for (size_t row = begin; row < end; row += block) {
        size_t rows = end - row < block ? end - row : block;
        bf16_kernels_get()->pack_rows(room, BF16_TILE_ROWS, x + row * k, k, rows, k, 1.0f);
        bf16_multiply(c + row * stride, stride, rows, n, room, b, (k + 1) / 2, k, finish);
    }
}

struct task {
    const struct linear *linear;
    const float *x;
    size_t rows;
    float *y;
    bool relu;
};

static void forward_worker(void *context, int worker, int workers) {
    const struct task *t = context;
    const struct linear *l = t->linear;
    const struct bf16_workspace *room = l->bf16->workspace;
    struct bf16_finish finish = {false, l->bias, t->relu};
    size_t begin, end;
    pool_slice(t->rows, BF16_TILE_ROWS, worker, workers, &begin, &end);
    bf16_multiply_rows(t->y, (size_t)l->out, (size_t)l->out, t->x, (size_t)l->in, begin, end,
                       l->bf16->forward, room->workers + (size_t)worker * room->worker_words,
                       &finish);
}

void linear_bf16_forward(const struct linear *linear, struct pool *pool,
                         const struct linear_scratch *scratch, const float *x, size_t rows,
                         float *y, bool relu) {
    (void)scratch; /* the set has a workspace of its own */
    struct task task = {linear, x, rows, y, relu};
    pool_run(pool, forward_worker, &task);
}

/* ---- sets ----------------------------------------------------------------- */

struct bf16_set {
    bool gradients;
    int count;
    struct linear *linears[BF16_MAX_LINEARS];
    struct bf16_matrix matrices[BF16_MAX_LINEARS];
    struct bf16_workspace workspace;
    struct arena arena;
};

int bf16_model_linears(struct model *model, struct linear **linears) {
    int count = 0;
    for (int i = 0; i < model->config.layers; i++) {
        struct layer_linears *l = &model->linears[i];
        struct linear *const each[] = {&l->in_proj, &l->out_proj, &l->linear1, &l->linear2};
        for (int j = 0; j < 4; j++)
            linears[count++] = each[j];
    }
    linears[count++] = &model->head;
    return count;
}

static void layout(struct bf16_set *set, int workers, struct arena *arena) {
    size_t room = bf16_room_words(BF16_CHUNK_ROWS), widest = 0;
    for (int i = 0; i < set->count; i++) {
        const struct linear *l = set->linears[i];
        struct bf16_matrix *m = &set->matrices[i];
        size_t in = (size_t)l->in, out = (size_t)l->out;
        m->workspace = &set->workspace;
        if (set->gradients && in > widest)
            widest = in;
        if (l->dtype == DTYPE_INT8)
            continue;
        m->forward = arena_take(arena, bf16_packed_words(out, BF16_TILE_COLUMNS, in),
                                sizeof *m->forward);
        room = bf16_room_words(in) > room ? bf16_room_words(in) : room;
        if (!set->gradients)
            continue;
        m->backward = arena_take(arena, bf16_packed_words(in, BF16_TILE_COLUMNS, out),
                                 sizeof *m->backward);
        room = bf16_room_words(out) > room ? bf16_room_words(out) : room;
    }
    set->workspace.worker_words = (room + 15) / 16 * 16;
    set->workspace.workers =
        arena_take(arena, (size_t)workers * set->workspace.worker_words, sizeof(uint32_t));
    set->workspace.chunk = arena_take(
        arena, bf16_packed_words(widest, BF16_TILE_COLUMNS, BF16_CHUNK_ROWS), sizeof(uint32_t));
}

bool bf16_available(void) {
    return bf16_kernels_get() != NULL;
}

enum status bf16_set_create(struct bf16_set **out, struct linear *const *linears, int count,
                            bool gradients, struct pool *pool, struct error *err) {
    *out = NULL;
    assert(count <= BF16_MAX_LINEARS);
    if (!bf16_available())
        return error_set_field(err, STATUS_UNSUPPORTED, "numeric",
                               "this CPU has no BF16 products (avx512_bf16)");
    struct bf16_set *set = calloc(1, sizeof *set);
    if (!set)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the BF16 weights");
    set->gradients = gradients;
    set->count = count;
    memcpy(set->linears, linears, (size_t)count * sizeof(linears[0]));
    struct arena measure = {0};
    layout(set, pool_workers(pool), &measure);
    enum status status = arena_create(&set->arena, measure.used, err);
    if (status != STATUS_OK) {
        free(set);
        return status;
    }
    layout(set, pool_workers(pool), &set->arena);
    for (int i = 0; i < set->count; i++) {
        if (set->linears[i]->dtype == DTYPE_F32)
            set->linears[i]->dtype = DTYPE_BF16;
        set->linears[i]->bf16 = &set->matrices[i];
    }
    bf16_set_refresh(set, pool);
    *out = set;
    return STATUS_OK;
}

/* Panel by panel in turn, so that matrices of any size spread over the workers. */
static void refresh_worker(void *context, int worker, int workers) {
    const struct bf16_set *set = context;
    const struct bf16_kernels *kernels = bf16_kernels_get();
    size_t item = 0;
    for (int i = 0; i < set->count; i++) {
        const struct linear *l = set->linears[i];
        const struct bf16_matrix *m = &set->matrices[i];
        size_t in = (size_t)l->in, out = (size_t)l->out;
        for (size_t o = 0; m->forward && o < out; o += BF16_TILE_COLUMNS, item++)
            if (item % (size_t)workers == (size_t)worker)
                kernels->pack_rows(m->forward + o * ((in + 1) / 2), BF16_TILE_COLUMNS,
                                   l->weight + o * in, in,
                                   out - o < BF16_TILE_COLUMNS ? out - o : BF16_TILE_COLUMNS, in,
                                   1.0f);
        for (size_t o = 0; m->backward && o < in; o += BF16_TILE_COLUMNS, item++)
            if (item % (size_t)workers == (size_t)worker)
                kernels->pack_columns(m->backward + o * ((out + 1) / 2), BF16_TILE_COLUMNS,
                                      (out + 1) / 2, l->weight + o, in, out,
                                      in - o < BF16_TILE_COLUMNS ? in - o : BF16_TILE_COLUMNS,
                                      NULL);
    }
}

void bf16_set_refresh(struct bf16_set *set, struct pool *pool) {
    pool_run(pool, refresh_worker, set);
}

void bf16_set_destroy(struct bf16_set *set) {
    if (!set)
        return;
    for (int i = 0; i < set->count; i++) {
        if (set->linears[i]->dtype == DTYPE_BF16)
            set->linears[i]->dtype = DTYPE_F32;
        set->linears[i]->bf16 = NULL;
    }
    arena_destroy(&set->arena);
    free(set);
}
