#include "base/pool.h"
#include "model/kernels/kernels.h"
#include "model/linear_dtypes.h"
#include "model/pack_weights.h"

/* A product whose rows are bytes. It is dealt out in tiles, a panel of outputs times a block of
 * rows that the kernels take at a time: panel after panel, so that most weights are read by one
 * worker, and still in parts of equal size where there are many workers. */
struct tiles {
    const struct linear_product *product;
    const struct int8_matrix *matrix;
    const uint8_t *bytes;
    const struct quantization *quantizations;
    float *y;
    size_t rows, row_bytes, blocks, panels;
    size_t part; /* tiles in a part, at most */
    bool last;   /* the walk ends with them */
};

enum {
    PART_PANELS = 8, /* with all blocks of rows tens of microseconds */
    FEW_ROWS = 8,    /* with fewer rows a worker's whole slice takes no longer */
};

/* Few rows go by four panels at a time, as four take no longer than one. */
static size_t part_tiles(const struct tiles *t, size_t workers) {
    size_t slice = (t->panels * t->blocks + workers - 1) / workers, most = PART_PANELS * t->blocks;
    if (t->rows == 0)
        return 1; /* of none */
    if (t->rows < FEW_ROWS)
        return slice <= 2 ? slice : slice < 8 ? (slice + 3) & ~(size_t)3 : (slice + 1) & ~(size_t)1;
    size_t parts = (slice + most - 1) / most;
    return (slice + parts - 1) / parts;
}

/* Of the product's rows from `first` on, as many as the scratch has room for. */
static struct tiles tiles_of(const struct pool *pool, const struct linear_product *product,
                             size_t first) {
    const struct int8_matrix *matrix = &product->linear->packed->int8;
    const size_t most = int8_kernels_get()->tile_rows, left = product->rows - first;
    const size_t rows = left < LINEAR_SCRATCH_ROWS ? left : LINEAR_SCRATCH_ROWS;
    struct tiles t = {.product = product,
                      .matrix = matrix,
                      .y = product->y + first * matrix->out,
                      .rows = rows,
                      .row_bytes = linear_row_bytes(product->linear->in),
                      .blocks = (rows + most - 1) / most,
                      .panels = int8_panels(matrix),
                      .last = product->ends_walk && rows == left};
    t.part = part_tiles(&t, (size_t)pool_workers(pool));
    return t;
}

static void multiply(const struct tiles *t, size_t first_block, size_t blocks, size_t panel,
                     size_t panels, struct fetch_list wanted) {
    size_t row = t->rows * first_block / t->blocks;
    size_t end = t->rows * (first_block + blocks) / t->blocks;
    int8_kernels_get()->linear(t->matrix, t->bytes + row * t->row_bytes, t->row_bytes,
                               t->quantizations + row, end - row, panel, panel + panels,
                               t->y + row * t->matrix->out, t->matrix->out, t->product->relu,
                               wanted);
}

static void multiply_part(const struct tiles *t, int worker, size_t begin, size_t end) {
    const struct linear_wanted *wanted = &t->product->wanted;
    struct fetch_list list = {0};
    if (wanted->list)
        list = wanted->list(wanted->context, worker, begin, end, t->blocks * t->panels);
    while (begin < end) {
        size_t panel = begin / t->blocks, block = begin % t->blocks, left = end - begin;
        size_t blocks = t->blocks - block < left ? t->blocks - block : left;
        size_t panels = blocks == t->blocks ? left / blocks : 1;
        multiply(t, block, blocks, panel, panels, list);
        list = (struct fetch_list){0};
        begin += blocks * panels;
    }
}

static bool take_part(struct pool *pool, int worker, const struct tiles *t, size_t *begin,
                      size_t *end) {
    size_t total = t->blocks * t->panels;
    return t->last ? pool_take_last(pool, worker, total, t->part, begin, end)
                   : pool_take(pool, worker, total, t->part, begin, end);
}

static void multiply_prepared(struct pool *pool, int worker, struct tiles *t) {
    size_t begin, end;
    t->bytes = t->product->scratch->rows;
    t->quantizations = t->product->scratch->quantizations;
    while (take_part(pool, worker, t, &begin, &end))
        multiply_part(t, worker, begin, end);
}

void linear_int8_multiply(struct pool *pool, int worker, const struct linear_product *product) {
    size_t in = (size_t)product->linear->in, begin, end;
    bool prepared = linear_prepares(product->linear, product->rows);
    for (size_t row = 0; row < product->rows; row += LINEAR_SCRATCH_ROWS) {
        struct tiles t = tiles_of(pool, product, row);
        while (!prepared && pool_take(pool, worker, t.rows, 1, &begin, &end))
            linear_quantize(product->scratch, begin, product->x + (row + begin) * in,
                            product->linear->in);
        multiply_prepared(pool, worker, &t);
    }
}

/* The rows of x, which a source makes there, in the worker's own scratch for tiles to read. */
static void make_own(int worker, struct tiles *t, float *x) {
    const struct linear_scratch *scratch = t->product->scratch;
    const struct linear_source *source = &t->product->source;
    size_t in = t->matrix->in, first = (size_t)worker * LINEAR_FEW_ROWS;
    uint8_t *bytes = scratch->own_rows + first * linear_row_bytes(scratch->widest);
    for (size_t r = 0; r < t->rows; r++) {
        if (source->make)
            source->make(source->context, r, x + r * in);
        kernels_get()->quantize_row(bytes + r * t->row_bytes, t->row_bytes,
                                    &scratch->own_quantizations[first + r], x + r * in, in);
    }
    t->bytes = bytes;
    t->quantizations = scratch->own_quantizations + first;
}

const float *linear_int8_multiply_few(struct pool *pool, int worker,
                                      const struct linear_product *product) {
    struct tiles t = tiles_of(pool, product, 0);
    size_t begin, end;
    float *x = NULL;
    while (take_part(pool, worker, &t, &begin, &end)) {
        if (!x || begin == 0) { /* the first part's worker makes them for all who make none */
            x = begin == 0 || !product->source.make ? product->x : product->source.own_x;
            make_own(worker, &t, x);
        }
        multiply_part(&t, worker, begin, end);
    }
    return x ? x : product->x;
}
