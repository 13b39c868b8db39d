/* Decoding, whole and streamed: the whole is the stream of all its ids. */
#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/utf8.h"

#include <assert.h>
#include <string.h>

static enum status no_memory(struct error *err) {
    return error_set(err, STATUS_NO_MEMORY, "no memory for the decoded text");
}

static void drop_held(struct text_stream *stream, int count) {
    stream->held_count -= count;
    memmove(stream->held, stream->held + count, (size_t)stream->held_count);
}

/* Moves every character that is certain out of the held bytes; with
 * `no_more`, the rest too, each byte as U+FFFD. */
static void release_held(struct text_stream *stream, bool no_more, struct buffer *text) {
    while (stream->held_count) {
        const char *held = (const char *)stream->held;
        size_t count = (size_t)stream->held_count, length = utf8_length(held, count);
        if (length)
            buffer_append(text, held, length);
        else if (!no_more && utf8_unfinished(held, count))
            return;
        else
            buffer_append_text(text, UTF8_REPLACEMENT);
        drop_held(stream, length ? (int)length : 1);
    }
}

static void push_byte(struct text_stream *stream, int byte, struct buffer *text) {
    assert(stream->held_count < (int)sizeof stream->held);
    stream->held[stream->held_count++] = (unsigned char)byte;
    stream->at_start = false;
    release_held(stream, false, text);
}

/* A piece's text with its space marks as spaces. */
static void append_spaced(struct buffer *text, const char *at, size_t bytes) {
    const char *end = at + bytes;
    while (at < end) {
        const char *mark = at;
        while (mark < end && ((size_t)(end - mark) < SPACE_MARK_BYTES ||
                              memcmp(mark, SPACE_MARK, SPACE_MARK_BYTES) != 0))
            mark++;
        buffer_append(text, at, (size_t)(mark - at));
        if (mark == end)
            return;
        buffer_append(text, " ", 1);
        at = mark + SPACE_MARK_BYTES;
    }
}

static void push_piece(struct text_stream *stream, const struct piece *piece,
                       struct buffer *text) {
    const struct tokenizer *tokenizer = stream->tokenizer;
    const char *at = piece->text;
    size_t bytes = piece->bytes, size_before = text->size;
    bool dropped = false;
    if (stream->at_start && tokenizer->drops_leading_space && bytes >= SPACE_MARK_BYTES &&
        memcmp(at, SPACE_MARK, SPACE_MARK_BYTES) == 0) {
        at += SPACE_MARK_BYTES;
        bytes -= SPACE_MARK_BYTES;
        /* Where extra white space is removed, the start lasts until there is text. */
        dropped = !tokenizer->file.normalizer.remove_extra_whitespaces;
    }
    append_spaced(text, at, bytes);
    if (dropped || text->size > size_before)
        stream->at_start = false;
}

/* After push_byte(). */
static size_t byte_begins(const struct text_stream *stream, const struct buffer *text) {
    size_t at = text->size;
    bool completed = stream->held_count == 0; /* then back over its last character */
    while (completed && at > 0 && ((unsigned char)text->data[--at] & 0xC0) == 0x80)
        continue;
    return at;
}

void text_stream_start(struct text_stream *stream, const struct tokenizer *tokenizer,
                       bool continues) {
    *stream = (struct text_stream){.tokenizer = tokenizer, .at_start = !continues};
}

static const struct piece *find_piece(const struct vocabulary *vocabulary, int32_t id,
                                      struct error *err) {
    if (id >= 0 && (size_t)id < vocabulary->count)
        return &vocabulary->pieces[vocabulary->canonical[id]];
    error_set(err, STATUS_INVALID, "id %d is not between 0 and %zu", (int)id,
              vocabulary->count - 1);
    return NULL;
}

enum status text_stream_push(struct text_stream *stream, int32_t id, struct buffer *text,
                             struct error *err) {
    const struct vocabulary *vocabulary = &stream->tokenizer->vocabulary;
    const struct text_span *surface = &stream->tokenizer->file.unk_surface;
    const struct piece *piece = find_piece(vocabulary, id, err);
    if (!piece)
        return STATUS_INVALID;
    if (piece->type == PIECE_BYTE) {
        push_byte(stream, vocabulary_byte(piece), text);
        stream->begins = byte_begins(stream, text);
    } else {
        release_held(stream, true, text);
        stream->begins = text->size;
        if (piece->type == PIECE_UNKNOWN) {
            buffer_append(text, surface->text, surface->bytes);
            stream->at_start &= surface->bytes == 0;
        } else if (piece->type != PIECE_CONTROL) {
            push_piece(stream, piece, text);
        }
    }
    return text->failed ? no_memory(err) : STATUS_OK;
}

enum status text_stream_finish(struct text_stream *stream, struct buffer *text,
                               struct error *err) {
    release_held(stream, true, text);
    return text->failed ? no_memory(err) : STATUS_OK;
}

enum status tokenizer_token_to_piece(const struct tokenizer *tokenizer, int32_t id, bool at_start,
                                     struct buffer *text, struct error *err) {
    const struct piece *piece = find_piece(&tokenizer->vocabulary, id, err);
    if (!piece)
        return STATUS_INVALID;
    if (piece->type == PIECE_BYTE) {
        int byte = vocabulary_byte(piece);
        char character = (char)byte;
        if (byte < 0x80)
            buffer_append(text, &character, 1);
        else
            buffer_printf(text, "bytes:\\x%02x", (unsigned)byte);
    } else if (piece->type == PIECE_UNKNOWN || piece->type == PIECE_CONTROL) {
        buffer_append(text, piece->text, piece->bytes);
    } else {
        struct text_stream stream = {.tokenizer = tokenizer, .at_start = at_start};
        push_piece(&stream, piece, text);
    }
    return text->failed ? no_memory(err) : STATUS_OK;
}

static enum status denormalize(const struct tokenizer *tokenizer, struct buffer *text,
                               size_t start, struct error *err) {
    struct buffer decoded = {0};
    enum status status = STATUS_OK;
    if (!buffer_append(&decoded, text->data + start, text->size - start))
        return no_memory(err);
    text->size = start;
    if (decoded.size)
        status = normalizer_run(&tokenizer->denormalizer, decoded.data, decoded.size, text, err);
    buffer_free(&decoded);
    text->data[text->size] = '\0';
    return status;
}

enum status tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t count,
                             struct buffer *text, struct error *err) {
    struct text_stream stream;
    enum status status = STATUS_OK;
    size_t start = text->size;
    text_stream_start(&stream, tokenizer, false);
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        status = text_stream_push(&stream, ids[i], text, err);
    if (status == STATUS_OK)
        status = text_stream_finish(&stream, text, err);
    if (status == STATUS_OK && tokenizer->has_denormalizer && text->size > start)
        status = denormalize(tokenizer, text, start, err);
    return status;
}
