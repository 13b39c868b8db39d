#include "base/rng.h"
#include "engine/best_of.h"
#include "server/api/completion_request_internal.h"
#include "tokenizer/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool completion_request_compares(const struct completion_request *request) {
    return request->per_prompt > request->api.n;
}

int completion_request_choices(const struct completion_request *request) {
    return request->api.prompt_count * request->api.n;
}

const struct prompt *completion_request_prompt(const struct completion_request *request,
                                               int index) {
    return &request->prompts[index / request->api.n];
}

struct choice *completion_request_choice(struct completion_request *request, int index) {
    int prompt = index / request->api.n;
    int candidate = request->ranked[prompt * request->per_prompt + index % request->api.n];
    bool certain = request->compared[prompt] || !completion_request_compares(request);
    return certain && candidate < request->started ? &request->candidates[candidate] : NULL;
}

/* /v1/completions promises what OpenAI does. */
static double score_of(const struct completion_request *request, int candidate) {
    const struct completion *completion = &request->candidates[candidate].completion;
    return request->api.dialect == API_COMPLETIONS ? best_of_likelihood(completion)
                                                   : best_of_score(completion);
}

/* Compares the candidates of each prompt whose last one has ended. */
static void compare(struct completion_request *request) {
    double scores[API_MAX_STORIES];
    int count = request->per_prompt;
    for (int p = 0; p < request->api.prompt_count; p++) {
        int first = p * count, ended = 0;
        for (int i = 0; i < count && first + i < request->started; i++)
            ended += request->candidates[first + i].completion.finish != FINISH_NONE;
        if (request->compared[p] || ended < count)
            continue;
        for (int i = 0; i < count; i++)
            scores[i] = score_of(request, first + i);
        best_of_rank(scores, count, request->ranked + first);
        for (int i = 0; i < count; i++)
            request->ranked[first + i] += first;
        request->compared[p] = true;
    }
}

/* On the scheduler's thread. A stop string ends a choice early, so its text is looked at as it
 * comes. */
static void on_output(void *context, enum finish_reason finish, uint64_t gap_ns) {
    const struct completion_request *request = context;
    if (gap_ns && request->host.metrics)
        metrics_token_gap(request->host.metrics, gap_ns);
    bool streams = request->api.stream && !completion_request_compares(request);
    if (finish != FINISH_NONE || streams || request->api.stop_count > 0)
        request->host.wake(request->host.context, finish != FINISH_NONE);
}

/* Starts the next candidate. */
static enum status start_candidate(struct completion_request *request, enum queue_share share,
                                   struct error *err) {
    const struct api_request *api = &request->api;
    int index = request->started;
    struct choice *choice = &request->candidates[index];
    const struct prompt *prompt = &request->prompts[index / request->per_prompt];
    struct completion_params params = {
        .request = {.prompt = prompt->ids.ids,
                    .prompt_count = (int)prompt->ids.count,
                    .max_tokens = api->max_tokens,
                    .sampling = api->sampling,
                    .queue_share = share,
                    .to_follow = index == 0 ? request->count - 1 : 0,
                    .announced = index > 0,
                    .logprobs = api->logprobs >= 0 || completion_request_compares(request),
                    .top_logprobs = api->logprobs >= 0 ? api->logprobs : 0,
                    .prompt_logprobs = answer_lists_prompt(request),
                    .on_output = on_output,
                    .context = request},
        .continues = completion_continues(prompt->text, prompt->bytes),
        .capitals = api->capitals,
        .before = prompt->text,
        .before_bytes = prompt->bytes,
        .stop_count = api->stop_count,
    };
    memcpy(params.stops, api->stops, sizeof params.stops);
    if (api->echo)
        choice->offset = utf8_count(prompt->text, prompt->bytes);
    /* Each has a seed of its own, which gives the same completion again alone. */
    choice->seed = best_of_seed(api->sampling.seed, index);
    params.request.sampling.seed = choice->seed;
    enum status status = completion_start(&choice->completion, request->host.engine, &params, err);
    if (status != STATUS_OK)
        return status;
    request->started = index + 1;
    if (request->cancelled)
        request_cancel(choice->completion.request);
    return STATUS_OK;
}

/* Starts as many candidates as there is room for, `running` others of them being there already. One
 * always is, so that its end wakes the request for the next. */
static enum status start_more(struct completion_request *request, int running, struct error *err) {
    struct scheduler *scheduler = request->host.engine->scheduler;
    enum status status = STATUS_OK;
    while (request->started < request->count && !request->cancelled && status == STATUS_OK &&
           (running == 0 || scheduler_has_room(scheduler, QUEUE_HALF))) {
        status = start_candidate(request, running > 0 ? QUEUE_HALF : QUEUE_BEYOND, err);
        running++;
    }
    return status == STATUS_BUSY ? STATUS_OK : status;
}

