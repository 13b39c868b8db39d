#include "server/api/logprobs.h"

#include "server/api/json.h"
#include "tokenizer/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* JSON has no infinity; OpenAI's "very unlikely". */
#define IMPOSSIBLE (-9999.0)

/* Nine digits are what it takes to read the same float again. */
static void append_value(struct buffer *out, float value) {
    buffer_printf(out, "%.9g", isfinite(value) ? (double)value : IMPOSSIBLE);
}

static void append_name(struct buffer *out, const struct buffer *name) {
    json_append_bytes(out, name->data ? name->data : "", name->size);
    out->failed |= name->failed;
}

static bool is_same(const struct buffer *a, const struct buffer *b) {
    return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

/* Whether names[index] is shown like the token itself or like an earlier one. */
static bool is_taken(const struct buffer *names, int index, const struct buffer *own) {
    bool taken = is_same(&names[index], own);
    for (int i = 0; i < index; i++)
        taken = taken || is_same(&names[i], &names[index]);
    return taken;
}

/* {"piece": value, ...}: the likeliest tokens, and at the end the one that was taken unless it is
 * one of them. A name may stand there once, so of tokens that are shown alike (a letter and the
 * byte that means it) only the one that was taken, else the likeliest, is there. */
static void append_top(struct logprobs *lists, const struct completion_token *token,
                       const struct buffer *own) {
    const struct token_logprobs *logprobs = token->logprobs;
    struct buffer names[TOP_LOGPROBS_MAX] = {{0}};
    const char *separator = "";
    bool own_done = false;
    buffer_append_text(&lists->tops, "{");
    for (int i = 0; i < lists->top && logprobs->top_ids[i] >= 0; i++) {
        int32_t id = logprobs->top_ids[i];
        tokenizer_token_to_piece(lists->tokenizer, id, token->at_start, &names[i], NULL);
        if (id != token->id && is_taken(names, i, own))
            continue;
        own_done = own_done || id == token->id;
        buffer_append_text(&lists->tops, separator);
        append_name(&lists->tops, &names[i]);
        buffer_append_text(&lists->tops, ":");
        append_value(&lists->tops, logprobs->top[i]);
        separator = ",";
    }
    if (!own_done) {
        buffer_append_text(&lists->tops, separator);
        append_name(&lists->tops, own);
        buffer_append_text(&lists->tops, ":");
        append_value(&lists->tops, logprobs->own);
    }
    buffer_append_text(&lists->tops, "}");
    for (int i = 0; i < TOP_LOGPROBS_MAX; i++)
        buffer_free(&names[i]);
}

/* "token":…,"logprob":…,"bytes":… of a chat. */
static void append_chat_token(struct logprobs *lists, int32_t id, bool at_start, float value) {
    struct buffer *out = &lists->tokens;
    struct buffer name = {0};
    tokenizer_token_to_piece(lists->tokenizer, id, at_start, &name, NULL);
    const char *bytes = name.data ? name.data : "";
    unsigned byte = 0; /* of a token that is one byte of a longer character */
    bool is_byte = sscanf(bytes, "bytes:\\x%2x", &byte) == 1;
    buffer_append_text(out, "\"token\":");
    append_name(out, &name);
    buffer_append_text(out, ",\"logprob\":");
    append_value(out, value);
    buffer_append_text(out, ",\"bytes\":[");
    for (size_t i = 0; i < name.size && !is_byte; i++)
        buffer_printf(out, "%s%d", i ? "," : "", (unsigned char)bytes[i]);
    if (is_byte)
        buffer_printf(out, "%u", byte);
    buffer_append_text(out, "]");
    buffer_free(&name);
}

static void add_to_chat(struct logprobs *lists, const struct completion_token *token) {
    const struct token_logprobs *logprobs = token->logprobs;
    buffer_append_text(&lists->tokens, lists->count++ ? ",{" : "{");
    append_chat_token(lists, token->id, token->at_start, logprobs->own);
    buffer_append_text(&lists->tokens, ",\"top_logprobs\":[");
    for (int i = 0; i < lists->top && logprobs->top_ids[i] >= 0; i++) {
        buffer_append_text(&lists->tokens, i ? ",{" : "{");
        append_chat_token(lists, logprobs->top_ids[i], token->at_start, logprobs->top[i]);
        buffer_append_text(&lists->tokens, "}");
    }
    buffer_append_text(&lists->tokens, "]}");
}

void logprobs_add(struct logprobs *lists, const struct completion_token *token, size_t offset) {
    if (lists->chat) {
        add_to_chat(lists, token);
        return;
    }
    const char *separator = lists->count++ ? "," : "";
    struct buffer own = {0};
    tokenizer_token_to_piece(lists->tokenizer, token->id, token->at_start, &own, NULL);
    buffer_append_text(&lists->tokens, separator);
    append_name(&lists->tokens, &own);
    buffer_append_text(&lists->values, separator);
    buffer_append_text(&lists->tops, separator);
    if (token->logprobs) {
        append_value(&lists->values, token->logprobs->own);
        if (lists->top > 0)
            append_top(lists, token, &own);
    } else {
        buffer_append_text(&lists->values, "null");
        buffer_append_text(&lists->tops, "null");
    }
    buffer_printf(&lists->offsets, "%s%zu", separator, offset);
    buffer_free(&own);
}

/* Characters of the prompt that were dropped from its beginning. */
static size_t dropped_characters(struct logprobs *lists, const struct prompt *prompt) {
    struct text_stream stream;
    struct buffer left = {0};
    size_t sent = utf8_count(prompt->text, prompt->bytes);
    text_stream_start(&stream, lists->tokenizer, true);
    for (size_t i = prompt->own; i < prompt->ids.count; i++)
        text_stream_push(&stream, prompt->ids.ids[i], &left, NULL);
    size_t kept = left.size ? utf8_count(left.data, left.size) : 0;
    lists->tokens.failed |= left.failed;
    buffer_free(&left);
    return sent > kept ? sent - kept : 0;
}

/* What the model reads of a prompt may have other characters than what was sent (it is folded to
 * lower case, and white space is joined), so an offset is kept from passing the prompt's end. */
void logprobs_add_prompt(struct logprobs *lists, const struct prompt *prompt,
                         const struct completion *completion) {
    struct text_stream stream;
    struct buffer text = {0};
    size_t end = utf8_count(prompt->text, prompt->bytes), counted = 0;
    size_t offset = prompt->cut ? dropped_characters(lists, prompt) : 0;
    text_stream_start(&stream, lists->tokenizer, prompt->cut);
    for (size_t i = prompt->own; i < prompt->ids.count; i++) {
        struct completion_token token = {.id = prompt->ids.ids[i], .at_start = stream.at_start};
        if (i > prompt->own)
            token.logprobs = request_prompt_logprobs(completion->request, (int)i);
        text_stream_push(&stream, token.id, &text, NULL);
        if (stream.begins > counted)
            offset += utf8_count(text.data + counted, stream.begins - counted);
        counted = stream.begins;
        logprobs_add(lists, &token, offset < end ? offset : end);
    }
    lists->tokens.failed |= text.failed;
    buffer_free(&text);
}

static void append_list(struct buffer *out, const char *name, const struct buffer *list) {
    buffer_append_text(out, name);
    buffer_append_text(out, "[");
    buffer_append(out, list->data, list->size);
    buffer_append_text(out, "]");
    out->failed |= list->failed;
}

void logprobs_write(struct logprobs *lists, struct buffer *out) {
    if (lists->chat) {
        append_list(out, "{\"content\":", &lists->tokens);
        buffer_append_text(out, ",\"refusal\":null}");
        logprobs_free(lists);
        return;
    }
    append_list(out, "{\"tokens\":", &lists->tokens);
    append_list(out, ",\"token_logprobs\":", &lists->values);
    if (lists->top > 0)
        append_list(out, ",\"top_logprobs\":", &lists->tops);
    else
        buffer_append_text(out, ",\"top_logprobs\":null");
    append_list(out, ",\"text_offset\":", &lists->offsets);
    buffer_append_text(out, "}");
    logprobs_free(lists);
}

void logprobs_free(struct logprobs *lists) {
    buffer_free(&lists->tokens);
    buffer_free(&lists->values);
    buffer_free(&lists->tops);
    buffer_free(&lists->offsets);
}
