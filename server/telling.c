#include "server/telling.h"

#include "base/rng.h"
#include "server/errors.h"
#include "server/json.h"
#include "server/logprobs.h"
#include "server/prompt.h"
#include "tokenizer/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct told {
    struct story *story;
    uint64_t seed;
    enum story_end end;
    size_t sent;      /* bytes of the completion that went into the stream */
    int listed;       /* tokens whose log-probabilities went into the answer, ... */
    size_t list_at;   /* ... where in the completion the last of them begins ... */
    size_t offset;    /* ... and at which character of the answer's text that is */
    bool echoed, end_sent;
};

struct telling {
    struct storyteller *teller;
    struct api_request request;
    enum telling_form form;
    struct prompt prompts[API_MAX_STORIES]; /* of request.n stories each, in their order */
    int prompt_tokens;                      /* of all of them */
    struct told stories[API_MAX_STORIES];
    int count;
    bool opened, closed; /* the stream's first and last event are out */
    uint64_t id;         /* of an OpenAI completion */
    time_t created;
};

/* Story i of a request has a seed of its own, with which it can be told again alone. */
static uint64_t seed_of(const struct api_request *request, int index) {
    return (request->seed + (uint64_t)index) & (uint64_t)API_MAX_SEED;
}

static const struct prompt *prompt_of(const struct telling *telling, int index) {
    return &telling->prompts[index / telling->request.n];
}

static void on_gap(void *metrics, uint64_t gap_ns, int tokens) {
    metrics_token_gap(metrics, gap_ns, tokens);
}

static enum status start_stories(struct telling *telling, struct metrics *metrics,
                                 void (*wake)(void *context, bool over), void *context,
                                 struct error *err) {
    const struct api_request *request = &telling->request;
    struct story_request wanted = {
        .max_tokens = request->max_tokens,
        .sampling = api_request_sampling(request),
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
        const struct prompt *prompt = prompt_of(telling, i);
        wanted.prompt = &prompt->ids;
        wanted.continues = story_continues(prompt->text, prompt->bytes);
        if (request->echo)
            told->offset = utf8_count(prompt->text, prompt->bytes);
        told->seed = wanted.sampling.seed = seed_of(request, i);
        enum status status = story_start(&told->story, telling->teller, &wanted, err);
        if (status != STATUS_OK)
            return status;
        telling->count = i + 1;
    }
    return STATUS_OK;
}

enum status telling_start(struct telling **out, struct storyteller *teller,
                          struct metrics *metrics, struct api_request *request,
                          enum telling_form form,
                          void (*wake)(void *context, bool over), void *context,
                          struct error *err) {
    struct telling *telling = calloc(1, sizeof *telling);
    if (!telling) {
        api_request_free(request);
        return error_set(err, STATUS_NO_MEMORY, "no memory for a story");
    }
    telling->teller = teller;
    telling->form = form;
    telling->request = *request;
    memset(request, 0, sizeof *request);
    telling->id = rng_entropy();
    telling->created = time(NULL);
    if (!telling->request.has_seed)
        telling->request.seed = rng_entropy() & (uint64_t)API_MAX_SEED;

    enum status status = STATUS_OK;
    if (form == TELLING_TEXT && telling->request.stream && telling->request.n > 1)
        status = error_set_field(err, STATUS_INVALID, "n",
                                 "n must be 1 for a stream of plain text");
    for (int i = 0; i < telling->request.prompt_count && status == STATUS_OK; i++) {
        status = prompt_read(&telling->prompts[i], teller, &telling->request.prompts[i],
                             telling->request.truncate, err);
        telling->prompt_tokens += (int)telling->prompts[i].ids.count;
    }
    if (status == STATUS_OK)
        status = start_stories(telling, metrics, wake, context, err);
    if (status == STATUS_OK)
        *out = telling;
    else
        telling_free(telling);
    return status;
}

