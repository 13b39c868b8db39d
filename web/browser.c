#include "web/browser.h"

#include "base/arena.h"
#include "engine/best_of.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Everything; zeroed until web_open(). */
static struct {
    struct engine engine;
    struct completion_params params; /* of the next story, */
    int best_of;                     /* and of how many it is to be the best */
    struct completion candidates[BEST_OF_MAX]; /* [count] of this story */
    int count, best; /* best: -1 until it is known */
    uint64_t seed;
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

/* ---- opening ------------------------------------------------------------------------ */

enum { SLOTS = 8 }; /* as many candidates as are generated together */

static void reset_settings(void) {
    web.best_of = 1;
    web.params = (struct completion_params){
        .request = {.max_tokens = INT32_MAX, .sampling = sampling_defaults()}};
}

const char *web_open(const void *bytes, size_t count) {
    static const struct scheduler_options options = {.slots = SLOTS,
                                                     .queue = BEST_OF_MAX - SLOTS,
                                                     .threads = 1,
                                                     .prefill_chunk = 64,
                                                     .stepped = true};
    reset_settings();
    return outcome(engine_open_packed(&web.engine, bytes, count, &options, &web.err));
}

const char *web_fingerprint(void) {
    return web.engine.fingerprint;
}

/* ---- what a story is to be like ------------------------------------------------------ */

static enum status set_whole(const char *name, double value, int *setting) {
    if (!(value >= INT32_MIN && value <= INT32_MAX) || value != floor(value))
        return error_set(&web.err, STATUS_INVALID, "%s must be a whole number, not %g", name,
                         value);
    *setting = (int)value;
    return STATUS_OK;
}

static enum status set_seed(double value) {
    if (!(value >= 0 && value <= (double)SAMPLING_SEED_MAX) || value != floor(value))
        return error_set(&web.err, STATUS_INVALID, "seed must be 0 to 2^53 - 1, not %g", value);
    web.params.request.sampling.seed = (uint64_t)value;
    return STATUS_OK;
}

static enum status set(const char *name, double value) {
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
        {"best_of", NULL, &web.best_of},
    };
    if (strcmp(name, "seed") == 0)
        return set_seed(value);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (strcmp(settings[i].name, name) != 0)
            continue;
        if (settings[i].whole)
            return set_whole(name, value, settings[i].whole);
        *settings[i].real = (float)value; /* sampling_check() knows its range */
        return STATUS_OK;
    }
    return error_set(&web.err, STATUS_INVALID, "there is no %s here", name);
}

const char *web_set(const char *name, double value) {
    enum status status = set(name, value);
    if (status != STATUS_OK)
        reset_settings();
    return outcome(status);
}

/* ---- a story -------------------------------------------------------------------------- */

static void forget_story(void) {
    for (int i = 0; i < BEST_OF_MAX; i++)
        completion_free(&web.candidates[i]);
    while (scheduler_step(web.engine.scheduler)) { /* what was cancelled leaves */
    }
    web.count = web.best = 0;
}

static enum status start(const char *prompt, size_t bytes, struct completion_params *params) {
    struct token_list ids;
    if (web.best_of < 1 || web.best_of > BEST_OF_MAX)
        return error_set(&web.err, STATUS_INVALID, "best_of must be 1 to %d, not %d", BEST_OF_MAX,
                         web.best_of);
    enum status status = engine_read_prompt(&web.engine, prompt, bytes, false, &ids, &web.err);
    if (status != STATUS_OK)
        return status;
    params->request.prompt = ids.ids;
    params->request.prompt_count = (int)ids.count;
    params->request.logprobs = web.best_of > 1;
    params->continues = completion_continues(prompt, bytes);
    params->capitals = true; /* as the server does for /generate */
    params->before = prompt;
    params->before_bytes = bytes;
    web.seed = params->request.sampling.seed;
    for (; web.count < web.best_of && status == STATUS_OK; web.count++) {
        params->request.sampling.seed = best_of_seed(web.seed, web.count);
        status = completion_start(&web.candidates[web.count], &web.engine, params, &web.err);
    }
    web.best = web.count > 1 ? -1 : 0;
    token_list_free(&ids);
    return status;
}

const char *web_start(const char *prompt, size_t bytes) {
    forget_story();
    enum status status = start(prompt, bytes, &web.params);
    if (status != STATUS_OK)
        forget_story(); /* those of its candidates that have started */
    reset_settings();
    return outcome(status);
}

static void find_best(void) {
    double scores[BEST_OF_MAX];
    int ranking[BEST_OF_MAX];
    for (int i = 0; i < web.count; i++)
        scores[i] = best_of_score(&web.candidates[i]);
    best_of_rank(scores, web.count, ranking);
    web.best = ranking[0];
}

const char *web_step(void) {
    enum status status = STATUS_OK;
    bool ended = true;
    scheduler_step(web.engine.scheduler);
    for (int i = 0; i < web.count && status == STATUS_OK; i++) {
        status = completion_advance(&web.candidates[i], &web.err);
        ended &= web.candidates[i].finish != FINISH_NONE;
    }
    if (status == STATUS_OK && ended && web.best < 0)
        find_best();
    return outcome(status);
}

const char *web_text(void) {
    size_t bytes;
    return web.best < 0 ? "" : completion_text(&web.candidates[web.best], &bytes);
}

size_t web_text_bytes(void) {
    size_t bytes = 0;
    if (web.best >= 0)
        completion_text(&web.candidates[web.best], &bytes);
    return bytes;
}

int web_tokens(void) {
    return web.best < 0 ? 0 : web.candidates[web.best].decoded;
}

double web_seed(void) {
    return (double)best_of_seed(web.seed, web.best < 0 ? 0 : web.best);
}

const char *web_finish(void) {
    return finish_reason_name(web.best < 0 ? FINISH_NONE : web.candidates[web.best].finish);
}
