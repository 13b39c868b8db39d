#include "evaluation/story_sample.h"

#include "base/rng.h"
#include "evaluation/generate.h"
#include "evaluation/stories.h"

#include <stdlib.h>
#include <string.h>

static enum status no_memory(size_t count, struct error *err) {
    return error_set(err, STATUS_NO_MEMORY, "no memory for %zu stories", count);
}

static enum status open_sample(struct story_sample *sample, const char *name, size_t count,
                               struct error *err) {
    *sample = (struct story_sample){.name = name};
    sample->stories.texts = calloc(count + 1, sizeof *sample->stories.texts);
    sample->stories.ended = calloc(count + 1, sizeof *sample->stories.ended);
    sample->ids = calloc(count + 1, sizeof *sample->ids);
    if (!sample->stories.texts || !sample->stories.ended || !sample->ids)
        return no_memory(count, err);
    sample->stories.count = count;
    return STATUS_OK;
}

void story_sample_free(struct story_sample *sample) {
    for (size_t i = 0; i < sample->stories.count; i++) {
        free(sample->stories.texts[i]);
        token_list_free(&sample->ids[i]);
    }
    free(sample->stories.texts);
    free(sample->stories.ended);
    free(sample->ids);
    *sample = (struct story_sample){0};
}

/* Takes the texts of continuations over. */
static enum status take(struct story_sample *sample, const struct tokenizer *tokenizer,
                        struct continuation *continuations, struct error *err) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < sample->stories.count && status == STATUS_OK; i++) {
        char *text = continuations[i].text;
        continuations[i].text = NULL;
        sample->stories.texts[i] = text;
        sample->stories.ended[i] = continuations[i].finish == FINISH_STOP;
        status = tokenizer_encode(tokenizer, text, strlen(text), &sample->ids[i], err);
    }
    return status;
}

enum status story_sample_generate(struct story_sample *sample, struct harness *harness, int model,
                                  int count, struct error *err) {
    struct engine *engine = &harness->models[model];
    struct continuation *continuations = calloc((size_t)count, sizeof *continuations);
    const char **prompts = calloc((size_t)count, sizeof *prompts);
    enum status status = open_sample(sample, engine->name, (size_t)count, err);
    const struct generate_options options = {.what = "texture",
                                             .prompts = prompts,
                                             .count = count,
                                             .seed = harness->options->seed,
                                             .best_of = 1,
                                             .max_tokens = engine->model->config.positions};
    if (!continuations || !prompts)
        status = no_memory((size_t)count, err);
    for (int i = 0; i < count && status == STATUS_OK; i++)
        prompts[i] = "";
    if (status == STATUS_OK)
        status = generate(harness, engine, &options, continuations, err);
    if (status == STATUS_OK) {
        status = take(sample, harness->models[0].tokenizer, continuations, err);
        continuations_free(continuations, count);
    }
    if (status != STATUS_OK)
        story_sample_free(sample);
    free(continuations);
    free(prompts);
    return status;
}

/* Story i of the sample becomes what the first model would have written of `text`. */
static enum status read_story(struct story_sample *sample, size_t i, const struct engine *engine,
                              const char *text, struct error *err) {
    struct token_list *ids = &sample->ids[i];
    size_t limit = (size_t)engine->model->config.positions - 1; /* bos has one */
    struct buffer decoded = {0};
    enum status status = tokenizer_encode(engine->tokenizer, text, strlen(text), ids, err);
    if (status != STATUS_OK)
        return status;
    sample->stories.ended[i] = ids->count < limit; /* its eos fits too */
    if (ids->count > limit)
        ids->count = limit;
    status = tokenizer_decode(engine->tokenizer, ids->ids, ids->count, &decoded, err);
    if (status == STATUS_OK && !buffer_append_text(&decoded, "")) /* which has memory, empty too */
        status = no_memory(1, err);
    if (status == STATUS_OK)
        sample->stories.texts[i] = buffer_release(&decoded);
    buffer_free(&decoded);
    return status;
}

enum status story_sample_read(struct story_sample *sample, const struct harness *harness,
                              const char *path, int count, struct error *err) {
    struct story_list list = {0};
    int32_t *order = NULL;
    enum status status = story_list_load(&list, path, err);
    size_t wanted = (size_t)count < list.count ? (size_t)count : list.count;
    if (status == STATUS_OK)
        status = open_sample(sample, "real stories", wanted, err);
    if (status == STATUS_OK && !(order = malloc((list.count + 1) * sizeof *order)))
        status = no_memory(list.count, err);
    if (status == STATUS_OK) {
        for (size_t i = 0; i < list.count; i++)
            order[i] = (int32_t)i;
        rng_shuffle(harness->options->seed, order, list.count);
    }
    for (size_t i = 0; i < wanted && status == STATUS_OK; i++)
        status = read_story(sample, i, &harness->models[0], list.texts[order[i]], err);
    if (status != STATUS_OK)
        story_sample_free(sample);
    free(order);
    story_list_free(&list);
    return status;
}