enum status telling_advance(struct telling *telling, bool *finished, struct error *err) {
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

bool telling_streams(const struct telling *telling) {
    return telling->request.stream;
}

bool telling_pings(const struct telling *telling) {
    return telling->form == TELLING_JSON;
}

const char *telling_content_type(const struct telling *telling) {
    if (telling->form == TELLING_TEXT)
        return "text/plain; charset=utf-8";
    return telling->request.stream ? "text/event-stream; charset=utf-8" : "application/json";
}

struct telling_summary telling_summary(const struct telling *telling) {
    struct telling_summary summary = {.prompt_tokens = telling->prompt_tokens};
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

void telling_record(const struct telling *telling, struct metrics *metrics) {
    for (int i = 0; i < telling->count; i++) {
        struct generation_usage usage = story_usage(telling->stories[i].story);
        metrics_story(metrics, telling->stories[i].end, &usage);
    }
}

/* ---- pieces of answers -------------------------------------------------- */

static void write_usage(const struct telling *telling, struct buffer *out) {
    struct telling_summary summary = telling_summary(telling);
    buffer_printf(out, "\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,"
                       "\"total_tokens\":%d}",
                  summary.prompt_tokens, summary.completion_tokens,
                  summary.prompt_tokens + summary.completion_tokens);
}

static void write_timings(const struct telling *telling, struct buffer *out) {
    struct telling_summary summary = telling_summary(telling);
    double told_ns = (double)(summary.usage.prefill_ns + summary.usage.decode_ns);
    buffer_printf(out, "\"timings\":{\"queue_ms\":%.3f,\"prefill_ms\":%.3f,\"decode_ms\":%.3f,"
                       "\"tokens_per_second\":%.1f}",
                  (double)summary.usage.queued_ns / 1e6, (double)summary.usage.prefill_ns / 1e6,
                  (double)summary.usage.decode_ns / 1e6,
                  told_ns > 0 ? 1e9 * summary.completion_tokens / told_ns : 0.0);
}

static void write_model(const struct telling *telling, struct buffer *out) {
    buffer_append_text(out, "\"model\":");
    json_append_text(out, telling->teller->name);
}

/* "story":…,"completion":…,"finish_reason":…,"seed":… The story is the prompt exactly as it was
 * sent: decoding its tokens would fold its case. */
static void write_story(const struct telling *telling, const struct told *told,
                        struct buffer *out) {
    struct buffer story = {0};
    size_t bytes;
    const char *completion = story_text(told->story, &bytes);
    buffer_append(&story, telling->prompts[0].text, telling->prompts[0].bytes);
    buffer_append(&story, completion, bytes);
    buffer_append_text(out, "\"story\":");
    json_append_bytes(out, story.data ? story.data : "", story.size);
    buffer_append_text(out, ",\"completion\":");
    json_append_bytes(out, completion, bytes);
    buffer_printf(out, ",\"finish_reason\":\"%s\",\"seed\":%" PRIu64, story_end_name(told->end),
                  told->seed);
    out->failed |= story.failed;
    buffer_free(&story);
}

static void write_generate(const struct telling *telling, struct buffer *out) {
    buffer_append_text(out, "{");
    write_story(telling, &telling->stories[0], out);
    if (telling->count > 1) {
        for (int i = 0; i < telling->count; i++) {
            buffer_append_text(out, i ? "},{" : ",\"stories\":[{");
            write_story(telling, &telling->stories[i], out);
        }
        buffer_append_text(out, "}]");
    }
    buffer_append_text(out, ",");
    write_model(telling, out);
    buffer_append_text(out, ",");
    write_usage(telling, out);
    buffer_append_text(out, ",");
    write_timings(telling, out);
    buffer_append_text(out, "}\n");
}

/* Up to the choices: what every object of a completion begins with. */
static void write_completion_head(const struct telling *telling, struct buffer *out) {
    buffer_printf(out, "{\"id\":\"cmpl-%016" PRIx64 "\",\"object\":\"text_completion\","
                       "\"created\":%lld,",
                  telling->id, (long long)telling->created);
    write_model(telling, out);
    buffer_append_text(out, ",\"choices\":[");
}

static bool wants_lists(const struct telling *telling) {
    return telling->request.logprobs >= 0;
}

static struct logprobs new_lists(const struct telling *telling) {
    return (struct logprobs){.tokenizer = telling->teller->tokenizer,
                             .top = telling->request.logprobs};
}

/* The tokens of a story that its part of the answer so far does not list. */
static void list_news(struct told *told, struct logprobs *lists) {
    size_t bytes;
    const char *text = story_text(told->story, &bytes);
    for (int end = story_listed(told->story); told->listed < end; told->listed++) {
        struct story_token token = story_token(told->story, told->listed);
        told->offset += utf8_count(text + told->list_at, token.begins - told->list_at);
        told->list_at = token.begins;
        logprobs_add(lists, &token, told->offset);
    }
}

/* Takes over *lists; NULL is null. */
static void write_choice(int index, const char *text, size_t bytes, struct logprobs *lists,
                         const char *finish_reason, struct buffer *out) {
    buffer_printf(out, "{\"index\":%d,\"text\":", index);
    json_append_bytes(out, text, bytes);
    buffer_append_text(out, ",\"logprobs\":");
    if (lists)
        logprobs_write(lists, out);
    else
        buffer_append_text(out, "null");
    buffer_append_text(out, ",\"finish_reason\":");
    if (finish_reason)
        json_append_text(out, finish_reason);
    else
        buffer_append_text(out, "null");
    buffer_append_text(out, "}");
}

static void write_whole_choice(struct telling *telling, int index, struct buffer *out) {
    struct told *told = &telling->stories[index];
    const struct prompt *prompt = prompt_of(telling, index);
    struct logprobs lists = new_lists(telling);
    struct buffer text = {0};
    size_t bytes;
    const char *completion = story_text(told->story, &bytes);
    if (telling->request.echo)
        buffer_append(&text, prompt->text, prompt->bytes);
    buffer_append(&text, completion, bytes);
    if (wants_lists(telling) && telling->request.echo)
        logprobs_add_prompt(&lists, prompt, told->story);
    if (wants_lists(telling))
        list_news(told, &lists);
    write_choice(index, text.data ? text.data : "", text.size,
                 wants_lists(telling) ? &lists : NULL, story_end_name(told->end), out);
    out->failed |= text.failed;
    buffer_free(&text);
}

static void write_completions(struct telling *telling, struct buffer *out) {
    write_completion_head(telling, out);
    for (int i = 0; i < telling->count; i++) {
        buffer_append_text(out, i ? "," : "");
        write_whole_choice(telling, i, out);
    }
    buffer_printf(out, "],\"seed\":%" PRIu64 ",", telling->request.seed);
    write_usage(telling, out);
    buffer_append_text(out, "}\n");
}

static void write_plain(const struct telling *telling, struct buffer *out) {
    for (int i = 0; i < telling->count; i++) {
        size_t bytes;
        const char *completion = story_text(telling->stories[i].story, &bytes);
        buffer_append_text(out, i ? "\n" : "");
        buffer_append(out, telling->prompts[0].text, telling->prompts[0].bytes);
        buffer_append(out, completion, bytes);
        buffer_append_text(out, "\n");
    }
}

void telling_write_answer(struct telling *telling, struct buffer *out) {
    if (telling->form == TELLING_TEXT)
        write_plain(telling, out);
    else if (telling->request.dialect == API_COMPLETIONS)
        write_completions(telling, out);
    else
        write_generate(telling, out);
}

/* ---- streams ------------------------------------------------------------ */

static void event_begin(struct buffer *out) {
    buffer_append_text(out, "data: ");
}

static void event_end(struct buffer *out) {
    buffer_append_text(out, "\n\n");
}

/* Our own events: {"text":…}, with "index" when there are several stories. Takes over *lists. */
static void write_text_event(const struct telling *telling, int index, const char *text,
                             size_t bytes, struct logprobs *lists, struct buffer *out) {
    event_begin(out);
    if (telling->request.dialect == API_COMPLETIONS) {
        write_completion_head(telling, out);
        write_choice(index, text, bytes, lists, NULL, out);
        buffer_append_text(out, telling->request.include_usage ? "],\"usage\":null}" : "]}");
    } else {
        buffer_append_text(out, "{");
        if (telling->count > 1)
            buffer_printf(out, "\"index\":%d,", index);
        buffer_append_text(out, "\"text\":");
        json_append_bytes(out, text, bytes);
        buffer_append_text(out, "}");
    }
    event_end(out);
}

static void write_end_event(struct telling *telling, int index, struct buffer *out) {
    struct told *told = &telling->stories[index];
    event_begin(out);
    if (telling->request.dialect == API_COMPLETIONS) {
        write_completion_head(telling, out);
        struct logprobs lists = new_lists(telling); /* of tokens without a text, if any */
        if (wants_lists(telling))
            list_news(told, &lists);
        write_choice(index, "", 0, lists.count ? &lists : NULL, story_end_name(told->end), out);
        buffer_printf(out, "],\"seed\":%" PRIu64 "%s}", told->seed,
                      telling->request.include_usage ? ",\"usage\":null" : "");
    } else {
        buffer_append_text(out, "{");
        if (telling->count > 1)
            buffer_printf(out, "\"index\":%d,", index);
        buffer_printf(out, "\"finish_reason\":\"%s\",\"seed\":%" PRIu64,
                      story_end_name(told->end), told->seed);
        if (telling->count == 1) {
            buffer_append_text(out, ",");
            write_model(telling, out);
            buffer_append_text(out, ",");
            write_usage(telling, out);
            buffer_append_text(out, ",");
            write_timings(telling, out);
        }
        buffer_append_text(out, "}");
    }
    event_end(out);
}

/* After the last story: the sums that belong to no single one, and the mark of the end. */
static void write_last_events(const struct telling *telling, struct buffer *out) {
    if (telling->request.dialect == API_COMPLETIONS && telling->request.include_usage) {
        event_begin(out);
        write_completion_head(telling, out);
        buffer_append_text(out, "],");
        write_usage(telling, out);
        buffer_append_text(out, "}");
        event_end(out);
    } else if (telling->request.dialect == API_GENERATE && telling->count > 1) {
        event_begin(out);
        buffer_append_text(out, "{");
        write_model(telling, out);
        buffer_append_text(out, ",");
        write_usage(telling, out);
        buffer_append_text(out, ",");
        write_timings(telling, out);
        buffer_append_text(out, "}");
        event_end(out);
    }
    buffer_append_text(out, "data: [DONE]\n\n");
}

/* Once per story; its log-probabilities are there when the prompt was read. */
static void write_echo(struct telling *telling, int index, struct buffer *out) {
    struct told *told = &telling->stories[index];
    const struct prompt *prompt = prompt_of(telling, index);
    struct logprobs lists = new_lists(telling);
    bool was_read = story_tokens(told->story) > 0 || told->end != STORY_RUNNING;
    if (told->echoed || (wants_lists(telling) && !was_read))
        return;
    if (wants_lists(telling))
        logprobs_add_prompt(&lists, prompt, told->story);
    write_text_event(telling, index, prompt->text, prompt->bytes,
                     wants_lists(telling) ? &lists : NULL, out);
    told->echoed = true;
}

static void write_text(struct telling *telling, int index, const char *text, size_t bytes,
                       struct buffer *out) {
    struct logprobs lists = new_lists(telling);
    if (wants_lists(telling))
        list_news(&telling->stories[index], &lists);
    if (telling->form == TELLING_TEXT)
        buffer_append(out, text, bytes);
    else
        write_text_event(telling, index, text, bytes, wants_lists(telling) ? &lists : NULL, out);
}

static void write_story_news(struct telling *telling, int index, struct buffer *out) {
    struct told *told = &telling->stories[index];
    size_t bytes;
    const char *text = story_text(told->story, &bytes);
    if (telling->request.echo)
        write_echo(telling, index, out);
    if (bytes > told->sent) {
        write_text(telling, index, text + told->sent, bytes - told->sent, out);
        told->sent = bytes;
    }
    if (told->end != STORY_RUNNING && !told->end_sent) {
        if (telling->form == TELLING_JSON)
            write_end_event(telling, index, out);
        told->end_sent = true;
    }
}

void telling_write_news(struct telling *telling, struct buffer *out) {
    if (!telling->opened && telling->form == TELLING_TEXT)
        buffer_append(out, telling->prompts[0].text, telling->prompts[0].bytes);
    telling->opened = true;
    bool ended = true;
    for (int i = 0; i < telling->count; i++) {
        write_story_news(telling, i, out);
        ended = ended && telling->stories[i].end_sent;
    }
    if (ended && !telling->closed) {
        if (telling->form == TELLING_JSON)
            write_last_events(telling, out);
        else
            buffer_append_text(out, "\n");
        telling->closed = true;
    }
}

void telling_write_failure(const struct telling *telling, const struct error *err,
                           struct buffer *out) {
    if (telling->form == TELLING_TEXT) { /* nothing but the story fits in there */
        buffer_append_text(out, "\n");
        return;
    }
    event_begin(out);
    problem_write(out, problem_of_status(err->status), err->field, err->message);
    event_end(out);
}

void telling_cancel(struct telling *telling) {
    for (int i = 0; i < telling->count; i++)
        story_cancel(telling->stories[i].story);
}

void telling_free(struct telling *telling) {
    if (!telling)
        return;
    for (int i = 0; i < telling->count; i++)
        story_free(telling->stories[i].story);
    for (int i = 0; i < API_MAX_STORIES; i++)
        prompt_free(&telling->prompts[i]);
    api_request_free(&telling->request);
    free(telling);
}
