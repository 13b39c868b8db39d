/* dataset.h - stories as token ids, and the batches a training run takes from them.
 *
 * A story is bos + pieces + eos, cut after `positions` ids (a cut story has no
 * eos). A story of n ids gives n - 1 training rows: inputs ids[0 .. n-2],
 * targets ids[1 .. n-1].
 *
 * Ownership: the caller owns a loaded dataset; loaders borrow it and own the
 * batch they hand out, which is valid until the next call. A dataset never
 * changes after loading, so any number of threads may read it; a loader
 * belongs to one thread.
 */
#ifndef ALPACA_TRAIN_DATA_DATASET_H
#define ALPACA_TRAIN_DATA_DATASET_H

#include "base/pool.h"
#include "base/status.h"
#include "tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dataset {
    uint16_t *ids;       /* [id_count], story after story */
    uint64_t *offsets;   /* [stories + 1]: story s is ids[offsets[s] .. offsets[s + 1]) */
    size_t stories;
    size_t id_count;
    size_t rows;         /* id_count - stories: what one epoch trains on */
    size_t longest_rows; /* of any one story */
    /* What bits per byte divides by: the bytes of the prepared text (after
     * text_clean(), without line ends) whose tokens are predicted. An uncut
     * story counts all its bytes; its eos adds none. A cut story of b bytes
     * counts b * k / w rounded to the nearest, where k and w are the bytes that
     * its kept pieces and all its pieces decode to. The nats to divide are
     * those of every row, eos included. */
    uint64_t text_bytes;
};

#define DATASET_UNCUT ((size_t)INT32_MAX)
struct dataset_source {
    const char *path; /* whatever story_reader takes */
    const struct tokenizer *tokenizer;
    size_t positions;   /* ids of a story at most, 2 or more; DATASET_UNCUT cuts none */
    size_t max_stories; /* 0: all of them */
};

/* Reads, cleans and encodes the stories; the pool's workers encode. Leaves out those that are empty
 * or not UTF-8. STATUS_INVALID when there is no story at all. */
enum status dataset_load(struct dataset *dataset, const struct dataset_source *source,
                         struct pool *pool, struct error *err);
void dataset_free(struct dataset *dataset); /* a zeroed one is allowed */

/* A number that another set of stories, or another order of them, hardly shares. */
uint64_t dataset_hash(const struct dataset *dataset);

/* Fills order[stories] with epoch's permutation of 0 .. stories - 1, which
 * depends on (seed, epoch, stories) alone. */
void dataset_order(const struct dataset *dataset, uint64_t seed, uint64_t epoch, int32_t *order);

/* How stories are cut into batches of whole stories. */
struct data_loader_options {
    uint64_t seed;
    bool shuffle;       /* a new permutation every epoch; otherwise the file's order */
    bool once;          /* stop after one epoch (evaluation); otherwise never stop */
    size_t max_stories; /* 0: no limit. At least one of the limits is set. */
    size_t max_rows;    /* 0: no limit. A longer story still makes a batch of its own. */
    size_t positions;   /* 0: no limit. Of a longer story only so many ids are handed out. */
    double random_crop; /* share of the stories that are handed out from a random place on */
    /* Other stories to mix in as data_loader_set_mix() says, with an order and epochs of their own;
     * NULL: none. */
    const struct dataset *mix;
};

/* A random crop is a story's bos and its ids from a random place on, another place every epoch, so
 * that the end of a long story is seen too and no context is always the same. Its first target is
 * -1: no story is to begin like that. The place depends on (seed, epoch, story) alone and leaves at
 * least RANDOM_CROP_MIN_IDS ids; a story that is too short for that stays whole. */
enum { RANDOM_CROP_MIN_IDS = 16 };

/* The state of a loader: all that a checkpoint needs to go on. */
struct data_loader_state {
    uint64_t epoch;
    uint64_t index; /* stories of this epoch's order already handed out, < stories */
    uint64_t mix_epoch, mix_index; /* the same of the stories that are mixed in */
};

struct story_batch {
    size_t stories;         /* 0: the options say `once` and the epoch is over */
    size_t rows;            /* rows of all stories together */
    const int32_t *lengths; /* [stories] rows of each; they sum to `rows` */
    const int32_t *inputs;  /* [rows], story after story, no padding */
    const int32_t *targets; /* [rows], -1 where nothing is to be learned */
};

struct data_loader;

/* Starts at `start`, {0} for the beginning. A batch goes on over the end of an
 * epoch, so that every batch is full. STATUS_INVALID for a state that lies
 * outside the dataset (a checkpoint of other data). */
enum status data_loader_open(struct data_loader **loader, const struct dataset *dataset,
                             const struct data_loader_options *options,
                             struct data_loader_state start, struct error *err);
void data_loader_close(struct data_loader *loader); /* NULL is allowed */
const struct story_batch *data_loader_next(struct data_loader *loader);
/* From the next batch on, `share` of the rows (0 to 1, to the nearest story) come from
 * options.mix, which must not be NULL then. At the beginning the share is 0. */
void data_loader_set_mix(struct data_loader *loader, double share);
/* The state after the last batch handed out. */
struct data_loader_state data_loader_state(const struct data_loader *loader);

#endif
