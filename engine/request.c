#include "base/clock.h"
#include "engine/request_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *finish_reason_name(enum finish_reason finish) {
    static const char *const names[FINISH_REASONS] = {"running", "stop", "length", "cancelled",
                                                      "shutdown"};
    return names[finish];
}

enum status request_create(struct request **out, const struct request_params *params,
                           int max_tokens, struct error *err) {
    size_t tokens = (size_t)params->prompt_count + (size_t)max_tokens;
    size_t logprobs = params->logprobs ? tokens : 0, biases = (size_t)params->sampling.bias_count;
    struct request *request = calloc(1, sizeof *request + tokens * sizeof(int32_t) +
                                            logprobs * sizeof(struct token_logprobs) +
                                            biases * sizeof(struct logit_bias));
    *out = NULL;
    if (!request)
        return error_set(err, STATUS_NO_MEMORY, "no memory for another story");
    atomic_init(&request->references, 2);
    pthread_mutex_init(&request->output_lock, NULL);
    request->on_output = params->on_output;
    request->context = params->context;
    request->submitted_ns = clock_now_ns();
    request->sampling = params->sampling;
    request->prompt_count = request->total = params->prompt_count;
    request->max_tokens = max_tokens;
    request->top_logprobs = params->top_logprobs;
    request->prompt_logprobs = params->logprobs && params->prompt_logprobs;
    struct token_logprobs *behind = (struct token_logprobs *)(void *)(request->tokens + tokens);
    if (params->logprobs) /* aligned: floats and ids behind ids */
        request->logprobs = behind;
    if (biases > 0)
        request->sampling.biases = memcpy(behind + logprobs, params->sampling.biases,
                                          biases * sizeof(struct logit_bias));
    memcpy(request->tokens, params->prompt, (size_t)params->prompt_count * sizeof(int32_t));
    *out = request;
    return STATUS_OK;
}

void request_drop(struct request *request) {
    /* acq_rel: whoever frees must have seen everything the other side did. */
    if (atomic_fetch_sub_explicit(&request->references, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&request->output_lock);
    free(request);
}

void request_emit(struct request *request, int accepted, int32_t token, enum finish_reason finish,
                  uint64_t now_ns) {
    uint64_t last_ns = atomic_load_explicit(&request->last_ns, memory_order_relaxed), gap_ns = 0;
    int count = accepted + (token >= 0);
    assert(!atomic_load(&request->finish));
    assert(request->total + count <= request->prompt_count + request->max_tokens);
    /* Also when the first thing the model says is eos, or it may say nothing. */
    if (request->total == request->prompt_count &&
        (count > 0 || finish == FINISH_STOP || finish == FINISH_LENGTH))
        atomic_store_explicit(&request->first_ns, now_ns, memory_order_release);
    if (token >= 0)
        request->tokens[request->total + accepted] = token;
    if (count > 0) {
        request->total += count;
        gap_ns = last_ns ? (now_ns - last_ns) / (uint64_t)count : 0; /* they came together */
        atomic_store_explicit(&request->last_ns, now_ns, memory_order_release);
        atomic_store_explicit(&request->published, request->total - request->prompt_count,
                              memory_order_release);
    }
    if (finish != FINISH_NONE)
        atomic_store_explicit(&request->finish, (int)finish, memory_order_release);

    int calls = finish != FINISH_NONE && token < 0 ? count + 1 : count;
    pthread_mutex_lock(&request->output_lock);
    for (int i = 1; i <= calls && request->on_output; i++)
        request->on_output(request->context, i == calls ? finish : FINISH_NONE,
                           i <= count ? gap_ns : 0);
    pthread_mutex_unlock(&request->output_lock);
}

struct request_output request_output(const struct request *request) {
    /* The reason first: once it is there, no token is published any more. */
    enum finish_reason finish = (enum finish_reason)atomic_load(&request->finish);
    return (struct request_output){.ids = request->tokens + request->prompt_count,
                                   .count = atomic_load(&request->published),
                                   .finish = finish};
}

const struct token_logprobs *request_logprobs(const struct request *request, int index) {
    return &request->logprobs[request->prompt_count + index];
}

const struct token_logprobs *request_prompt_logprobs(const struct request *request, int index) {
    assert(request->prompt_logprobs && index > 0 && index < request->prompt_count);
    return &request->logprobs[index];
}

void request_cancel(struct request *request) {
    atomic_store_explicit(&request->cancelled, true, memory_order_relaxed);
}

void request_detach(struct request *request) {
    pthread_mutex_lock(&request->output_lock); /* waits for a call under way */
    request->on_output = NULL;
    pthread_mutex_unlock(&request->output_lock);
}

struct request_usage request_usage(const struct request *request) {
    struct request_usage usage = {.prompt_tokens = request->prompt_count,
                                  .completion_tokens = atomic_load(&request->published)};
    uint64_t last_ns = atomic_load(&request->last_ns); /* in the opposite order of writing */
    uint64_t first_ns = atomic_load(&request->first_ns);
    uint64_t admitted_ns = atomic_load(&request->admitted_ns);
    if (admitted_ns) {
        usage.queued_ns = admitted_ns - request->submitted_ns;
        usage.cached_tokens = request->cached_tokens;
    }
    if (first_ns)
        usage.prefill_ns = first_ns - admitted_ns;
    if (last_ns)
        usage.decode_ns = last_ns - first_ns;
    return usage;
}

void request_release(struct request *request) {
    request_cancel(request);
    request_detach(request);
    request_drop(request);
}
