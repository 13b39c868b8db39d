/* grow.h - a large model that begins as smaller ones standing side by side.
 *
 * Every source gets dimensions, heads and hidden units of its own in the larger
 * model; weights between them start at 0, and the head gives the mean of their
 * logits. So the large model begins where the mean of the small ones is, with
 * everything that connects them still to be learned. Layers that it has more
 * begin as copies that add nothing. Sources: Chen et al., "Net2Net", 2016;
 * Chen et al., "bert2BERT", 2022.
 *
 * It is not exact: what a layer norm divides by is shared by all that stand in
 * it, and a small model's sinusoids only have neighbors among the larger one's.
 * grow_calibrate() measures the first on a batch and corrects it on the mean.
 * Thread-safety: one caller per model; the sources are only read.
 */
#ifndef ALPACA_TRAIN_GROW_H
#define ALPACA_TRAIN_GROW_H

#include "base/status.h"
#include "model/batch.h"
#include "model/model.h"

struct pool;

enum { GROW_MAX_SOURCES = 8 };

/* Fills `model`; what no source has is random, determined by the seed. STATUS_INVALID when the
 * sources do not fit: vocab and positions have to be the same, layers equally many in all of them,
 * dimensions, heads and d_ff add up to at most the model's, and no head may be wider than its. */
enum status grow(struct model *model, const struct model *const *sources, int count,
                 uint64_t seed, struct error *err);

/* Sets the norms of a grown model so that on `batch`, of whole stories, each gives on the mean
 * what those of the sources give. */
enum status grow_calibrate(struct model *model, const struct model *const *sources, int count,
                           const struct batch *batch, struct pool *pool, struct error *err);

#endif
