/* A tokenizer.model from anywhere: refused with a reason, or it encodes and decodes. */
#include "base/buffer.h"
#include "base/status.h"
#include "tests/fuzz/fuzz.h"
#include "tokenizer/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

static void check_decoding(const struct tokenizer *tokenizer, const struct token_list *ids) {
    struct buffer whole = {0}, streamed = {0};
    struct text_stream stream;
    struct error err = {0};
    enum status status = tokenizer_decode(tokenizer, ids->ids, ids->count, &whole, &err);
    text_stream_start(&stream, tokenizer, false);
    for (size_t i = 0; i < ids->count; i++)
        FUZZ_CHECK(text_stream_push(&stream, ids->ids[i], &streamed, &err) == STATUS_OK);
    FUZZ_CHECK(text_stream_finish(&stream, &streamed, &err) == STATUS_OK);
    if (tokenizer->has_denormalizer) /* its rules may make the whole text too long */
        FUZZ_CHECK(status == STATUS_OK || status == STATUS_TOO_LARGE);
    else
        FUZZ_CHECK(status == STATUS_OK && whole.size == streamed.size &&
                   (whole.size == 0 || memcmp(whole.data, streamed.data, whole.size) == 0));
    buffer_free(&whole);
    buffer_free(&streamed);
}

static void check_encoding(const struct tokenizer *tokenizer, const char *text, size_t bytes) {
    struct token_list ids = {0};
    struct error err = {0};
    enum status status = tokenizer_encode(tokenizer, text, bytes, &ids, &err);
    if (status != STATUS_OK) {
        fuzz_check_error((int)status, &err);
        FUZZ_CHECK(status == STATUS_TOO_LARGE && ids.count == 0);
    }
    for (size_t i = 0; i < ids.count; i++)
        FUZZ_CHECK(ids.ids[i] >= 0 && (size_t)ids.ids[i] < tokenizer_vocab_size(tokenizer));
    check_decoding(tokenizer, &ids);
    token_list_free(&ids);
}

static void check_specials(const struct tokenizer *tokenizer) {
    struct tokenizer_specials specials = tokenizer_specials(tokenizer);
    const int32_t ids[] = {specials.unk, specials.bos, specials.eos, specials.pad};
    for (int i = 0; i < 4; i++)
        FUZZ_CHECK(ids[i] >= -1 && ids[i] < (int32_t)tokenizer_vocab_size(tokenizer));
}

/* All pieces' texts one after another, which is where a model's own merges are. */
static void encode_own_pieces(const struct tokenizer *tokenizer) {
    struct buffer text = {0};
    struct token_list ids = {0};
    for (size_t id = 0; id < tokenizer_vocab_size(tokenizer) && id < 1000; id++) {
        const struct piece *piece = &tokenizer->file.pieces[id];
        buffer_append(&text, piece->text, piece->bytes < 100 ? piece->bytes : 100);
        FUZZ_CHECK(token_list_append(&ids, (int32_t)id));
    }
    FUZZ_CHECK(!text.failed);
    check_encoding(tokenizer, text.data, text.size);
    check_decoding(tokenizer, &ids);
    buffer_free(&text);
    token_list_free(&ids);
}

void fuzz_tokenizer_model(const uint8_t *data, size_t size) {
    static const char sample[] = "Once upon a TIME,  there was caf\xC3\xA9 \xF0\x9F\x98\x80 \xEF"
                                 "\xAC\x81ne\t\xE3\x80\x80\xFF\x80\xC3 <sep> \xE2\x96\x81 a\0b ";
    struct tokenizer *tokenizer;
    struct error err = {0};
    enum status status = tokenizer_load_bytes(&tokenizer, data, size, "fuzz", &err);
    if (status != STATUS_OK) {
        fuzz_check_error((int)status, &err);
        FUZZ_CHECK(status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED);
        FUZZ_CHECK(tokenizer == NULL);
        return;
    }
    FUZZ_CHECK(tokenizer_vocab_size(tokenizer) > 0);
    check_specials(tokenizer);
    check_encoding(tokenizer, sample, sizeof sample - 1);
    encode_own_pieces(tokenizer);
    tokenizer_free(tokenizer);
}
