/* The tokenizer's parts, its streams, and what it makes of broken model files.
 *
 * That ids and texts equal SentencePiece's is tested in tests/tokenizer, with
 * SentencePiece itself. Broken files show the most with CONFIG=asan.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/rng.h"
#include "tokenizer/model_file.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/prefix_matcher.h"
#include "tokenizer/protobuf.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char small_model[] = "tests/data/tokenizer_small.model";
static struct buffer model; /* the bytes of small_model */

/* Some of its ids. */
enum { PIECES = 420, UNK = 0, BOS = 1, EOS = 2, SEP = 5, A_WORD = 270 /* "▁a" */, SPACE = 322 };
static int32_t byte_id(int byte) {
    return 7 + byte;
}

static int load_small(void **state) {
    struct tokenizer *tokenizer;
    struct error err;
    if (file_read(small_model, 1 << 20, &model, &err) != STATUS_OK ||
        tokenizer_load_bytes(&tokenizer, model.data, model.size, "small", &err) != STATUS_OK) {
        print_error("%s (run from the repository's root)\n", err.message);
        return 1;
    }
    *state = tokenizer;
    return 0;
}

static int free_small(void **state) {
    tokenizer_free(*state);
    buffer_free(&model);
    return 0;
}

/* ---- utf-8 ---- */
static void utf8_is_strict(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t length;
    } cases[] = {
        {"a", 1},            {"\x7F", 1},         {"\xC2\x80", 2},     {"\xDF\xBF", 2},
        {"\xE0\xA0\x80", 3}, {"\xEF\xBF\xBF", 3}, {"\xED\x9F\xBF", 3}, {"\xF0\x90\x80\x80", 4},
        {"\xF4\x8F\xBF\xBF", 4},
        /* overlong, surrogates, too high, cut short, no beginning */
        {"\xC0\x80", 0},     {"\xC1\xBF", 0},     {"\xE0\x9F\xBF", 0}, {"\xED\xA0\x80", 0},
        {"\xF0\x8F\xBF\xBF", 0}, {"\xF4\x90\x80\x80", 0}, {"\xF8\x88\x80\x80\x80", 0},
        {"\xC2", 0},         {"\xE2\x96", 0},     {"\xE2\x28\xA1", 0}, {"\x80", 0}, {"\xFF", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(utf8_length(cases[i].text, strlen(cases[i].text)), cases[i].length);
    assert_int_equal(utf8_length("", 0), 0);
    assert_int_equal(utf8_length("\xE2\x96\x81", 2), 0); /* looks no further than asked */
    assert_true(utf8_unfinished("\xF0\x9F\x98", 3));
    assert_false(utf8_unfinished("\xF0\x9F\x98\x80", 4));
    assert_false(utf8_unfinished("\xE2\x28", 2));
    assert_false(utf8_unfinished("\xFF", 1));
}

/* ---- protobuf ---- */
static enum protobuf_result read_all(const char *bytes, size_t count, int *fields) {
    unsigned char *copy = malloc(count + !count); /* so that an overread is seen */
    struct protobuf_field field;
    enum protobuf_result result;
    assert_non_null(copy);
    memcpy(copy, bytes, count);
    struct protobuf_reader reader = {copy, copy + count};
    *fields = 0;
    while ((result = protobuf_next(&reader, &field)) == PROTOBUF_FIELD)
        ++*fields;
    free(copy);
    return result;
}

static void protobuf_reads_and_checks(void **state) {
    (void)state;
    int fields;
#define READ(text) read_all(text, sizeof text - 1, &fields)
    assert_int_equal(READ(""), PROTOBUF_END);
    assert_int_equal(READ("\x08\x96\x01\x12\x03" "abc\x1D" "1234\x21" "12345678"), PROTOBUF_END);
    assert_int_equal(fields, 4);
    assert_int_equal(READ("\x0B\x13\x08\x01\x14\x0C\x08\x07"), PROTOBUF_END); /* nested groups */
    assert_int_equal(fields, 1);
    assert_int_equal(READ("\x0B\x13\x08\x01\x0C\x14"), PROTOBUF_BROKEN); /* crossed ends */
    assert_int_equal(READ("\x0B\x08\x01"), PROTOBUF_BROKEN);             /* no end */
    assert_int_equal(READ("\x0C"), PROTOBUF_BROKEN);                     /* no start */
    assert_int_equal(READ("\x00\x01"), PROTOBUF_BROKEN);                 /* field 0 */
    assert_int_equal(READ("\x0E\x01"), PROTOBUF_BROKEN);                 /* wire type 6 */
    assert_int_equal(READ("\x12\x04" "abc"), PROTOBUF_BROKEN);           /* longer than the file */
    assert_int_equal(READ("\x12\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"), PROTOBUF_BROKEN);
    assert_int_equal(READ("\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"), PROTOBUF_BROKEN);
    assert_int_equal(READ("\x1D" "123"), PROTOBUF_BROKEN);
    assert_int_equal(READ("\x21" "1234567"), PROTOBUF_BROKEN);
#undef READ
    char nested[2000];
    memset(nested, 0x0B, 1000);
    memset(nested + 1000, 0x0C, 1000);
    assert_int_equal(read_all(nested + 950, 100, &fields), PROTOBUF_END);
    assert_int_equal(read_all(nested, 2000, &fields), PROTOBUF_BROKEN);
}

/* ---- prefix matcher ---- */
static void matcher_finds_the_longest(void **state) {
    (void)state;
    struct prefix_matcher matcher = {0};
    static const char *const words[] = {"abc", "a", "abcde", "b\xFF", "abd", "<sep>",
                                        SPACE_MARK};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        assert_true(prefix_matcher_add(&matcher, (struct text_span){words[i], strlen(words[i])}));
    prefix_matcher_sort(&matcher);
#define LONGEST(text) prefix_matcher_longest(&matcher, text, sizeof text - 1)
    assert_int_equal(LONGEST("abcdx"), 3);
    assert_int_equal(LONGEST("abcde"), 5);
    assert_int_equal(LONGEST("abxx"), 1);
    assert_int_equal(LONGEST("abd"), 3);
    assert_int_equal(LONGEST("b"), 0);
    assert_int_equal(LONGEST("b\xFF\xFF"), 2);
    assert_int_equal(LONGEST("<sep"), 0);
    assert_int_equal(LONGEST("<sep>>"), 5);
    assert_int_equal(LONGEST("\xE2\x96\x81x"), 3);
    assert_int_equal(LONGEST(""), 0);
    assert_int_equal(LONGEST("zzz"), 0);
#undef LONGEST
    prefix_matcher_free(&matcher);
}

/* ---- a whole model ---- */
static void assert_encodes(const struct tokenizer *tokenizer, const char *text, size_t bytes,
                           const char *expected) {
    struct token_list ids = {0};
    struct buffer printed = {0};
    assert_int_equal(tokenizer_encode(tokenizer, text, bytes, &ids, NULL), STATUS_OK);
    for (size_t i = 0; i < ids.count; i++)
        buffer_printf(&printed, "%s%d", i ? " " : "", (int)ids.ids[i]);
    assert_string_equal(printed.data ? printed.data : "", expected);
    token_list_free(&ids);
    buffer_free(&printed);
}

static void encodes_what_spm_encode_does(void **state) {
    const struct tokenizer *small = *state;
#define ENCODES(text, ids) assert_encodes(small, text, sizeof text - 1, ids)
    ENCODES("Once upon a time", "322 86 326 287 322 340 336 268 270 263 327 292");
    ENCODES("hello <sep> foo barfoo", "322 264 307 328 322 5 269 328 328 272 291 337 328 328");
    ENCODES("ABA é 日 ﬁne！", "300 378 324 322 323 322 413 269 271 323 357");
    ENCODES("  two  spaces ", "263 342 328 266 336 324 287 333");
    ENCODES("<s></s>", "322 67 333 69 67 54 333 69");
    ENCODES("", "");
    ENCODES("   ", "");
    ENCODES("\xE2\x80\x8B", ""); /* normalized to nothing */
#undef ENCODES
    struct tokenizer_specials specials = tokenizer_specials(small);
    assert_int_equal(specials.unk, 0);
    assert_int_equal(specials.bos, 1);
    assert_int_equal(specials.eos, 2);
    assert_int_equal(specials.pad, 3);
    assert_int_equal(tokenizer_vocab_size(small), PIECES);
}

static void encoding_appends(void **state) {
    const struct tokenizer *small = *state;
    struct token_list ids = {0};
    assert_true(token_list_append(&ids, 1));
    assert_int_equal(tokenizer_encode(small, "two", 3, &ids, NULL), STATUS_OK);
    assert_int_equal(ids.count, 4);
    assert_int_equal(ids.ids[0], 1);
    assert_int_equal(ids.ids[1], 263);
    token_list_free(&ids);
}

static void assert_decodes(const struct tokenizer *tokenizer, const int32_t *ids, size_t count,
                           const char *expected) {
    struct buffer text = {0};
    buffer_append_text(&text, "|");
    assert_int_equal(tokenizer_decode(tokenizer, ids, count, &text, NULL), STATUS_OK);
    assert_string_equal(text.data + 1, expected);
    buffer_free(&text);
}

static void decodes_what_spm_decode_does(void **state) {
    const struct tokenizer *small = *state;
#define DECODES(expected, ...)                                                                    \
    do {                                                                                          \
        const int32_t list[] = {__VA_ARGS__};                                                     \
        assert_decodes(small, list, sizeof list / sizeof *list, expected);                        \
    } while (0)
    DECODES("a a", A_WORD, A_WORD);
    DECODES("a", BOS, SPACE, SPACE, A_WORD, EOS); /* leading space goes until there is text */
    DECODES("<sep> a", SEP, A_WORD);
    DECODES(" \xE2\x81\x87  a", UNK, A_WORD);
    DECODES("\xC3\xA9 a", byte_id(0xC3), byte_id(0xA9), A_WORD);
    DECODES("\xEF\xBF\xBD a", byte_id(0xC3), A_WORD);
    DECODES("\xEF\xBF\xBD" "A", byte_id(0xC3), byte_id('A'));
    DECODES("\xEF\xBF\xBD\xEF\xBF\xBD", byte_id(0xC3), BOS, byte_id(0xA9));
    DECODES("\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", byte_id(0xE0), byte_id(0x80), byte_id(0x80));
    DECODES("\xEF\xBF\xBD\xEF\xBF\xBD", byte_id(0xF0), byte_id(0x9F));
    DECODES("\xE2\x96\x81", byte_id(0xE2), byte_id(0x96), byte_id(0x81));
#undef DECODES
    assert_decodes(small, NULL, 0, "");
}

static void ids_out_of_range_are_refused(void **state) {
    const struct tokenizer *small = *state;
    const int32_t bad[] = {-1, PIECES, INT32_MAX, INT32_MIN};
    struct buffer text = {0};
    struct error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(tokenizer_decode(small, &bad[i], 1, &text, &err), STATUS_INVALID);
    buffer_free(&text);
}

/* ---- streams ---- */
static void assert_whole_characters(const struct buffer *text) {
    for (size_t at = 0; at < text->size;) {
        size_t length = utf8_length(text->data + at, text->size - at);
        assert_true(length > 0);
        at += length;
    }
}

static void streams_equal_whole_decoding(void **state) {
    const struct tokenizer *small = *state;
    uint64_t draw = 0;
    for (int round = 0; round < 3000; round++) {
        int32_t ids[24];
        size_t count = rng_bits(1, draw++) % 24;
        struct buffer whole = {0}, streamed = {0};
        struct text_stream stream;
        for (size_t i = 0; i < count; i++) /* mostly bytes of several kinds */
            ids[i] = rng_bits(1, draw++) % 3 ? byte_id((int)(0x78 + rng_bits(1, draw++) % 0x88))
                                             : (int32_t)(rng_bits(1, draw++) % PIECES);
        assert_int_equal(tokenizer_decode(small, ids, count, &whole, NULL), STATUS_OK);
        text_stream_start(&stream, small, false);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(text_stream_push(&stream, ids[i], &streamed, NULL), STATUS_OK);
            assert_whole_characters(&streamed);
        }
        assert_int_equal(text_stream_finish(&stream, &streamed, NULL), STATUS_OK);
        assert_whole_characters(&streamed);
        assert_int_equal(whole.size, streamed.size);
        if (whole.size)
            assert_memory_equal(whole.data, streamed.data, whole.size);
        buffer_free(&whole);
        buffer_free(&streamed);
    }
}

