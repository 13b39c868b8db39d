/* card_optimizer.h - the gradients' norm and optimizer_step() (train/optim/optimizer.h) on a card.
 *
 * Muon's matrices of one shape are orthogonalized together, as batches of products, in the dtype of
 * the network: X is kept in it too, as the source of train/optim/orthogonalize.h does in bfloat16.
 * Ownership: an optimizer owns its memory; parameters and gradients are a network's. One thread.
 */
#ifndef ALPACA_TRAIN_CUDA_CARD_OPTIMIZER_H
#define ALPACA_TRAIN_CUDA_CARD_OPTIMIZER_H

#include "train/cuda/network.h"

extern "C" {
#include "train/optim/optimizer.h"
}

enum { MUON_MAX_SHAPES = 8 };

/* Matrices of one shape. */
struct muon_shape {
    int rows, columns, count;
    size_t *offsets; /* [count] of their first number in a buffer; on the card */
};

struct card_optimizer {
    struct optimizer_options options;
    struct model_config config;
    enum dtype dtype;
    size_t floats; /* of a buffer */
    bool averages;
    float *moment1, *moment2, *average; /* [floats]; average NULL: none is kept */
    uint8_t *kinds;  /* [floats / 16] what Adam does with 16 numbers: enum in the .cu */
    double *squares; /* [parts] of the norm, or of Muon's matrices */
    struct muon_shape shapes[MUON_MAX_SHAPES];
    int shape_count;
    void *x, *next;    /* [count, rows, columns] of the largest shape */
    void *gram, *poly; /* [count, n, n] */
    struct arena arena;
};

enum status card_optimizer_create(struct card_optimizer *optimizer,
                                  const struct device_options *options, struct error *err);
void card_optimizer_destroy(struct card_optimizer *optimizer);

/* *squares, on the card, becomes the sum of gradients[floats]^2. */
void card_optimizer_squares(struct card_optimizer *optimizer, const float *gradients,
                            double *squares);

/* Updates the network's parameters, their rounded copy and the average. */
enum status card_optimizer_step(struct card_optimizer *optimizer, struct network *network,
                                const float *gradients, const struct device_update *update,
                                struct error *err);

#endif
