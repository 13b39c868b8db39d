#include "base/rng.h"
#include "server/api/completion_request_internal.h"
#include "tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

/* Story i of a request has a seed of its own, with which it can be told again alone. */
static uint64_t seed_of(const struct api_request *request, int index) {
    return (request->sampling.seed + (uint64_t)index) & (uint64_t)API_MAX_SEED;
}

const struct prompt *telling_prompt(const struct completion_request *telling, int index) {
    return &telling->prompts[index / telling->request.n];
}

static void on_gap(void *metrics, uint64_t gap_ns, int tokens) {
    metrics_token_gap(metrics, gap_ns, tokens);
}

static enum status start_stories(struct completion_request *telling, struct metrics *metrics,
                                 void (*wake)(void *context, bool over), void *context,
                                 struct error *err) {
    const struct api_request *request = &telling->request;
    struct story_request wanted = {
        .max_tokens = request->max_tokens,
        .sampling = request->sampling,
        .logprobs = request->logprobs >= 0,
        .top_logprobs = request->logprobs >= 0 ? request->logprobs : 0,
        .prompt_logprobs = request->logprobs >= 0 && request->echo,
        .stop_count = request->stop_count,
        .every_token = request->stream,
        .on_news = wake,
        .context = context,
        .on_gap = metrics ? on_gap : NULL,
        .gap_context = metrics,
    };
    memcpy(wanted.stops, request->stops, sizeof wanted.stops);
    for (int i = 0; i < request->prompt_count * request->n; i++) {
        struct told *told = &telling->stories[i];
        const struct prompt *prompt = telling_prompt(telling, i);
        wanted.prompt = &prompt->ids;
        wanted.continues = story_continues(prompt->text, prompt->bytes);
        if (request->echo)
            told->offset = utf8_count(prompt->text, prompt->bytes);
        told->seed = wanted.sampling.seed = seed_of(request, i);
        enum status status = story_start(&told->story, telling->engine, &wanted, err);
        if (status != STATUS_OK)
            return status;
        telling->count = i + 1;
    }
    return STATUS_OK;
}

enum status completion_request_start(struct completion_request **out, struct engine *engine,
                                     struct metrics *metrics, struct api_request *request,
                                     enum answer_format form,
                                     void (*wake)(void *context, bool over), void *context,
                                     struct error *err) {
    struct completion_request *telling = calloc(1, sizeof *telling);
    if (!telling) {
        api_request_free(request);
        return error_set(err, STATUS_NO_MEMORY, "no memory for a story");
    }
    telling->engine = engine;
    telling->form = form;
    telling->request = *request;
    memset(request, 0, sizeof *request);
    telling->id = rng_entropy();
    telling->created = time(NULL);
    if (!telling->request.has_seed)
        telling->request.sampling.seed = rng_entropy() & (uint64_t)API_MAX_SEED;

    enum status status = STATUS_OK;
    if (form == ANSWER_TEXT && telling->request.stream && telling->request.n > 1)
        status = error_set_field(err, STATUS_INVALID, "n",
                                 "n must be 1 for a stream of plain text");
    for (int i = 0; i < telling->request.prompt_count && status == STATUS_OK; i++) {
        status = prompt_read(&telling->prompts[i], engine, &telling->request.prompts[i],
                             telling->request.truncate, err);
        telling->prompt_tokens += (int)telling->prompts[i].ids.count;
    }
    if (status == STATUS_OK)
        status = start_stories(telling, metrics, wake, context, err);
    if (status == STATUS_OK)
        *out = telling;
    else
        completion_request_free(telling);
    return status;
}

enum status completion_request_advance(struct completion_request *telling, bool *finished,
                                       struct error *err) {
    *finished = true;
    for (int i = 0; i < telling->count; i++) {
        struct told *told = &telling->stories[i];
        if (told->end != STORY_RUNNING)
            continue;
        enum status status = story_advance(told->story, &told->end, err);
        if (status == STATUS_OK && told->end == STORY_SHUTDOWN)
            status = error_set(err, STATUS_STOPPED,
                               "the server is shutting down; the story could not be finished");
        if (status != STATUS_OK)
            return status;
        if (told->end == STORY_RUNNING)
            *finished = false;
    }
    return STATUS_OK;
}

bool completion_request_streams(const struct completion_request *telling) {
    return telling->request.stream;
}

bool completion_request_pings(const struct completion_request *telling) {
    return telling->form == ANSWER_JSON;
}

const char *completion_request_content_type(const struct completion_request *telling) {
    if (telling->form == ANSWER_TEXT)
        return "text/plain; charset=utf-8";
    return telling->request.stream ? "text/event-stream; charset=utf-8" : "application/json";
}

struct completion_summary completion_request_summary(const struct completion_request *telling) {
    struct completion_summary summary = {.prompt_tokens = telling->prompt_tokens};
    for (int i = 0; i < telling->count; i++) {
        struct generation_usage usage = story_usage(telling->stories[i].story);
        struct generation_usage *most = &summary.usage;
        summary.completion_tokens += story_tokens(telling->stories[i].story);
        most->queued_ns = usage.queued_ns > most->queued_ns ? usage.queued_ns : most->queued_ns;
        most->prefill_ns =
            usage.prefill_ns > most->prefill_ns ? usage.prefill_ns : most->prefill_ns;
        most->decode_ns = usage.decode_ns > most->decode_ns ? usage.decode_ns : most->decode_ns;
    }
    summary.finish_reason = story_end_name(telling->count ? telling->stories[0].end
                                                          : STORY_CANCELLED);
    return summary;
}

void completion_request_record(const struct completion_request *telling, struct metrics *metrics) {
    for (int i = 0; i < telling->count; i++) {
        struct generation_usage usage = story_usage(telling->stories[i].story);
        metrics_story(metrics, telling->stories[i].end, &usage);
    }
}

void completion_request_cancel(struct completion_request *telling) {
    for (int i = 0; i < telling->count; i++)
        story_cancel(telling->stories[i].story);
}

void completion_request_free(struct completion_request *telling) {
    if (!telling)
        return;
    for (int i = 0; i < telling->count; i++)
        story_free(telling->stories[i].story);
    for (int i = 0; i < API_MAX_STORIES; i++)
        prompt_free(&telling->prompts[i]);
    api_request_free(&telling->request);
    free(telling);
}
