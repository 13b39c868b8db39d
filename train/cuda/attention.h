/* attention.h - model/attention.h and its gradient on the card, over packed spans.
 *
 * In BF16 a block of four warps works on a tile of 64 queries (or keys) of one head, and goes over
 * the tiles of keys (or queries) that belong to it; nothing of [rows, rows] leaves the registers.
 * The gradients of keys and values are one pass and that of queries another, so that every sum has
 * one order. In F32, which is for comparing, a warp works on one row of one head.
 * Source: Dao, "FlashAttention-2", 2023; the letters are those of model/attention_head.h.
 * Ownership: all memory is the caller's and on the card. One thread.
 */
#ifndef ALPACA_TRAIN_CUDA_ATTENTION_H
#define ALPACA_TRAIN_CUDA_ATTENTION_H

#include "train/cuda/card.h"
#include "train/cuda/rows.h"

enum {
    ATTENTION_TILE = 64,     /* rows of a tile */
    ATTENTION_MAX_HEAD = 64, /* columns of a head, at most */
};

/* A tile of a span's rows. */
struct attention_tile {
    int32_t first; /* row of the batch where the span begins */
    int32_t rows;  /* of the span */
    int32_t begin; /* of the tile in the span */
};

struct card_attention {
    const struct attention_tile *tiles; /* [tile_count] */
    const int32_t *positions, *lengths; /* [rows] of each row: its place in its span; the span's
                                         * rows */
    int tile_count, rows, heads, d_model;
    int stride; /* of logsumexp, delta and the keys, from one head to the next */
    bool unmasked;
    struct row_dropout dropout; /* of P; its keys are [heads, stride] */
    const void *qkv;            /* [rows, 3 d_model] */
    void *out;                  /* [rows, d_model] */
    float *logsumexp;           /* [heads, stride] */
    /* the gradient's */
    const void *d_out; /* [rows, d_model] */
    float *delta;      /* [heads, stride] scratch: dO . O */
    void *d_qkv;       /* [rows, 3 d_model] out */
};

void launch_attention(enum dtype dtype, const struct card_attention *pass);
void launch_attention_gradient(enum dtype dtype, const struct card_attention *pass);

#endif
