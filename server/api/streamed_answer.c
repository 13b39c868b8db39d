#include "server/api/completion_request_internal.h"
#include "server/api/errors.h"
#include "server/api/json.h"

#include <inttypes.h>

static void event_begin(struct buffer *out) {
    buffer_append_text(out, "data: ");
}

static void event_end(struct buffer *out) {
    buffer_append_text(out, "\n\n");
}

/* What our own events of a story begin with: "index" tells several stories apart. */
static void write_own_head(const struct completion_request *request, int index,
                           struct buffer *out) {
    buffer_append_text(out, "{");
    if (completion_request_choices(request) > 1)
        buffer_printf(out, "\"index\":%d,", index);
}

/* Takes over choice->lists. */
static void write_text_event(const struct completion_request *request,
                             const struct answer_choice *choice, struct buffer *out) {
    event_begin(out);
    if (request->api.dialect & API_OPENAI) {
        answer_write_completion_head(request, out);
        answer_write_choice(request, choice, out);
        buffer_append_text(out, request->api.include_usage ? "],\"usage\":null}" : "]}");
    } else {
        write_own_head(request, choice->index, out);
        buffer_append_text(out, "\"text\":");
        json_append_bytes(out, choice->text, choice->bytes);
        buffer_append_text(out, "}");
    }
    event_end(out);
}

static void write_end_event(struct completion_request *request, int index, struct buffer *out) {
    struct choice *choice = completion_request_choice(request, index);
    event_begin(out);
    if (request->api.dialect & API_OPENAI) {
        answer_write_completion_head(request, out);
        struct logprobs lists = answer_new_lists(request); /* of tokens without a text, if any */
        if (answer_wants_logprobs(request))
            answer_list_tokens(choice, &lists);
        struct answer_choice last = {ANSWER_LAST, index, "", 0, lists.count ? &lists : NULL,
                                     choice};
        answer_write_choice(request, &last, out);
        buffer_printf(out, "],\"seed\":%" PRIu64 "%s}", choice->seed,
                      request->api.include_usage ? ",\"usage\":null" : "");
    } else {
        write_own_head(request, index, out);
        buffer_printf(out, "\"finish_reason\":\"%s\",\"seed\":%" PRIu64,
                      finish_reason_name(choice->completion.finish), choice->seed);
        if (completion_request_choices(request) == 1) {
            buffer_append_text(out, ",");
            answer_write_sums(request, out);
        }
        buffer_append_text(out, "}");
    }
    event_end(out);
}

/* After the last story: the sums that belong to no single one, and the mark of the end. */
static void write_last_events(const struct completion_request *request, struct buffer *out) {
    if (request->api.include_usage) {
        event_begin(out);
        answer_write_completion_head(request, out);
        buffer_append_text(out, "],");
        answer_write_usage(request, out);
        buffer_append_text(out, "}");
        event_end(out);
    } else if (request->api.dialect == API_GENERATE && completion_request_choices(request) > 1) {
        event_begin(out);
        buffer_append_text(out, "{");
        answer_write_sums(request, out);
        buffer_append_text(out, "}");
        event_end(out);
    }
    buffer_append_text(out, "data: [DONE]\n\n");
}

/* Once per story; its log-probabilities are there when the prompt was read. */
static void write_echo(struct completion_request *request, int index, struct buffer *out) {
    struct choice *choice = completion_request_choice(request, index);
    const struct prompt *prompt = completion_request_prompt(request, index);
    struct logprobs lists = answer_new_lists(request);
    bool was_read = choice->completion.decoded > 0 || choice->completion.finish != FINISH_NONE;
    if (choice->echoed || (answer_lists_prompt(request) && !was_read))
        return;
    if (answer_lists_prompt(request))
        logprobs_add_prompt(&lists, prompt, &choice->completion);
    struct answer_choice first = {ANSWER_FIRST, index, prompt->text, prompt->bytes,
                                  answer_lists_prompt(request) ? &lists : NULL, NULL};
    write_text_event(request, &first, out);
    choice->echoed = true;
}

static void write_text(struct completion_request *request, int index, const char *text,
                       size_t bytes, struct buffer *out) {
    struct logprobs lists = answer_new_lists(request);
    if (answer_wants_logprobs(request))
        answer_list_tokens(completion_request_choice(request, index), &lists);
    struct answer_choice next = {ANSWER_NEXT, index, text, bytes,
                                 answer_wants_logprobs(request) ? &lists : NULL, NULL};
    if (request->format == ANSWER_TEXT)
        buffer_append(out, text, bytes);
    else
        write_text_event(request, &next, out);
}

static void write_choice_output(struct completion_request *request, int index, struct buffer *out) {
    struct choice *choice = completion_request_choice(request, index);
    size_t bytes;
    const char *text = completion_text(&choice->completion, &bytes);
    if (request->api.echo)
        write_echo(request, index, out);
    if (bytes > choice->sent) {
        write_text(request, index, text + choice->sent, bytes - choice->sent, out);
        choice->sent = bytes;
    }
    if (choice->completion.finish != FINISH_NONE && !choice->end_sent) {
        if (request->format == ANSWER_JSON)
            write_end_event(request, index, out);
        choice->end_sent = true;
    }
}

void completion_request_write_output(struct completion_request *request, struct buffer *out) {
    if (!request->opened && request->format == ANSWER_TEXT)
        buffer_append(out, request->prompts[0].text, request->prompts[0].bytes);
    request->opened = true;
    bool ended = true;
    for (int i = 0; i < completion_request_choices(request); i++) {
        const struct choice *choice = completion_request_choice(request, i);
        if (choice)
            write_choice_output(request, i, out);
        ended = ended && choice && choice->end_sent;
    }
    if (ended && !request->closed) {
        if (request->format == ANSWER_JSON)
            write_last_events(request, out);
        else
            buffer_append_text(out, "\n");
        request->closed = true;
    }
}

void completion_request_write_ping(const struct completion_request *request, struct buffer *out) {
    if (request->format == ANSWER_JSON)
        buffer_append_text(out, ": still here\n\n");
}

void completion_request_write_failure(const struct completion_request *request,
                                      const struct error *err, struct buffer *out) {
    if (request->format == ANSWER_TEXT) { /* nothing but the story fits in there */
        buffer_append_text(out, "\n");
        return;
    }
    event_begin(out);
    problem_write(out, problem_of_status(err->status), err->field, err->message);
    event_end(out);
}
