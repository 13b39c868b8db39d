#include "engine/completion.h"

#include "tokenizer/letters.h"

#include <stdlib.h>
#include <string.h>

bool completion_continues(const char *prompt, size_t bytes) {
    return bytes > 0 && !strchr(" \t\r\n\v\f", prompt[bytes - 1]);
}

/* Keeps the stop strings in lower case. */
static enum status keep_stops(struct completion *completion, const struct completion_params *params,
                              struct error *err) {
    size_t bytes = 0;
    for (int i = 0; i < params->stop_count; i++)
        bytes += strlen(params->stops[i]) + 1;
    if (bytes == 0)
        return STATUS_OK;
    char *at = completion->stop_texts = malloc(bytes);
    if (!at)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the stop strings");
    for (int i = 0; i < params->stop_count; i++) {
        size_t length = strlen(params->stops[i]);
        memcpy(at, params->stops[i], length + 1);
        letters_lower(at, length);
        completion->stops[i] = at;
        at += length + 1;
    }
    completion->stop_count = params->stop_count;
    return STATUS_OK;
}

enum status completion_start(struct completion *completion, struct engine *engine,
                             const struct completion_params *params, struct error *err) {
    const struct request_params *wanted = &params->request;
    int room = engine->model->config.positions - wanted->prompt_count;
    int most = wanted->max_tokens < room ? wanted->max_tokens : room;
    *completion = (struct completion){.capitals = params->capitals};
    if (params->capitals) {
        truecaser_start(&completion->truecaser, engine->capitals);
        truecaser_read(&completion->truecaser, params->before, params->before_bytes);
    }
    text_stream_start(&completion->stream, engine->tokenizer, params->continues);
    if (wanted->logprobs && most > 0) {
        completion->tokens = calloc((size_t)most, sizeof *completion->tokens);
        if (!completion->tokens)
            return error_set(err, STATUS_NO_MEMORY, "no memory for a completion");
    }
    enum status status = keep_stops(completion, params, err);
    if (status == STATUS_OK)
        status = scheduler_submit(engine->scheduler, wanted, &completion->request, err);
    if (status != STATUS_OK)
        completion_free(completion);
    return status;
}

/* The earliest stop string that ends in text[from..]; its offset, or the text's size. */
static size_t find_stop(const struct completion *completion, size_t from) {
    const struct buffer *text = &completion->text;
    size_t earliest = text->size;
    for (int i = 0; i < completion->stop_count; i++) {
        size_t length = strlen(completion->stops[i]);
        size_t at = from >= length ? from - length + 1 : 0;
        for (; at + length <= text->size && at < earliest; at++)
            if (letters_match(text->data + at, completion->stops[i], length))
                earliest = at;
    }
    return earliest;
}

/* How many bytes at the end of the text begin some stop string. */
static size_t possible_stop(const struct completion *completion) {
    const struct buffer *text = &completion->text;
    size_t most = 0;
    for (int i = 0; i < completion->stop_count; i++) {
        size_t length = strlen(completion->stops[i]) - 1;
        if (length > text->size)
            length = text->size;
        for (; length > most; length--)
            if (letters_match(text->data + text->size - length, completion->stops[i], length))
                most = length;
    }
    return most;
}

/* Cuts the text at a stop string that ends in its new part; true when there is one. */
static bool apply_stops(struct completion *completion, size_t new_from) {
    struct buffer *text = &completion->text;
    size_t stop = find_stop(completion, new_from);
    completion->cut = stop < text->size;
    if (completion->cut) {
        text->size = stop;
        text->data[stop] = '\0';
    }
    completion->certain = text->size - (completion->cut ? 0 : possible_stop(completion));
    return completion->cut;
}

/* Decodes ids up to `count`, token by token: the text may not depend on how many tokens came at
 * once, and a stop string decides which token was the last. */
static enum status decode(struct completion *completion, const int32_t *ids, int count,
                          struct error *err) {
    while (completion->decoded < count && completion->finish == FINISH_NONE) {
        int index = completion->decoded;
        size_t before = completion->text.size;
        bool at_start = completion->stream.at_start;
        enum status status =
            text_stream_push(&completion->stream, ids[index], &completion->text, err);
        if (status != STATUS_OK)
            return status;
        if (completion->tokens)
            completion->tokens[index] =
                (struct completion_token){ids[index], completion->stream.begins, at_start,
                                          request_logprobs(completion->request, index)};
        completion->decoded++;
        if (apply_stops(completion, before)) {
            completion->finish = FINISH_STOP;
            request_cancel(completion->request); /* the rest is not wanted */
        }
    }
    return STATUS_OK;
}

/* Restores the capitals of what is certain now. */
static enum status restore_capitals(struct completion *completion, struct error *err) {
    size_t from = completion->cased_from;
    if (!completion->capitals || completion->text.failed)
        return STATUS_OK;
    completion->cased_from = completion->certain;
    enum status status = STATUS_OK;
    if (completion->certain > from)
        status = truecaser_push(&completion->truecaser, completion->text.data + from,
                                completion->certain - from, &completion->cased, err);
    if (status == STATUS_OK && completion->finish != FINISH_NONE)
        status = truecaser_finish(&completion->truecaser, &completion->cased, err);
    return status;
}

enum status completion_advance(struct completion *completion, struct error *err) {
    struct request_output output = request_output(completion->request);
    enum status status = decode(completion, output.ids, output.count, err);
    if (status == STATUS_OK && completion->finish == FINISH_NONE && output.finish != FINISH_NONE) {
        size_t before = completion->text.size;
        status = text_stream_finish(&completion->stream, &completion->text, err);
        completion->finish = apply_stops(completion, before) ? FINISH_STOP : output.finish;
        completion->certain = completion->text.size;
    }
    if (status == STATUS_OK)
        status = restore_capitals(completion, err);
    if (status == STATUS_OK && completion->text.failed)
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the completion's text");
    if (status != STATUS_OK)
        request_cancel(completion->request);
    return status;
}

const char *completion_text(const struct completion *completion, size_t *bytes) {
    const struct buffer *text = completion->capitals ? &completion->cased : &completion->text;
    *bytes = completion->capitals ? text->size : completion->certain;
    return text->data ? text->data : "";
}

int completion_listed(const struct completion *completion) {
    size_t given;
    int count = completion->decoded;
    (void)completion_text(completion, &given);
    bool all = completion->finish != FINISH_NONE && !completion->cut;
    while (count > 0 && !all && completion->tokens[count - 1].begins >= given)
        count--;
    return count;
}

void completion_free(struct completion *completion) {
    if (completion->request)
        request_release(completion->request);
    free(completion->tokens);
    free(completion->stop_texts);
    buffer_free(&completion->text);
    buffer_free(&completion->cased);
    *completion = (struct completion){0};
}
