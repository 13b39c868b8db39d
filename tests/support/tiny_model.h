/* tiny_model.h - a model and stories small enough to train in milliseconds.
 *
 * Everything is determined by its seed. Failures to allocate end the program.
 * Ownership: the caller frees what it gets. One thread at a time.
 */
#ifndef ALPACA_TESTS_SUPPORT_TINY_MODEL_H
#define ALPACA_TESTS_SUPPORT_TINY_MODEL_H

#include "model/model.h"
#include "train/data/dataset.h"

#include <stdint.h>

enum { TINY_VOCAB = 29, TINY_POSITIONS = 24 };

/* Two layers, two heads, d_model 16. */
struct model_config tiny_config(void);
struct model *tiny_model(const struct model_config *config, uint64_t seed);

/* `stories` stories of 2 to TINY_POSITIONS random ids, where each id depends on the one before
 * it, so that there is something to learn. Free with dataset_free(). */
struct dataset tiny_dataset(size_t stories, uint64_t seed);

/* All stories of a dataset as one batch; free with tiny_batch_free(). */
struct story_batch tiny_batch(const struct dataset *dataset);
void tiny_batch_free(struct story_batch *batch);

/* ||a - b|| / ||b|| */
double relative_difference(const float *a, const float *b, size_t count);

#endif