static void streams_hold_back_unfinished_characters(void **state) {
    const struct tokenizer *small = *state;
    struct text_stream stream;
    struct buffer text = {0}, shown = {0};
    text_stream_start(&stream, small, true);
    const struct {
        int32_t id;
        const char *so_far, *shown; /* the text then, and how the id is shown by itself */
        size_t begins;
    } steps[] = {
        {A_WORD, " a", " a", 0}, /* it continues earlier text, so the space stays */
        {byte_id(0xF0), " a", "bytes:\\xf0", 2},
        {byte_id(0x9F), " a", "bytes:\\x9f", 2},
        {byte_id(0x98), " a", "bytes:\\x98", 2},
        {byte_id(0x80), " a\xF0\x9F\x98\x80", "bytes:\\x80", 2},
        {byte_id(0xE2), " a\xF0\x9F\x98\x80", "bytes:\\xe2", 6},
        {BOS, " a\xF0\x9F\x98\x80\xEF\xBF\xBD", "<s>", 9},
        {byte_id(0xC3), " a\xF0\x9F\x98\x80\xEF\xBF\xBD", "bytes:\\xc3", 9},
        {byte_id('x'), " a\xF0\x9F\x98\x80\xEF\xBF\xBD\xEF\xBF\xBDx", "x", 12},
        {byte_id(0xC3), " a\xF0\x9F\x98\x80\xEF\xBF\xBD\xEF\xBF\xBDx", "bytes:\\xc3", 13},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        buffer_clear(&shown);
        assert_int_equal(text_stream_push(&stream, steps[i].id, &text, NULL), STATUS_OK);
        assert_string_equal(text.data, steps[i].so_far);
        assert_int_equal(stream.begins, steps[i].begins);
        assert_int_equal(tokenizer_token_to_piece(small, steps[i].id, false, &shown, NULL),
                         STATUS_OK);
        assert_string_equal(shown.data, steps[i].shown);
    }
    assert_int_equal(tokenizer_token_to_piece(small, PIECES, false, &shown, NULL), STATUS_INVALID);
    buffer_free(&shown);
    assert_int_equal(text_stream_push(&stream, PIECES, &text, NULL), STATUS_INVALID);
    assert_int_equal(text_stream_finish(&stream, &text, NULL), STATUS_OK);
    assert_string_equal(text.data, " a\xF0\x9F\x98\x80\xEF\xBF\xBD\xEF\xBF\xBDx\xEF\xBF\xBD");
    buffer_free(&text);
}