enum status completion_request_start(struct completion_request **out,
                                     const struct completion_host *host, struct api_request *api,
                                     enum answer_format format, struct error *err) {
    int per_prompt = api->best_of > api->n ? api->best_of : api->n;
    size_t candidates = (size_t)api->prompt_count * (size_t)per_prompt;
    struct completion_request *request =
        calloc(1, sizeof *request + candidates * sizeof *request->candidates +
                      (size_t)api->prompt_count * sizeof *request->prompts);
    if (!request) {
        api_request_free(api);
        return error_set(err, STATUS_NO_MEMORY, "no memory for a completion");
    }
    request->host = *host;
    request->format = format;
    request->api = *api;
    memset(api, 0, sizeof *api);
    request->count = (int)candidates;
    request->per_prompt = per_prompt;
    for (int i = 0; i < request->count; i++)
        request->ranked[i] = i;
    request->prompts = (struct prompt *)(void *)(request->candidates + candidates);
    request->id = rng_entropy();
    request->created = time(NULL);
    if (!request->api.has_seed)
        request->api.sampling.seed = rng_entropy() & SAMPLING_SEED_MAX;

    enum status status = STATUS_OK;
    if (format == ANSWER_TEXT && request->api.stream && request->api.n > 1)
        status = error_set_field(err, STATUS_INVALID, "n",
                                 "n must be 1 for a stream of plain text");
    for (int i = 0; i < request->api.prompt_count && status == STATUS_OK; i++) {
        status = prompt_read(&request->prompts[i], host->engine, &request->api.prompts[i],
                             request->api.truncate, err);
        request->prompt_tokens += (int)request->prompts[i].ids.count;
    }
    if (status == STATUS_INVALID && request->api.dialect == API_CHAT && err)
        snprintf(err->field, sizeof err->field, "messages"); /* where its prompt came from */
    if (status == STATUS_OK)
        status = start_candidate(request, QUEUE_ALL, err);
    if (status == STATUS_OK)
        status = start_more(request, 1, err);
    if (status == STATUS_OK)
        *out = request;
    else
        completion_request_free(request);
    return status;
}

enum status completion_request_advance(struct completion_request *request, bool *finished,
                                       struct error *err) {
    int running = 0;
    for (int i = 0; i < request->started; i++) {
        struct completion *completion = &request->candidates[i].completion;
        if (completion->finish != FINISH_NONE)
            continue;
        enum status status = completion_advance(completion, err);
        if (status == STATUS_OK && completion->finish == FINISH_SHUTDOWN)
            status = error_set(err, STATUS_STOPPED,
                               "the server is shutting down; the story could not be finished");
        if (status != STATUS_OK)
            return status;
        running += completion->finish == FINISH_NONE;
    }
    if (completion_request_compares(request))
        compare(request);
    *finished = running == 0 && request->started == request->count;
    return start_more(request, running, err);
}

bool completion_request_streams(const struct completion_request *request) {
    return request->api.stream;
}

const char *completion_request_content_type(const struct completion_request *request) {
    if (request->format == ANSWER_TEXT)
        return "text/plain; charset=utf-8";
    return request->api.stream ? "text/event-stream; charset=utf-8" : "application/json";
}

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

struct completion_summary completion_request_summary(const struct completion_request *request) {
    const struct choice *first = &request->candidates[request->ranked[0]];
    struct completion_summary summary = {.prompt_tokens = request->prompt_tokens,
                                         .finish = first->completion.finish};
    struct request_usage *most = &summary.usage;
    for (int i = 0; i < request->started; i++) {
        const struct completion *completion = &request->candidates[i].completion;
        struct request_usage usage = request_usage(completion->request);
        summary.completion_tokens += completion->decoded;
        if (i % request->per_prompt == 0) /* the first of a prompt's candidates has read it */
            most->cached_tokens += usage.cached_tokens;
        most->queued_ns = larger(most->queued_ns, usage.queued_ns);
        most->prefill_ns = larger(most->prefill_ns, usage.prefill_ns);
        most->decode_ns = larger(most->decode_ns, usage.decode_ns);
    }
    return summary;
}

void completion_request_end(struct completion_request *request) {
    completion_request_cancel(request);
    for (int i = 0; i < request->started; i++) {
        struct completion *completion = &request->candidates[i].completion;
        struct request_usage usage = request_usage(completion->request);
        if (completion->finish == FINISH_NONE)
            completion->finish = FINISH_CANCELLED;
        metrics_completion(request->host.metrics, completion->finish, &usage);
    }
}

void completion_request_cancel(struct completion_request *request) {
    request->cancelled = true;
    for (int i = 0; i < request->started; i++)
        request_cancel(request->candidates[i].completion.request);
}

void completion_request_free(struct completion_request *request) {
    if (!request)
        return;
    if (request->started > 0 && request->started < request->count)
        scheduler_retract(request->host.engine->scheduler, request->count - request->started);
    for (int i = 0; i < request->started; i++)
        completion_free(&request->candidates[i].completion);
    for (int i = 0; i < request->api.prompt_count; i++)
        prompt_free(&request->prompts[i]);
    api_request_free(&request->api);
    free(request);
}
