/* Any text through a good model and back, and any ids to text. */
#include "base/buffer.h"
#include "base/status.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fence.h"
#include "tokenizer/tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char model_path[] = "tests/data/tokenizer_small.model"; /* falls back to bytes */

static const struct tokenizer *small_model(void) {
    static struct tokenizer *tokenizer; /* until the process ends */
    struct error err = {0};
    if (!tokenizer && tokenizer_load(&tokenizer, model_path, &err) != STATUS_OK) {
        fprintf(stderr, "%s (run from the repository's root)\n", err.message);
        exit(1);
    }
    return tokenizer;
}

/* An id that adds no halves of characters is shown as the text that it added. */
static void check_shown(const struct text_stream *stream, int32_t id, bool at_start,
                        const struct buffer *text) {
    const struct tokenizer *tokenizer = stream->tokenizer;
    const struct vocabulary *vocabulary = &tokenizer->vocabulary;
    enum piece_type type = vocabulary->pieces[vocabulary->canonical[id]].type;
    struct buffer shown = {0};
    FUZZ_CHECK(tokenizer_token_to_piece(tokenizer, id, at_start, &shown, NULL) == STATUS_OK);
    if (type != PIECE_BYTE && type != PIECE_CONTROL && type != PIECE_UNKNOWN) {
        FUZZ_CHECK(text->size - stream->begins == shown.size);
        FUZZ_CHECK(shown.size == 0 ||
                   memcmp(text->data + stream->begins, shown.data, shown.size) == 0);
    }
    if (shown.size)
        fuzz_check_utf8(shown.data, shown.size);
    buffer_free(&shown);
}

/* Decodes in one go and id by id: the same text, whole UTF-8 at every moment. */
static void decode_both_ways(const struct tokenizer *tokenizer, const struct token_list *ids,
                             struct buffer *whole) {
    struct buffer streamed = {0};
    struct text_stream stream;
    struct error err = {0};
    FUZZ_CHECK(tokenizer_decode(tokenizer, ids->ids, ids->count, whole, &err) == STATUS_OK);
    text_stream_start(&stream, tokenizer, false);
    for (size_t i = 0; i < ids->count; i++) {
        size_t before = streamed.size, began_before = stream.begins;
        bool at_start = stream.at_start;
        FUZZ_CHECK(text_stream_push(&stream, ids->ids[i], &streamed, &err) == STATUS_OK);
        if (streamed.size > before)
            fuzz_check_utf8(streamed.data + before, streamed.size - before);
        FUZZ_CHECK(stream.begins >= began_before && stream.begins <= streamed.size);
        check_shown(&stream, ids->ids[i], at_start, &streamed);
    }
    FUZZ_CHECK(text_stream_finish(&stream, &streamed, &err) == STATUS_OK);
    FUZZ_CHECK(whole->size == streamed.size);
    FUZZ_CHECK(whole->size == 0 || memcmp(whole->data, streamed.data, whole->size) == 0);
    if (whole->size)
        fuzz_check_utf8(whole->data, whole->size);
    buffer_free(&streamed);
}

/* The text with spaces for its marks, without those it begins with: what decoding gives. */
static void unmark(struct buffer *text) {
    size_t kept = 0;
    for (size_t at = 0; at < text->size;) {
        bool mark = text->size - at >= SPACE_MARK_BYTES &&
                    memcmp(text->data + at, SPACE_MARK, SPACE_MARK_BYTES) == 0;
        char byte = mark ? ' ' : text->data[at];
        at += mark ? SPACE_MARK_BYTES : 1;
        if (kept > 0 || byte != ' ')
            text->data[kept++] = byte;
    }
    text->size = kept;
}

static void check_text(const struct tokenizer *tokenizer, const char *text, size_t size) {
    struct token_list ids = {0};
    struct buffer decoded = {0}, normalized = {0};
    struct error err = {0};
    FUZZ_CHECK(token_list_append(&ids, 77));
    FUZZ_CHECK(tokenizer_encode(tokenizer, text, size, &ids, &err) == STATUS_OK);
    FUZZ_CHECK(ids.ids[0] == 77); /* encoding appends */
    memmove(ids.ids, ids.ids + 1, --ids.count * sizeof *ids.ids);
    for (size_t i = 0; i < ids.count; i++) {
        FUZZ_CHECK(ids.ids[i] >= 0 && (size_t)ids.ids[i] < tokenizer_vocab_size(tokenizer));
        FUZZ_CHECK(tokenizer->file.pieces[ids.ids[i]].type != PIECE_CONTROL);
    }
    decode_both_ways(tokenizer, &ids, &decoded);
    /* No byte is lost or made up on the way. */
    if (size)
        FUZZ_CHECK(normalizer_run(&tokenizer->normalizer, text, size, &normalized, &err) ==
                   STATUS_OK);
    unmark(&normalized);
    unmark(&decoded);
    FUZZ_CHECK(normalized.size == decoded.size);
    FUZZ_CHECK(decoded.size == 0 || memcmp(normalized.data, decoded.data, decoded.size) == 0);
    buffer_free(&decoded);
    buffer_free(&normalized);
    token_list_free(&ids);
}

/* Two bytes make an id. */
static void check_ids(const struct tokenizer *tokenizer, const uint8_t *data, size_t size) {
    struct token_list ids = {0};
    struct buffer text = {0};
    struct error err = {0};
    int32_t count = (int32_t)tokenizer_vocab_size(tokenizer);
    for (size_t i = 0; i + 1 < size; i += 2)
        FUZZ_CHECK(token_list_append(&ids, (data[i] | data[i + 1] << 8) % count));
    decode_both_ways(tokenizer, &ids, &text);
    for (int32_t wrong = -1; wrong <= count; wrong += count + 1)
        FUZZ_CHECK(tokenizer_decode(tokenizer, &wrong, 1, &text, &err) == STATUS_INVALID);
    buffer_free(&text);
    token_list_free(&ids);
}

void fuzz_tokenizer_text(const uint8_t *data, size_t size) {
    const struct tokenizer *tokenizer = small_model();
    struct fence text = fence_create(size);
    if (size)
        memcpy(text.data, data, size);
    check_text(tokenizer, text.data, size);
    check_ids(tokenizer, data, size);
    fence_destroy(&text);
}
