#include "train/optim/orthogonalize.h"

#include "model/blas.h"
#include "model/kernels/bf16.h"

#include <math.h>
#include <string.h>

enum { ITERATIONS = 5 };
static const float a = 3.4445f, b = -4.7750f, c = 2.0315f;

/* A matrix on its way. Its smaller side is n, its larger one `length`; tall when it has more rows
 * than columns, and then A = X^T X, the smaller product. */
struct iterate {
    size_t rows, columns, n, length;
    bool tall;
    float *x, *next;    /* [rows, columns] */
    float *gram, *poly; /* [n, n]: A, and bA + cA^2; both symmetric */
    uint32_t *left;     /* a block of a packed first operand */
    uint32_t *right;    /* a packed second operand */
};

static float *take(float **next, size_t count) {
    float *piece = *next;
    *next += (count + 15) / 16 * 16;
    return piece;
}

static size_t larger(size_t x, size_t y) {
    return x > y ? x : y;
}

/* Returns where the scratch ends. */
static float *bind(struct iterate *i, size_t rows, size_t columns, float *x, float *scratch) {
    size_t n = rows < columns ? rows : columns, length = larger(rows, columns);
    float *next = scratch;
    *i = (struct iterate){.rows = rows, .columns = columns, .n = n, .length = length,
                          .tall = rows > columns, .x = x};
    i->next = take(&next, rows * columns);
    i->gram = take(&next, n * n);
    i->poly = take(&next, n * n);
    i->left = (uint32_t *)(void *)take(&next, bf16_block_words(length));
    i->right = (uint32_t *)(void *)take(
        &next, larger(bf16_packed_words(n, BF16_TILE_COLUMNS, length),
                      bf16_packed_words(length, BF16_TILE_COLUMNS, n)));
    return next;
}

size_t orthogonalize_scratch_floats(size_t rows, size_t columns) {
    struct iterate i;
    static float origin[1]; /* only its address is used, to measure from */
    return (size_t)((uintptr_t)bind(&i, rows, columns, NULL, origin) - (uintptr_t)origin) /
           sizeof(float);
}

/* ---- the three products of an iteration ----------------------------------- */

static void f32_iteration(struct iterate *i) {
    size_t n = i->n;
    blas_gemm(i->tall, !i->tall, n, n, i->length, 1, i->x, i->columns, i->x, i->columns, 0,
              i->gram, n);
    memcpy(i->poly, i->gram, n * n * sizeof(float));
    blas_gemm(false, false, n, n, n, c, i->gram, n, i->gram, n, b, i->poly, n);
    memcpy(i->next, i->x, i->rows * i->columns * sizeof(float));
    if (i->tall)
        blas_gemm(false, false, i->rows, i->columns, n, 1, i->x, i->columns, i->poly, n, a,
                  i->next, i->columns);
    else
        blas_gemm(false, false, i->rows, i->columns, n, 1, i->poly, n, i->x, i->columns, a,
                  i->next, i->columns);
}

/* out[n, n] of a symmetric product, the upper part of which is computed and mirrored. The left
 * operand is x's lines, taken along `k` of them. */
static void bf16_symmetric(struct iterate *i, float *out, const float *x, bool across, size_t k,
                           const struct bf16_finish *finish) {
    enum { BLOCK = 8 * BF16_TILE_ROWS }; /* small, so that little below the diagonal is computed */
    const struct bf16_kernels *kernels = bf16_kernels_get();
    size_t n = i->n, pairs = (k + 1) / 2;
    for (size_t row = 0; row < n; row += BLOCK) {
        size_t rows = n - row < BLOCK ? n - row : BLOCK;
        size_t from = row / BF16_TILE_COLUMNS * BF16_TILE_COLUMNS;
        if (across)
            kernels->pack_columns(i->left, BF16_TILE_ROWS, pairs, x + row, n, k, rows, NULL);
        else
            kernels->pack_rows(i->left, BF16_TILE_ROWS, x + row * k, k, rows, k, 1.0f);
        bf16_multiply(out + row * n + from, n, rows, n - from, i->left, i->right + from * pairs,
                      pairs, k, finish);
    }
    for (size_t row = 1; row < n; row++)
        for (size_t column = 0; column < row; column++)
            out[row * n + column] = out[column * n + row];
}

static void scaled_copy(float *y, const float *x, size_t count, float scale) {
    for (size_t j = 0; j < count; j++)
        y[j] = scale * x[j];
}

static void bf16_iteration(struct iterate *i) {
    const struct bf16_kernels *kernels = bf16_kernels_get();
    const struct bf16_finish set = {0}, add = {.add = true};
    size_t n = i->n;
    if (i->tall)
        kernels->pack_columns(i->right, BF16_TILE_COLUMNS, (i->rows + 1) / 2, i->x, n, i->rows, n,
                              NULL);
    else
        kernels->pack_rows(i->right, BF16_TILE_COLUMNS, i->x, i->columns, n, i->columns, 1.0f);
    bf16_symmetric(i, i->gram, i->x, i->tall, i->length, &set);

    scaled_copy(i->poly, i->gram, n * n, b);
    kernels->pack_rows(i->right, BF16_TILE_COLUMNS, i->gram, n, n, n, c);
    bf16_symmetric(i, i->poly, i->gram, false, n, &add);

    scaled_copy(i->next, i->x, i->rows * i->columns, a);
    if (i->tall) {
        kernels->pack_rows(i->right, BF16_TILE_COLUMNS, i->poly, n, n, n, 1.0f);
        bf16_multiply_rows(i->next, n, n, i->x, n, 0, i->rows, i->right, i->left, &add);
    } else {
        kernels->pack_columns(i->right, BF16_TILE_COLUMNS, (n + 1) / 2, i->x, i->columns, n,
                              i->columns, NULL);
        bf16_multiply_rows(i->next, i->columns, i->columns, i->poly, n, 0, n, i->right, i->left,
                           &add);
    }
}

void orthogonalize(float *matrix, size_t rows, size_t columns, enum dtype dtype, float *scratch) {
    struct iterate i;
    (void)bind(&i, rows, columns, matrix, scratch);
    size_t count = rows * columns;
    double squares = 0;
    for (size_t j = 0; j < count; j++)
        squares += (double)matrix[j] * (double)matrix[j];
    scaled_copy(matrix, matrix, count, (float)(1.0 / (sqrt(squares) + 1e-7)));
    for (int iteration = 0; iteration < ITERATIONS; iteration++) {
        if (dtype == DTYPE_BF16)
            bf16_iteration(&i);
        else
            f32_iteration(&i);
        memcpy(matrix, i.next, count * sizeof(float));
    }
}