/* ---- broken files ---- */
/* Loads bytes that may be anything; what loads must also work. */
static enum status try_model(const char *bytes, size_t count) {
    static const char text[] = "ABAB é e\xCC\x81 ﬁ foo bar<sep> hello\t\xC2\xA0 "
                               "\xFF\xE2\x96 日本 THE xyz";
    struct tokenizer *tokenizer;
    struct error err = {0};
    enum status status = tokenizer_load_bytes(&tokenizer, bytes, count, "broken", &err);
    if (status != STATUS_OK) {
        assert_null(tokenizer);
        assert_int_equal(err.status, status);
        assert_true(strlen(err.message) > 0);
        return status;
    }
    struct token_list ids = {0};
    struct buffer decoded = {0};
    if (tokenizer_encode(tokenizer, text, sizeof text - 1, &ids, &err) == STATUS_OK) {
        for (size_t i = 0; i < ids.count; i++)
            assert_in_range(ids.ids[i], 0, tokenizer_vocab_size(tokenizer) - 1);
        assert_int_equal(tokenizer_decode(tokenizer, ids.ids, ids.count, &decoded, &err),
                         STATUS_OK);
    }
    token_list_free(&ids);
    buffer_free(&decoded);
    tokenizer_free(tokenizer);
    return STATUS_OK;
}

