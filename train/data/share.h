/* share.h - which stories of a step one of several ranks takes.
 *
 * The stories are dealt out one by one, each to the rank that has the fewest rows so far, long ones
 * first: the usual way to balance loads (Graham, "Bounds on multiprocessing timing anomalies",
 * 1969). Every rank finds the same by itself. Instead of sorting, which would need memory, the
 * stories are gone through once for each band of SHARE_BAND lengths.
 * Ownership: a share borrows the batch and the loads. One thread.
 */
#ifndef ALPACA_TRAIN_DATA_SHARE_H
#define ALPACA_TRAIN_DATA_SHARE_H

#include "train/data/dataset.h"

#include <stdbool.h>
#include <stddef.h>

enum { SHARE_BAND = 32 };

struct share {
    const struct story_batch *batch;
    size_t *loads; /* [ranks] rows dealt out to each */
    int rank, ranks;
    int32_t shortest; /* of the band that is gone through */
    size_t next, row; /* the story to look at next, and its first row */
};

/* Stories of the batch, as the share comes by them; a single rank gets all in their order. */
struct shared_story {
    size_t place; /* in the batch */
    size_t row;   /* of the batch: its first */
    int rows;
};

/* loads[ranks] is overwritten. */
void share_begin(struct share *share, const struct story_batch *batch, int rank, int ranks,
                 size_t *loads);
/* False when there is no more. */
bool share_next(struct share *share, struct shared_story *story);

#endif
