/* sample.h - a story from fp32 weights and no cache, every token by a new pass over the whole
 * story so far: slow, but it can leave out the causal mask, as this model's first server did by
 * mistake. Otherwise the stories are those of `alpaca-tell --numeric f32`.
 * Ownership: nothing is kept; everything is borrowed for the call. Thread-safety: one caller at a
 * time, the pool's user.
 */
#ifndef ALPACA_TRAIN_SAMPLE_H
#define ALPACA_TRAIN_SAMPLE_H

#include "base/buffer.h"
#include "base/pool.h"
#include "base/status.h"
#include "model/model.h"
#include "model/sampler.h"
#include "tokenizer/tokenizer.h"

#include <stdbool.h>

struct sample_options {
    const struct model *model;
    struct pool *pool;
    const struct tokenizer *tokenizer;
    const struct sampling *sampling;
    bool unmasked;
};

/* Appends the prompt, as the tokenizer reads it, and its continuation to *text. STATUS_INVALID: a
 * prompt that leaves no position for the story, or settings out of range. */
enum status sample_story(const struct sample_options *options, const char *prompt,
                         struct buffer *text, struct error *err);

#endif
