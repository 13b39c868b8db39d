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
static void write_own_head(const struct completion_request *telling, int index, struct buffer *out) {
    buffer_append_text(out, "{");
    if (telling->count > 1)
        buffer_printf(out, "\"index\":%d,", index);
}

/* Takes over *lists. */
static void write_text_event(const struct completion_request *telling, int index, const char *text,
                             size_t bytes, struct logprobs *lists, struct buffer *out) {
    event_begin(out);
    if (telling->request.dialect == API_COMPLETIONS) {
        answer_write_completion_head(telling, out);
        answer_write_choice(index, text, bytes, lists, NULL, out);
        buffer_append_text(out, telling->request.include_usage ? "],\"usage\":null}" : "]}");
    } else {
        write_own_head(telling, index, out);
        buffer_append_text(out, "\"text\":");
        json_append_bytes(out, text, bytes);
        buffer_append_text(out, "}");
    }
    event_end(out);
}

static void write_end_event(struct completion_request *telling, int index, struct buffer *out) {
    struct told *told = &telling->stories[index];
    event_begin(out);
    if (telling->request.dialect == API_COMPLETIONS) {
        answer_write_completion_head(telling, out);
        struct logprobs lists = telling_new_lists(telling); /* of tokens without a text, if any */
        if (telling_wants_lists(telling))
            telling_list_news(told, &lists);
        answer_write_choice(index, "", 0, lists.count ? &lists : NULL, story_end_name(told->end),
                             out);
        buffer_printf(out, "],\"seed\":%" PRIu64 "%s}", told->seed,
                      telling->request.include_usage ? ",\"usage\":null" : "");
    } else {
        write_own_head(telling, index, out);
        buffer_printf(out, "\"finish_reason\":\"%s\",\"seed\":%" PRIu64,
                      story_end_name(told->end), told->seed);
        if (telling->count == 1) {
            buffer_append_text(out, ",");
            answer_write_sums(telling, out);
        }
        buffer_append_text(out, "}");
    }
    event_end(out);
}

/* After the last story: the sums that belong to no single one, and the mark of the end. */
static void write_last_events(const struct completion_request *telling, struct buffer *out) {
    if (telling->request.dialect == API_COMPLETIONS && telling->request.include_usage) {
        event_begin(out);
        answer_write_completion_head(telling, out);
        buffer_append_text(out, "],");
        answer_write_usage(telling, out);
        buffer_append_text(out, "}");
        event_end(out);
    } else if (telling->request.dialect == API_GENERATE && telling->count > 1) {
        event_begin(out);
        buffer_append_text(out, "{");
        answer_write_sums(telling, out);
        buffer_append_text(out, "}");
        event_end(out);
    }
    buffer_append_text(out, "data: [DONE]\n\n");
}

/* Once per story; its log-probabilities are there when the prompt was read. */
static void write_echo(struct completion_request *telling, int index, struct buffer *out) {
    struct told *told = &telling->stories[index];
    const struct prompt *prompt = telling_prompt(telling, index);
    struct logprobs lists = telling_new_lists(telling);
    bool was_read = story_tokens(told->story) > 0 || told->end != STORY_RUNNING;
    if (told->echoed || (telling_wants_lists(telling) && !was_read))
        return;
    if (telling_wants_lists(telling))
        logprobs_add_prompt(&lists, prompt, told->story);
    write_text_event(telling, index, prompt->text, prompt->bytes,
                     telling_wants_lists(telling) ? &lists : NULL, out);
    told->echoed = true;
}

static void write_text(struct completion_request *telling, int index, const char *text, size_t bytes,
                       struct buffer *out) {
    struct logprobs lists = telling_new_lists(telling);
    if (telling_wants_lists(telling))
        telling_list_news(&telling->stories[index], &lists);
    if (telling->form == ANSWER_TEXT)
        buffer_append(out, text, bytes);
    else
        write_text_event(telling, index, text, bytes, telling_wants_lists(telling) ? &lists : NULL,
                         out);
}

static void write_story_news(struct completion_request *telling, int index, struct buffer *out) {
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
        if (telling->form == ANSWER_JSON)
            write_end_event(telling, index, out);
        told->end_sent = true;
    }
}

void completion_request_write_output(struct completion_request *telling, struct buffer *out) {
    if (!telling->opened && telling->form == ANSWER_TEXT)
        buffer_append(out, telling->prompts[0].text, telling->prompts[0].bytes);
    telling->opened = true;
    bool ended = true;
    for (int i = 0; i < telling->count; i++) {
        write_story_news(telling, i, out);
        ended = ended && telling->stories[i].end_sent;
    }
    if (ended && !telling->closed) {
        if (telling->form == ANSWER_JSON)
            write_last_events(telling, out);
        else
            buffer_append_text(out, "\n");
        telling->closed = true;
    }
}

void completion_request_write_failure(const struct completion_request *telling, const struct error *err,
                           struct buffer *out) {
    if (telling->form == ANSWER_TEXT) { /* nothing but the story fits in there */
        buffer_append_text(out, "\n");
        return;
    }
    event_begin(out);
    problem_write(out, problem_of_status(err->status), err->field, err->message);
    event_end(out);
}
