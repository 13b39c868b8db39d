/* row_kernels.h - the kernels between the products, each as a launch; rows.h has their mathematics.
 *
 * A launch returns at once; what went wrong is found by card_launched(). `dtype` is the type of
 * what products read and write, F32 or BF16, given as void *; sums and what they need are floats.
 * Ownership: all memory is the caller's and on the card. One thread.
 */
#ifndef ALPACA_TRAIN_CUDA_ROW_KERNELS_H
#define ALPACA_TRAIN_CUDA_ROW_KERNELS_H

#include "train/cuda/card.h"
#include "train/cuda/rows.h"

enum {
    ROW_MAX_COLUMNS = 1024, /* d_model at most */
    NORM_PARTS = 256,       /* blocks that share out the rows in a norm's gradient */
    COLUMN_PARTS = 256,     /* and in sums over rows */
};

/* y[count] = x[count] as BF16 */
void launch_to_bf16(bf16 *y, const float *x, size_t count);

/* ---- embedding ------------------------------------------------------------ */

struct embed_pass {
    const float *embedding, *position_table;
    const int32_t *ids, *positions; /* [rows] */
    int rows, d_model;
    float scale;
    float *carry; /* [rows, d_model] */
    void *x;      /* [rows, d_model] the same */
};
void launch_embed(enum dtype dtype, const struct embed_pass *pass);

struct embed_gradient {
    const int32_t *order;  /* [rows] sorted by their id, and by row where that is the same */
    const int32_t *starts; /* [vocab + 1] where an id's begin in it */
    const float *dx;       /* [rows, d_model] */
    float *gradient;       /* [vocab, d_model] */
    int vocab, d_model;
    float scale;
};
void launch_embed_gradient(const struct embed_gradient *pass);

/* ---- dropout -------------------------------------------------------------- */

/* keys[layers, sites, stride]: what dropout_key() says for every row, layer and site. */
struct key_pass {
    uint64_t step_key;
    const struct dropout_row *at; /* [rows] */
    int rows, layers, sites, stride;
    uint32_t *keys;
};
void launch_dropout_keys(const struct key_pass *pass);

/* values[rows, columns] in place; columns are a multiple of 8. */
void launch_drop(enum dtype dtype, void *values, int rows, int columns,
                 const struct row_dropout *dropout);

/* ---- residual and norm ---------------------------------------------------- */

struct norm_pass {
    struct row_norm norm;
    struct row_dropout dropout; /* of the branch */
    int rows;
    const void *branch;  /* [rows, n] what the sublayer gave */
    float *carry;        /* [rows, n] in: what the sublayer got; out: norm(carry + branch) */
    void *y;             /* [rows, n] out: the same */
    float *residual;     /* [rows, n] out: carry + branch; NULL: not kept */
    float *stats;        /* [rows, 2] out: mean, rstd */
};
void launch_norm(enum dtype dtype, const struct norm_pass *pass);

struct norm_gradient {
    struct row_norm norm;
    struct row_dropout dropout;
    int rows;
    float *dx;              /* [rows, n] in: the gradient of the output; out: of the residual */
    const float *residual;  /* [rows, n] */
    const float *stats;     /* [rows, 2] */
    void *d_branch;         /* [rows, n] out: the gradient of what the sublayer gave */
    float *parts;           /* [NORM_PARTS, 3, n] scratch */
    float *weight_grad, *bias_grad; /* [n] of the norm; added to */
    float *branch_bias_grad;        /* [n] sums of d_branch over the rows; added to */
};
void launch_norm_gradient(enum dtype dtype, const struct norm_gradient *pass);

/* ---- sums over rows ------------------------------------------------------- */

struct column_sums {
    void *values;        /* [rows, columns] */
    const void *outputs; /* [rows, columns] of ReLU and dropout; values first become the gradient
                          * of their input. NULL: they stay as they are */
    float scale;         /* of that dropout */
    int rows, columns;
    float *parts; /* [COLUMN_PARTS, columns] scratch */
    float *sums;  /* [columns]; added to */
};
void launch_column_sums(enum dtype dtype, const struct column_sums *pass);

/* ---- loss ----------------------------------------------------------------- */

struct loss_pass {
    float *logits; /* [rows, vocab] */
    const int32_t *targets;
    int rows, vocab;
    struct logit_target target;
    const float *soft; /* [rows, vocab] the teachers' prediction; NULL: none */
    float *row_losses; /* [rows] */
    double *loss;      /* all rows' losses are added */
    void *gradient;    /* [rows, vocab] of the logits, may be they themselves; NULL: not wanted */
};
void launch_loss(enum dtype dtype, const struct loss_pass *pass);

/* mean[rows, vocab] = share * softmax(logits), or gets that added. */
void launch_teacher(const float *logits, float *mean, int rows, int vocab, float share, bool add);

#endif
