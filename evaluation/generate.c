#include "evaluation/generate.h"

#include "engine/best_of.h"
#include "engine/countdown.h"

#include <stdlib.h>
#include <string.h>

/* Starts candidate `index` of all prompts' candidates. */
static enum status start(struct engine *model, const struct generate_options *options, int index,
                         struct countdown *countdown, struct completion *completion,
                         struct error *err) {
    const char *prompt = options->prompts[index / options->best_of];
    struct token_list ids = {0};
    size_t bytes = strlen(prompt);
    struct completion_params params = {
        .request = {.max_tokens = options->max_tokens,
                    .sampling = sampling_defaults(),
                    .logprobs = true,
                    .on_output = countdown_on_output,
                    .context = countdown},
        .continues = completion_continues(prompt, bytes),
    };
    params.request.sampling.temperature = (float)GENERATE_TEMPERATURE;
    params.request.sampling.seed = best_of_seed(options->seed, index);
    enum status status = engine_read_prompt(model, prompt, bytes, false, &ids, err);
    params.request.prompt = ids.ids;
    params.request.prompt_count = (int)ids.count;
    if (status == STATUS_OK)
        status = completion_start(completion, model, &params, err);
    token_list_free(&ids);
    return status;
}

/* The best of a prompt's candidates, which have all ended. */
static enum status choose(struct completion *candidates, int count, uint64_t first_seed,
                          struct continuation *continuation, struct error *err) {
    double scores[BEST_OF_MAX];
    int ranking[BEST_OF_MAX];
    for (int i = 0; i < count; i++) {
        enum status status = completion_advance(&candidates[i], err);
        if (status != STATUS_OK)
            return status;
        scores[i] = best_of_score(&candidates[i]);
    }
    best_of_rank(scores, count, ranking);
    struct completion *best = &candidates[ranking[0]];
    *continuation = (struct continuation){.tokens = best->decoded,
                                          .score = scores[ranking[0]],
                                          .seed = best_of_seed(first_seed, ranking[0]),
                                          .finish = best->finish};
    buffer_append_text(&best->text, ""); /* so that there is memory where the text is empty */
    if (best->text.failed)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a continuation");
    continuation->text = buffer_release(&best->text);
    return STATUS_OK;
}

enum status generate(struct harness *harness, struct engine *model,
                     const struct generate_options *options, struct continuation *continuations,
                     struct error *err) {
    struct countdown countdown;
    int each = options->best_of, total = options->count * each, started = 0;
    struct completion *completions = calloc((size_t)total, sizeof *completions);
    enum status status = STATUS_OK;
    memset(continuations, 0, (size_t)options->count * sizeof *continuations);
    if (!completions)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %d continuations", total);
    countdown_init(&countdown);
    for (; started < total && status == STATUS_OK; started++) {
        countdown_await(&countdown, started - HARNESS_SLOTS + 1);
        harness_progress(harness, options->what, model->name, (size_t)started, (size_t)total);
        status = start(model, options, started, &countdown, &completions[started], err);
    }
    if (status == STATUS_OK)
        countdown_await(&countdown, total);
    for (int p = 0; p < options->count && status == STATUS_OK; p++)
        status = choose(&completions[p * each], each, best_of_seed(options->seed, p * each),
                        &continuations[p], err);
    for (int i = 0; i < total; i++)
        completion_free(&completions[i]);
    if (status != STATUS_OK)
        continuations_free(continuations, options->count);
    countdown_destroy(&countdown);
    free(completions);
    return status;
}

void continuations_free(struct continuation *continuations, int count) {
    for (int i = 0; i < count; i++)
        free(continuations[i].text);
    memset(continuations, 0, (size_t)count * sizeof *continuations);
}
