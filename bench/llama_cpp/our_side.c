#include "bench/llama_cpp/our_side.h"

#include "bench/load_generator.h"

#include <stdlib.h>

enum { STORIES_A_STREAM = 2 };

static enum status read_prompts(struct our_side *side, struct error *err) {
    side->prompts = calloc((size_t)side->stories, sizeof *side->prompts);
    if (!side->prompts)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the prompts");
    enum status status = STATUS_OK;
    for (int i = 0; i < side->stories && status == STATUS_OK; i++) {
        struct buffer text = {0};
        load_generator_write_prompt(&text, i);
        status = text.failed ? error_set(err, STATUS_NO_MEMORY, "no memory for a prompt")
                             : engine_read_prompt(&side->drafted, text.data, text.size, false,
                                                  &side->prompts[i], err);
        buffer_free(&text);
    }
    return status;
}

enum status our_side_open(struct our_side *side, const struct model *random, const char *model,
                          int streams, int threads, struct error *err) {
    struct scheduler_options options = {
        .slots = streams, .queue = streams, .threads = threads, .prefill_chunk = 64};
    *side = (struct our_side){.random = random, .stories = streams * STORIES_A_STREAM};
    enum status status = scheduler_create(&side->plain, random, &options, err);
    if (status != STATUS_OK || !model)
        return status;
    options.draft_choice = "auto";
    status = engine_open(&side->drafted, model, "int8", &options, err);
    if (status == STATUS_OK && !side->drafted.draft)
        status =
            error_set_field(err, STATUS_NOT_FOUND, "model", "there is no draft beside %s", model);
    return status == STATUS_OK ? read_prompts(side, err) : status;
}

static enum status run(struct scheduler *scheduler, const struct load *load, double *rate,
                       struct error *err) {
    struct load_result result;
    enum status status = load_run(scheduler, load, &result, err);
    *rate = status == STATUS_OK ? (double)result.tokens / result.seconds : 0;
    return status;
}

enum status our_side_run(struct our_side *side, const struct load *load, double *rate,
                         struct error *err) {
    return run(side->plain, load, rate, err);
}

enum status our_side_run_drafted(struct our_side *side, const struct load *load, double *rate,
                                 struct error *err) {
    struct load stories = *load;
    stories.stories = side->stories;
    stories.prompts = side->prompts;
    return run(side->drafted.scheduler, &stories, rate, err);
}

void our_side_close(struct our_side *side) {
    for (int i = 0; side->prompts && i < side->stories; i++)
        token_list_free(&side->prompts[i]);
    free(side->prompts);
    engine_close(&side->drafted);
    scheduler_destroy(side->plain);
}
