/* products.h - matrix products on the card, by cuBLASLt.
 *
 * Matrices are given as cuBLAS sees them, column after column: a row-major [rows, columns] is its
 * columns x rows. The first algorithm that cuBLASLt's heuristics name for a shape is kept and used
 * again, and those that sum through atomic operations are excluded, so that a shape has one
 * order of summation. Reference: the cuBLAS documentation, "Using the cuBLASLt API".
 * Ownership: products_open() takes a workspace and a handle, products_close() gives them back;
 * operands are the caller's. One thread.
 */
#ifndef ALPACA_TRAIN_CUDA_PRODUCTS_H
#define ALPACA_TRAIN_CUDA_PRODUCTS_H

#include "train/cuda/card.h"

struct products;

enum status products_open(struct products **products, struct error *err);
void products_close(struct products *products); /* NULL is allowed */

/* d = alpha op(a) op(b) + beta c, then + bias, then max(0, .) where `relu`. op(a) is m x k, op(b)
 * k x n, c and d m x n. Sums are fp32. c is d where it is NULL. */
struct product {
    int m, n, k;
    bool transpose_a, transpose_b, relu;
    int lda, ldb, ldd; /* numbers from one column to the next; c's is d's */
    enum dtype in, out; /* F32 or BF16: of a and b; of c and d */
    const void *a, *b, *c;
    void *d;
    float alpha, beta;
    const void *bias; /* [m] of type `out`, or NULL */
    int batch;        /* how many such products; 0 for one */
    size_t stride_a, stride_b, stride_d; /* numbers from one to the next */
};

enum status products_run(struct products *products, const struct product *product,
                         struct error *err);

/* A linear layer, weight[out, in], over rows. All but `result`, bias and gradients has `dtype`. */
struct layer_forward {
    enum dtype dtype;
    int rows, in, out;
    const void *weight, *x; /* x[rows, in] */
    const void *bias;       /* [out], of the result's type */
    enum dtype result;
    void *y; /* [rows, out] = x W^T + bias */
    bool relu;
};
enum status products_forward(struct products *products, const struct layer_forward *layer,
                             struct error *err);

struct layer_backward {
    enum dtype dtype;
    int rows, in, out;
    const void *weight, *x, *dy; /* dy[rows, out] */
    float *weight_grad;          /* [out, in]; dy^T x is added */
    enum dtype result;
    void *dx; /* [rows, in] becomes dy W, or gets that added where `add` */
    bool add;
};
enum status products_backward(struct products *products, const struct layer_backward *layer,
                              struct error *err);

#endif
