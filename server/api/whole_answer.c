#include "server/api/completion_request_internal.h"
#include "server/api/json.h"

#include <inttypes.h>

/* ---- /generate ---------------------------------------------------------- */

/* "story":…,"completion":…,"finish_reason":…,"seed":… The story is the prompt exactly as it was
 * sent: decoding its tokens would fold its case. */
static void write_story(const struct completion_request *telling, const struct told *told,
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

static void write_generate(const struct completion_request *telling, struct buffer *out) {
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
    answer_write_sums(telling, out);
    buffer_append_text(out, "}\n");
}

/* ---- completions -------------------------------------------------------- */

static void write_whole_choice(struct completion_request *telling, int index, struct buffer *out) {
    struct told *told = &telling->stories[index];
    const struct prompt *prompt = telling_prompt(telling, index);
    struct logprobs lists = telling_new_lists(telling);
    struct buffer text = {0};
    size_t bytes;
    const char *completion = story_text(told->story, &bytes);
    if (telling->request.echo)
        buffer_append(&text, prompt->text, prompt->bytes);
    buffer_append(&text, completion, bytes);
    if (telling_wants_lists(telling) && telling->request.echo)
        logprobs_add_prompt(&lists, prompt, told->story);
    if (telling_wants_lists(telling))
        telling_list_news(told, &lists);
    answer_write_choice(index, text.data ? text.data : "", text.size,
                         telling_wants_lists(telling) ? &lists : NULL, story_end_name(told->end),
                         out);
    out->failed |= text.failed;
    buffer_free(&text);
}

static void write_completions(struct completion_request *telling, struct buffer *out) {
    answer_write_completion_head(telling, out);
    for (int i = 0; i < telling->count; i++) {
        buffer_append_text(out, i ? "," : "");
        write_whole_choice(telling, i, out);
    }
    buffer_printf(out, "],\"seed\":%" PRIu64 ",", telling->request.sampling.seed);
    answer_write_usage(telling, out);
    buffer_append_text(out, "}\n");
}

/* ---- plain text --------------------------------------------------------- */

static void write_plain(const struct completion_request *telling, struct buffer *out) {
    for (int i = 0; i < telling->count; i++) {
        size_t bytes;
        const char *completion = story_text(telling->stories[i].story, &bytes);
        buffer_append_text(out, i ? "\n" : "");
        buffer_append(out, telling->prompts[0].text, telling->prompts[0].bytes);
        buffer_append(out, completion, bytes);
        buffer_append_text(out, "\n");
    }
}

void completion_request_write_answer(struct completion_request *telling, struct buffer *out) {
    if (telling->form == ANSWER_TEXT)
        write_plain(telling, out);
    else if (telling->request.dialect == API_COMPLETIONS)
        write_completions(telling, out);
    else
        write_generate(telling, out);
}
