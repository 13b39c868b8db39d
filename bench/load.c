#include "bench/load.h"

#include "base/clock.h"
#include "base/rng.h"
#include "engine/countdown.h"

#include <stdlib.h>

static enum status draw_prompt(const struct load *load, uint64_t key, struct token_list *prompt,
                               struct error *err) {
    for (int i = 0; i < load->prompt_tokens; i++) {
        int32_t id = (int32_t)(4 + rng_bits(key, (uint64_t)i) % (uint64_t)(load->vocab - 4));
        if (!token_list_append(prompt, id))
            return error_set(err, STATUS_NO_MEMORY, "no memory for a prompt");
    }
    return STATUS_OK;
}

static enum status submit(struct scheduler *scheduler, const struct load *load, int index,
                          struct countdown *countdown, struct request **request,
                          struct error *err) {
    struct token_list drawn = {0};
    uint64_t key = rng_derive(load->seed, (uint64_t)index);
    enum status status = load->prompts ? STATUS_OK : draw_prompt(load, key, &drawn, err);
    const struct token_list *prompt = load->prompts ? &load->prompts[index] : &drawn;
    struct request_params params = {.prompt = prompt->ids,
                                    .prompt_count = (int)prompt->count,
                                    .max_tokens = load->new_tokens,
                                    .sampling = sampling_defaults(),
                                    .on_output = countdown_on_output,
                                    .context = countdown};
    params.sampling.temperature = load->temperature;
    params.sampling.seed = key;
    if (status == STATUS_OK)
        status = scheduler_submit(scheduler, &params, request, err);
    token_list_free(&drawn);
    return status;
}

enum status load_run(struct scheduler *scheduler, const struct load *load,
                     struct load_result *result, struct error *err) {
    struct countdown countdown;
    struct request **requests = calloc((size_t)load->stories, sizeof *requests);
    enum status status = STATUS_OK;
    *result = (struct load_result){0};
    if (!requests)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %d stories", load->stories);
    countdown_init(&countdown);

    double start = clock_seconds();
    int submitted = 0;
    for (; submitted < load->stories && status == STATUS_OK; submitted++) {
        countdown_await(&countdown, submitted - load->streams + 1);
        status = submit(scheduler, load, submitted, &countdown, &requests[submitted], err);
    }
    if (status == STATUS_OK)
        countdown_await(&countdown, load->stories);
    result->seconds = clock_seconds() - start;

    for (int i = 0; i < submitted; i++) {
        if (!requests[i])
            continue;
        struct request_usage usage = request_usage(requests[i]);
        result->tokens += (uint64_t)usage.completion_tokens;
        result->first_token_s +=
            (double)(usage.queued_ns + usage.prefill_ns) * 1e-9 / load->stories;
        request_release(requests[i]);
    }
    countdown_destroy(&countdown);
    free(requests);
    return status;
}
