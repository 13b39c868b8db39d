#include "web/browser.h"

#include "base/arena.h"
#include "engine/completion.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Everything; zeroed until web_open(). */
static struct {
    struct engine engine;
    struct completion_params params; /* of the next story */
    struct completion completion;
    struct error err;
} web;

static const char *outcome(enum status status) {
    return status == STATUS_OK ? NULL : web.err.message;
}

void *web_allocate(size_t bytes) {
    return aligned_alloc(ARENA_ALIGNMENT, (bytes + ARENA_ALIGNMENT) / ARENA_ALIGNMENT *
                                              ARENA_ALIGNMENT);
}

void web_free(void *memory) {
    free(memory);
}

static void forget_story(void) {
    completion_free(&web.completion);
    web.params = (struct completion_params){
        .request = {.max_tokens = INT32_MAX, .sampling = sampling_defaults()}};
}

const char *web_open(const void *bytes, size_t count) {
    static const struct scheduler_options options = {
        .slots = 1, .queue = 1, .threads = 1, .prefill_chunk = 64, .stepped = true};
    forget_story();
    return outcome(engine_open_packed(&web.engine, bytes, count, &options, &web.err));
}

const char *web_set(const char *name, double value) {
    struct sampling *s = &web.params.request.sampling;
    const struct {
        const char *name;
        float *real;
        int *whole;
    } settings[] = {
        {"temperature", &s->temperature, NULL},
        {"top_k", NULL, &s->top_k},
        {"top_p", &s->top_p, NULL},
        {"min_p", &s->min_p, NULL},
        {"repetition_penalty", &s->repetition_penalty, NULL},
        {"presence_penalty", &s->presence_penalty, NULL},
        {"frequency_penalty", &s->frequency_penalty, NULL},
        {"max_tokens", NULL, &web.params.request.max_tokens},
    };
    if (strcmp(name, "seed") == 0 && value >= 0 && value <= 0x1p53) {
        s->seed = (uint64_t)value;
        return NULL;
    }
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (strcmp(settings[i].name, name) != 0)
            continue;
        if (settings[i].real)
            *settings[i].real = (float)value;
        else if (value >= INT32_MIN && value <= INT32_MAX)
            *settings[i].whole = (int)value;
        else
            break;
        return NULL;
    }
    return outcome(error_set(&web.err, STATUS_INVALID, "%s cannot be %g", name, value));
}

const char *web_start(const char *prompt, size_t bytes) {
    struct token_list ids;
    struct completion_params params = web.params;
    forget_story();
    while (scheduler_step(web.engine.scheduler)) { /* a story that was stopped leaves */
    }
    enum status status = engine_read_prompt(&web.engine, prompt, bytes, false, &ids, &web.err);
    if (status != STATUS_OK)
        return outcome(status);
    params.request.prompt = ids.ids;
    params.request.prompt_count = (int)ids.count;
    params.continues = completion_continues(prompt, bytes);
    status = completion_start(&web.completion, &web.engine, &params, &web.err);
    token_list_free(&ids);
    return outcome(status);
}

const char *web_step(void) {
    scheduler_step(web.engine.scheduler);
    return outcome(completion_advance(&web.completion, &web.err));
}

const char *web_text(void) {
    size_t bytes;
    return completion_text(&web.completion, &bytes);
}

size_t web_text_bytes(void) {
    size_t bytes;
    completion_text(&web.completion, &bytes);
    return bytes;
}

int web_tokens(void) {
    return web.completion.decoded;
}

const char *web_finish(void) {
    return finish_reason_name(web.completion.finish);
}