static bool is_refusal(enum status status) {
    return status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED;
}

static void truncated_files_are_refused(void **state) {
    (void)state;
    size_t loaded = 0;
    for (size_t count = 0; count < model.size; count++) {
        enum status status = try_model(model.data, count);
        assert_true(status == STATUS_OK || is_refusal(status));
        loaded += status == STATUS_OK;
    }
    /* Only a cut between the parts leaves a model: after the trainer's settings. */
    assert_in_range(loaded, 0, 2);
    assert_int_equal(try_model(model.data, model.size), STATUS_OK);
}

static void flipped_bits_do_no_harm(void **state) {
    (void)state;
    char *copy = malloc(model.size);
    assert_non_null(copy);
    size_t refused = 0;
    for (size_t at = 0; at < model.size; at++) {
        memcpy(copy, model.data, model.size);
        copy[at] ^= (char)(1 << rng_bits(2, at) % 8);
        refused += is_refusal(try_model(copy, model.size));
        for (int i = 0; i < 3; i++) /* and some more bytes, anywhere */
            copy[rng_bits(3, 4 * at + i) % model.size] = (char)rng_bits(4, 4 * at + i);
        try_model(copy, model.size);
    }
    assert_in_range(refused, model.size / 20, model.size);
    free(copy);
}

