/* card_batch.h - a batch (model/batch.h) on the card: its ids, and what kernels ask of its rows.
 *
 * Ownership: a card_batch owns its memory on both sides. One thread; what is filled must have been
 * read, which card_batch_fill() waits for, before it is filled again.
 */
#ifndef ALPACA_TRAIN_CUDA_CARD_BATCH_H
#define ALPACA_TRAIN_CUDA_CARD_BATCH_H

#include "train/cuda/attention.h"

extern "C" {
#include "model/batch.h"
}

/* The same arrays lie on the CPU, where they are filled, and on the card. */
struct row_arrays {
    int32_t *ids, *targets;          /* [rows] */
    int32_t *positions, *lengths;    /* [rows] place in the span; rows of the span */
    int32_t *order, *starts;         /* [rows], [vocab + 1]: struct embed_gradient */
    struct dropout_row *at;          /* [rows] */
    struct attention_tile *tiles;    /* [rows at most] */
};

struct card_batch {
    int max_rows, vocab, layers, sites; /* sites of dropout in a layer */
    int rows, tile_count;
    bool unmasked;
    struct row_arrays host, card;
    uint32_t *keys; /* [layers, sites, max_rows] on the card */
    float dropout;  /* the share for which the keys are; 0: none */
    struct arena host_arena, card_arena;
    cudaEvent_t copied;
};

enum status card_batch_create(struct card_batch *batch, const struct model_config *config,
                              int max_rows, struct error *err);
void card_batch_destroy(struct card_batch *batch);

/* Takes a batch with the targets of its rows; copies it and makes its keys of dropout. */
enum status card_batch_fill(struct card_batch *batch, const struct batch *from,
                            const int32_t *targets, struct error *err);

/* Dropout at a site of a layer; without keys where there is none. */
struct row_dropout card_batch_dropout(const struct card_batch *batch, int layer, int site);

#endif
