#include "server/api/completion_request_internal.h"
#include "server/api/json.h"

#include <inttypes.h>

/* ---- /generate ---------------------------------------------------------- */

/* "story":…,"completion":…,"finish_reason":…,"seed":… The story is the prompt exactly as it was
 * sent: decoding its tokens would fold its case. */
static void write_story(const struct completion_request *request, const struct choice *choice,
                        struct buffer *out) {
    struct buffer story = {0};
    size_t bytes;
    const char *completion = completion_text(&choice->completion, &bytes);
    buffer_append(&story, request->prompts[0].text, request->prompts[0].bytes);
    buffer_append(&story, completion, bytes);
    buffer_append_text(out, "\"story\":");
    json_append_bytes(out, story.data ? story.data : "", story.size);
    buffer_append_text(out, ",\"completion\":");
    json_append_bytes(out, completion, bytes);
    buffer_printf(out, ",\"finish_reason\":\"%s\",\"seed\":%" PRIu64,
                  finish_reason_name(choice->completion.finish), choice->seed);
    out->failed |= story.failed;
    buffer_free(&story);
}

static void write_generate(struct completion_request *request, struct buffer *out) {
    int count = completion_request_choices(request);
    buffer_append_text(out, "{");
    write_story(request, completion_request_choice(request, 0), out);
    if (count > 1) {
        for (int i = 0; i < count; i++) {
            buffer_append_text(out, i ? "},{" : ",\"stories\":[{");
            write_story(request, completion_request_choice(request, i), out);
        }
        buffer_append_text(out, "}]");
    }
    buffer_append_text(out, ",");
    answer_write_sums(request, out);
    buffer_append_text(out, "}\n");
}

/* ---- completions -------------------------------------------------------- */

static void write_whole_choice(struct completion_request *request, int index, struct buffer *out) {
    struct choice *choice = completion_request_choice(request, index);
    const struct prompt *prompt = completion_request_prompt(request, index);
    struct logprobs lists = answer_new_lists(request);
    struct buffer text = {0};
    size_t bytes;
    const char *completion = completion_text(&choice->completion, &bytes);
    if (request->api.echo)
        buffer_append(&text, prompt->text, prompt->bytes);
    buffer_append(&text, completion, bytes);
    if (answer_lists_prompt(request))
        logprobs_add_prompt(&lists, prompt, &choice->completion);
    if (answer_wants_logprobs(request))
        answer_list_tokens(choice, &lists);
    struct answer_choice whole = {ANSWER_WHOLE, index, text.data ? text.data : "", text.size,
                                  answer_wants_logprobs(request) ? &lists : NULL, choice};
    answer_write_choice(request, &whole, out);
    out->failed |= text.failed;
    buffer_free(&text);
}

static void write_completions(struct completion_request *request, struct buffer *out) {
    answer_write_completion_head(request, out);
    for (int i = 0; i < completion_request_choices(request); i++) {
        buffer_append_text(out, i ? "," : "");
        write_whole_choice(request, i, out);
    }
    buffer_printf(out, "],\"seed\":%" PRIu64 ",", completion_request_choice(request, 0)->seed);
    answer_write_usage(request, out);
    buffer_append_text(out, "}\n");
}

/* ---- plain text --------------------------------------------------------- */

static void write_plain(struct completion_request *request, struct buffer *out) {
    for (int i = 0; i < completion_request_choices(request); i++) {
        const struct choice *choice = completion_request_choice(request, i);
        size_t bytes;
        const char *completion = completion_text(&choice->completion, &bytes);
        buffer_append_text(out, i ? "\n" : "");
        buffer_append(out, request->prompts[0].text, request->prompts[0].bytes);
        buffer_append(out, completion, bytes);
        buffer_append_text(out, "\n");
    }
}

void completion_request_write_answer(struct completion_request *request, struct buffer *out) {
    if (request->format == ANSWER_TEXT)
        write_plain(request, out);
    else if (request->api.dialect & API_OPENAI)
        write_completions(request, out);
    else
        write_generate(request, out);
}
