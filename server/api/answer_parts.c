#include "server/api/completion_request_internal.h"
#include "server/api/json.h"
#include "tokenizer/utf8.h"

#include <inttypes.h>

void answer_write_usage(const struct completion_request *request, struct buffer *out) {
    struct completion_summary summary = completion_request_summary(request);
    buffer_printf(out, "\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,"
                       "\"total_tokens\":%d,\"prompt_tokens_details\":{\"cached_tokens\":%d}}",
                  summary.prompt_tokens, summary.completion_tokens,
                  summary.prompt_tokens + summary.completion_tokens, summary.usage.cached_tokens);
}

static void write_timings(const struct completion_request *request, struct buffer *out) {
    struct completion_summary summary = completion_request_summary(request);
    double generating_ns = (double)(summary.usage.prefill_ns + summary.usage.decode_ns);
    buffer_printf(out, "\"timings\":{\"queue_ms\":%.3f,\"prefill_ms\":%.3f,\"decode_ms\":%.3f,"
                       "\"tokens_per_second\":%.1f}",
                  (double)summary.usage.queued_ns / 1e6, (double)summary.usage.prefill_ns / 1e6,
                  (double)summary.usage.decode_ns / 1e6,
                  generating_ns > 0 ? 1e9 * summary.completion_tokens / generating_ns : 0.0);
}

static void write_model(const struct completion_request *request, struct buffer *out) {
    buffer_append_text(out, "\"model\":");
    json_append_text(out, request->host.engine->name);
    buffer_append_text(out, ",\"system_fingerprint\":");
    json_append_text(out, request->host.engine->fingerprint);
}

void answer_write_sums(const struct completion_request *request, struct buffer *out) {
    write_model(request, out);
    buffer_append_text(out, ",");
    answer_write_usage(request, out);
    buffer_append_text(out, ",");
    write_timings(request, out);
}

void answer_write_completion_head(const struct completion_request *request, struct buffer *out) {
    bool chat = request->api.dialect == API_CHAT;
    buffer_printf(out, "{\"id\":\"%s-%016" PRIx64 "\",\"object\":\"%s\",\"created\":%lld,",
                  chat ? "chatcmpl" : "cmpl", request->id,
                  !chat                 ? "text_completion"
                  : request->api.stream ? "chat.completion.chunk"
                                        : "chat.completion",
                  (long long)request->created);
    write_model(request, out);
    buffer_append_text(out, ",\"choices\":[");
}

bool answer_wants_logprobs(const struct completion_request *request) {
    return request->api.logprobs >= 0;
}

bool answer_lists_prompt(const struct completion_request *request) {
    return answer_wants_logprobs(request) && request->api.dialect == API_COMPLETIONS &&
           request->api.echo;
}

struct logprobs answer_new_lists(const struct completion_request *request) {
    return (struct logprobs){.tokenizer = request->host.engine->tokenizer,
                             .top = request->api.logprobs,
                             .chat = request->api.dialect == API_CHAT};
}

void answer_list_tokens(struct choice *choice, struct logprobs *lists) {
    const char *text = choice->completion.text.data; /* as long as the one that was answered */
    for (int end = completion_listed(&choice->completion); choice->listed < end; choice->listed++) {
        struct completion_token token = choice->completion.tokens[choice->listed];
        choice->offset += utf8_count(text + choice->list_at, token.begins - choice->list_at);
        choice->list_at = token.begins;
        logprobs_add(lists, &token, choice->offset);
    }
}

static void write_chat_text(const struct answer_choice *choice, struct buffer *out) {
    static const char *const heads[] = {
        [ANSWER_WHOLE] = "\"message\":{\"role\":\"assistant\",\"refusal\":null,\"content\":",
        [ANSWER_FIRST] = "\"delta\":{\"role\":\"assistant\",\"content\":",
        [ANSWER_NEXT] = "\"delta\":{\"content\":",
        [ANSWER_LAST] = "\"delta\":{", /* and no text */
    };
    buffer_append_text(out, heads[choice->part]);
    if (choice->part != ANSWER_LAST)
        json_append_bytes(out, choice->text, choice->bytes);
    buffer_append_text(out, "}");
}

void answer_write_choice(const struct completion_request *request,
                         const struct answer_choice *choice, struct buffer *out) {
    buffer_printf(out, "{\"index\":%d,", choice->index);
    if (request->api.dialect == API_CHAT) {
        write_chat_text(choice, out);
    } else {
        buffer_append_text(out, "\"text\":");
        json_append_bytes(out, choice->text, choice->bytes);
    }
    buffer_append_text(out, ",\"logprobs\":");
    if (choice->lists)
        logprobs_write(choice->lists, out);
    else
        buffer_append_text(out, "null");
    if (choice->ended)
        buffer_printf(out, ",\"finish_reason\":\"%s\",\"seed\":%" PRIu64 "}",
                      finish_reason_name(choice->ended->completion.finish), choice->ended->seed);
    else
        buffer_append_text(out, ",\"finish_reason\":null}");
}
