/* story_sample.h - sets of stories to compare: what a model writes from nothing, and real ones.
 *
 * All are as a model writes them: without capitals, and at most as long as it has positions for.
 *
 * Ownership: a sample owns its stories. One thread uses it.
 */
#ifndef ALPACA_EVALUATION_STORY_SAMPLE_H
#define ALPACA_EVALUATION_STORY_SAMPLE_H

#include "base/status.h"
#include "evaluation/harness.h"
#include "evaluation/texture.h"
#include "tokenizer/tokenizer.h"

#include <stddef.h>

/* Start from {0}. */
struct story_sample {
    const char *name; /* of the model; "real stories" */
    struct texture_stories stories;
    struct token_list *ids; /* [stories.count] by the first model's tokenizer, no bos, no eos */
};

/* `count` stories of model i, drawn by the harness's seed. */
enum status story_sample_generate(struct story_sample *sample, struct harness *harness, int model,
                                  int count, struct error *err);
/* `count` stories of a file, or as many as it has, drawn by the harness's seed. */
enum status story_sample_read(struct story_sample *sample, const struct harness *harness,
                              const char *path, int count, struct error *err);
void story_sample_free(struct story_sample *sample);

#endif