static void random_bytes_are_refused(void **state) {
    (void)state;
    for (uint64_t round = 0; round < 3000; round++) {
        char bytes[64];
        size_t count = rng_bits(5, round) % sizeof bytes;
        for (size_t i = 0; i < count; i++)
            bytes[i] = (char)rng_bits(6, round * sizeof bytes + i);
        assert_true(is_refusal(try_model(bytes, count)));
    }
}

/* Appends a field of a protobuf message: a varint, or bytes[count]. */
static void put_varint(struct buffer *out, uint64_t value) {
    for (; value > 0x7F; value >>= 7)
        buffer_append(out, &(char){(char)(value | 0x80)}, 1);
    buffer_append(out, &(char){(char)value}, 1);
}
static void put_number(struct buffer *out, unsigned field, uint64_t value) {
    put_varint(out, field << 3);
    put_varint(out, value);
}
static void put_bytes(struct buffer *out, unsigned field, const void *bytes, size_t count) {
    put_varint(out, field << 3 | 2);
    put_varint(out, count);
    buffer_append(out, bytes, count);
}
static void put_piece(struct buffer *out, const char *text, enum piece_type type) {
    struct buffer piece = {0};
    put_bytes(&piece, 1, text, strlen(text));
    put_number(&piece, 3, type);
    put_bytes(out, 1, piece.data, piece.size);
    buffer_free(&piece);
}
static void put_trainer(struct buffer *out, enum model_type type, bool byte_fallback) {
    struct buffer trainer = {0};
    put_number(&trainer, 3, type);
    put_number(&trainer, 35, byte_fallback);
    put_bytes(out, 2, trainer.data, trainer.size);
    buffer_free(&trainer);
}

static void impossible_vocabularies_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *pieces[3];
        enum piece_type types[3];
        enum model_type model;
        bool byte_fallback;
        enum status status;
    } cases[] = {
        {{"<unk>", "a"}, {PIECE_UNKNOWN, PIECE_NORMAL}, MODEL_BPE, false, STATUS_OK},
        {{"<unk>", "a"}, {PIECE_UNKNOWN, PIECE_CONTROL}, MODEL_BPE, false, STATUS_OK},
        {{"<unk>", "a"}, {PIECE_UNKNOWN, PIECE_NORMAL}, MODEL_UNIGRAM, false, STATUS_UNSUPPORTED},
        {{"<unk>", "a"}, {PIECE_UNKNOWN, PIECE_NORMAL}, MODEL_CHAR, false, STATUS_UNSUPPORTED},
        {{"a"}, {PIECE_NORMAL}, MODEL_BPE, false, STATUS_CORRUPT},
        {{"<unk>", "u"}, {PIECE_UNKNOWN, PIECE_UNKNOWN}, MODEL_BPE, false, STATUS_CORRUPT},
        {{"<unk>", "a", "a"}, {PIECE_UNKNOWN, PIECE_NORMAL, PIECE_UNUSED}, MODEL_BPE, false,
         STATUS_CORRUPT},
        {{"<unk>", "a", "a"}, {PIECE_UNKNOWN, PIECE_NORMAL, PIECE_CONTROL}, MODEL_BPE, false,
         STATUS_OK}, /* a text may be there once as text and once reserved */
        {{"<unk>", ""}, {PIECE_UNKNOWN, PIECE_NORMAL}, MODEL_BPE, false, STATUS_CORRUPT},
        {{"<unk>", "<0x41>"}, {PIECE_UNKNOWN, PIECE_BYTE}, MODEL_BPE, false, STATUS_CORRUPT},
        {{"<unk>", "<0x41>"}, {PIECE_UNKNOWN, PIECE_BYTE}, MODEL_BPE, true, STATUS_CORRUPT},
        {{"<unk>", "<0x4g>"}, {PIECE_UNKNOWN, PIECE_BYTE}, MODEL_BPE, true, STATUS_CORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buffer file = {0};
        for (int piece = 0; piece < 3 && cases[i].pieces[piece]; piece++)
            put_piece(&file, cases[i].pieces[piece], cases[i].types[piece]);
        put_trainer(&file, cases[i].model, cases[i].byte_fallback);
        assert_int_equal(try_model(file.data, file.size), cases[i].status);
        buffer_free(&file);
    }
}

