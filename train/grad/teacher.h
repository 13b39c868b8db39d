/* teacher.h - earlier models whose predictions a new one learns from.
 *
 * With several models the prediction is the mean of their probabilities, which
 * is how an ensemble is distilled (Kim et al., "Pre-training under infinite
 * compute", 2025).
 * Ownership: owns its models. Uses the pool: one caller at a time; nothing is
 * allocated after teacher_open().
 */
#ifndef ALPACA_TRAIN_GRAD_TEACHER_H
#define ALPACA_TRAIN_GRAD_TEACHER_H

#include "base/status.h"
#include "model/forward.h"

#include <stddef.h>
#include <stdint.h>

struct teacher;

enum { TEACHER_MAX_MODELS = 16 };

struct teacher_options {
    const char *folders;   /* of models, with commas between */
    const char *tokenizer; /* their tokenizer.model has to be the same bytes as this file */
    const struct model_config *student;
    enum dtype dtype; /* what they run in (model/pack_weights.h) */
    int max_rows;     /* of a batch; 0: they do not run here (train/device.h) */
};
/* The options are not kept. */
enum status teacher_open(struct teacher **teacher, const struct teacher_options *options,
                         struct pool *pool, struct error *err);
void teacher_close(struct teacher *teacher); /* NULL is allowed */

/* Fills models[TEACHER_MAX_MODELS]; returns how many there are. */
int teacher_models(const struct teacher *teacher, const struct model **models);

/* A number that other weights hardly share. */
uint64_t teacher_hash(const struct teacher *teacher);

/* Runs the models over a batch, without dropout. */
void teacher_run(struct teacher *teacher, struct pool *pool, const struct batch *batch);
/* Probabilities [count, vocab] for rows first .. first + count - 1 of that batch, count at most
 * LOSS_CHUNK; valid until the next call. */
const float *teacher_probabilities(struct teacher *teacher, struct pool *pool, size_t first,
                                   size_t count);

#endif