static void control_pieces_are_not_read_from_text(void **state) {
    (void)state;
    struct buffer file = {0};
    struct tokenizer *tokenizer;
    put_piece(&file, "<unk>", PIECE_UNKNOWN);
    put_piece(&file, "$", PIECE_CONTROL);
    put_piece(&file, SPACE_MARK, PIECE_NORMAL);
    put_trainer(&file, MODEL_BPE, false);
    assert_int_equal(tokenizer_load_bytes(&tokenizer, file.data, file.size, "file", NULL),
                     STATUS_OK);
    assert_encodes(tokenizer, "$", 1, "2 0");
    tokenizer_free(tokenizer);
    buffer_free(&file);
}

/* A model of one letter whose normalization rules are the given bytes. */
static enum status try_rules(const void *charsmap, size_t count, const char *text, size_t bytes) {
    struct buffer file = {0}, normalizer = {0};
    struct tokenizer *tokenizer;
    struct token_list ids = {0};
    put_piece(&file, "<unk>", PIECE_UNKNOWN);
    put_piece(&file, "a", PIECE_NORMAL);
    put_trainer(&file, MODEL_BPE, false);
    put_bytes(&normalizer, 2, charsmap, count);
    put_bytes(&file, 3, normalizer.data, normalizer.size);
    enum status status = tokenizer_load_bytes(&tokenizer, file.data, file.size, "rules", NULL);
    if (status == STATUS_OK)
        status = tokenizer_encode(tokenizer, text, bytes, &ids, NULL);
    tokenizer_free(tokenizer);
    token_list_free(&ids);
    buffer_free(&file);
    buffer_free(&normalizer);
    return status;
}

static void hostile_rules_stay_inside(void **state) {
    (void)state;
    char text[256], map[4 + 4 * 512 + 64];
    for (int i = 0; i < 256; i++)
        text[i] = (char)i;
    for (uint64_t round = 0; round < 500; round++) {
        const uint32_t trie_bytes = 4 * (1 + (uint32_t)(rng_bits(7, round) % 512));
        const char head[4] = {(char)trie_bytes, (char)(trie_bytes >> 8), 0, 0};
        memcpy(map, head, 4);
        for (uint32_t i = 0; i < trie_bytes / 4; i++) {
            /* Labels mostly fit their place, so that walks go far; offsets go anywhere near. */
            uint64_t random = rng_bits(8, round * 512 + i);
            uint32_t unit = (uint32_t)(random & 0x7FFu) << 10 | (uint32_t)(random >> 20 & 0x300u) |
                            (random >> 32 & 3 ? i & 0xFFu : (uint32_t)(random >> 40 & 0xFFu));
            for (int byte = 0; byte < 4; byte++)
                map[4 + 4 * i + byte] = (char)(unit >> 8 * byte);
        }
        memset(map + 4 + trie_bytes, 'a', 64); /* no NUL at the end */
        enum status status = try_rules(map, 4 + trie_bytes + rng_bits(9, round) % 64, text, 256);
        assert_true(status == STATUS_OK || status == STATUS_TOO_LARGE);
    }
    assert_int_equal(try_rules("\4\0\0\0" "\0\0\0", 7, "a", 1), STATUS_CORRUPT);
    assert_int_equal(try_rules("\0\0\0\0" "\0\0\0\0", 8, "a", 1), STATUS_CORRUPT);
    assert_int_equal(try_rules("\5\0\0\0" "\0\0\0\0\0", 9, "a", 1), STATUS_CORRUPT);
    assert_int_equal(try_rules("\xFF\xFF\xFF\xFF" "\0\0\0\0", 8, "a", 1), STATUS_CORRUPT);
    assert_int_equal(try_rules("\4", 1, "a", 1), STATUS_CORRUPT);
    assert_int_equal(try_rules("\4\0\0\0" "\0\0\0\0", 8, "a", 1), STATUS_OK);
}

/* Rules may not make a text of any size out of a short one. */
static void growing_rules_are_stopped(void **state) {
    (void)state;
    enum { UNITS = 512, REPLACEMENT_BYTES = 1 << 20 };
    const size_t size = 4 + 4 * UNITS + REPLACEMENT_BYTES;
    unsigned char *map = calloc(1, size);
    char *text = malloc(1000);
    assert_non_null(map);
    assert_non_null(text);
    map[1] = (4 * UNITS) >> 8;
    const uint32_t node = 256 ^ 'x', value = 384;
    const uint32_t root = 256u << 10, unit = (node ^ value) << 10 | 1u << 8 | 'x';
    for (int byte = 0; byte < 4; byte++) {
        map[4 + byte] = (unsigned char)(root >> 8 * byte);
        map[4 + 4 * node + byte] = (unsigned char)(unit >> 8 * byte);
    }
    map[4 + 4 * value + 3] = 0x80; /* a value: 0, the beginning of the replacements */
    memset(map + 4 + 4 * UNITS, 'a', REPLACEMENT_BYTES);
    memset(text, 'x', 1000);
    assert_int_equal(try_rules(map, size, text, 1000), STATUS_TOO_LARGE);
    map[4 + 4 * UNITS + 100] = '\0'; /* a hundred times is allowed */
    assert_int_equal(try_rules(map, size, text, 1000), STATUS_OK);
    free(map);
    free(text);
}

/* ---- threads ---- */
static void *encode_often(void *context) {
    static const char text[] = "Once upon a time ﬁne <sep> 日本 hello";
    const struct tokenizer *small = context;
    uint64_t sum = 0;
    for (int i = 0; i < 300; i++) {
        struct token_list ids = {0};
        struct buffer decoded = {0};
        if (tokenizer_encode(small, text, sizeof text - 1, &ids, NULL) == STATUS_OK &&
            tokenizer_decode(small, ids.ids, ids.count, &decoded, NULL) == STATUS_OK)
            for (size_t k = 0; k < ids.count; k++)
                sum = sum * 31 + (uint64_t)ids.ids[k] + decoded.size;
        token_list_free(&ids);
        buffer_free(&decoded);
    }
    return (void *)(uintptr_t)sum;
}

static void threads_share_a_tokenizer(void **state) {
    pthread_t threads[4];
    void *alone = encode_often(*state), *sum;
    assert_true((uintptr_t)alone != 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, *state), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &sum), 0);
        assert_ptr_equal(sum, alone);
    }
}

/* ---- files ---- */
static void files_load_or_say_why(void **state) {
    (void)state;
    struct tokenizer *tokenizer;
    struct error err;
    assert_int_equal(tokenizer_load(&tokenizer, small_model, &err), STATUS_OK);
    tokenizer_free(tokenizer);
    assert_int_equal(tokenizer_load(&tokenizer, "tests/data/none.model", &err), STATUS_NOT_FOUND);
    assert_null(tokenizer);
    assert_int_equal(tokenizer_load(&tokenizer, "/dev/null", &err), STATUS_INVALID);
    assert_int_equal(tokenizer_load(&tokenizer, "tests/data", &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "tests/data is a folder"));
    tokenizer_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(protobuf_reads_and_checks),
        cmocka_unit_test(matcher_finds_the_longest),
        cmocka_unit_test(encodes_what_spm_encode_does),
        cmocka_unit_test(encoding_appends),
        cmocka_unit_test(decodes_what_spm_decode_does),
        cmocka_unit_test(ids_out_of_range_are_refused),
        cmocka_unit_test(streams_equal_whole_decoding),
        cmocka_unit_test(streams_hold_back_unfinished_characters),
        cmocka_unit_test(truncated_files_are_refused),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(random_bytes_are_refused),
        cmocka_unit_test(impossible_vocabularies_are_refused),
        cmocka_unit_test(control_pieces_are_not_read_from_text),
        cmocka_unit_test(hostile_rules_stay_inside),
        cmocka_unit_test(growing_rules_are_stopped),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(files_load_or_say_why),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, load_small, free_small);
}
