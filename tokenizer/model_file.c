#include "tokenizer/model_file.h"

#include "base/foreign.h"
#include "tokenizer/protobuf.h"

#include <stdlib.h>
#include <string.h>

/* Field numbers of the format's messages. */
enum { MODEL_PIECE = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3, MODEL_DENORMALIZER = 5 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum {
    TRAINER_MODEL_TYPE = 3,
    TRAINER_WHITESPACE_AS_SUFFIX = 24,
    TRAINER_BYTE_FALLBACK = 35,
    TRAINER_UNK_SURFACE = 44,
    TRAINER_UNK_PIECE = 45,
    TRAINER_BOS_PIECE = 46,
    TRAINER_EOS_PIECE = 47,
    TRAINER_PAD_PIECE = 48,
};
enum {
    NORMALIZER_CHARSMAP = 2,
    NORMALIZER_DUMMY_PREFIX = 3,
    NORMALIZER_REMOVE_EXTRA = 4,
    NORMALIZER_ESCAPE = 5,
};

/* The pieces and sub-messages of a file can only be this long, so that offsets fit 32 bits. */
static const size_t bytes_max = INT32_MAX;

static struct text_span span_of(const char *text) {
    return (struct text_span){text, strlen(text)};
}

/* A field of another type than the format says is an unknown field: ignored. */
static void take_text(const struct protobuf_field *field, struct text_span *value) {
    if (field->type == PROTOBUF_BYTES)
        *value = (struct text_span){field->bytes, field->size};
}

static void take_bool(const struct protobuf_field *field, bool *value) {
    if (field->type == PROTOBUF_VARINT)
        *value = field->integer != 0;
}

/* Enum values the format does not know leave the earlier value. */
static bool take_enum(const struct protobuf_field *field, int max, int *value) {
    int32_t number = (int32_t)(uint32_t)field->integer;
    if (field->type != PROTOBUF_VARINT || number < 1 || number > max)
        return false;
    *value = number;
    return true;
}

static struct protobuf_reader read_inside(const struct protobuf_field *field) {
    const unsigned char *bytes = (const unsigned char *)field->bytes;
    return (struct protobuf_reader){bytes, bytes + field->size};
}

static enum protobuf_result read_piece(struct protobuf_reader reader, struct piece *piece) {
    struct protobuf_field field;
    enum protobuf_result result;
    struct text_span text = {"", 0};
    int type = PIECE_NORMAL;
    float score = 0;
    while ((result = protobuf_next(&reader, &field)) == PROTOBUF_FIELD) {
        if (field.number == PIECE_TEXT)
            take_text(&field, &text);
        else if (field.number == PIECE_TYPE)
            take_enum(&field, PIECE_BYTE, &type);
        else if (field.number == PIECE_SCORE && field.type == PROTOBUF_FIXED32) {
            uint32_t bits = (uint32_t)field.integer;
            memcpy(&score, &bits, sizeof score);
        }
    }
    *piece = (struct piece){text.text, (uint32_t)text.bytes, score, (enum piece_type)type};
    return result;
}

static enum protobuf_result read_trainer(struct protobuf_reader reader, struct model_file *file) {
    struct protobuf_field field;
    enum protobuf_result result;
    int type = (int)file->type;
    while ((result = protobuf_next(&reader, &field)) == PROTOBUF_FIELD) {
        switch (field.number) {
        case TRAINER_MODEL_TYPE: take_enum(&field, MODEL_CHAR, &type); break;
        case TRAINER_WHITESPACE_AS_SUFFIX:
            take_bool(&field, &file->treat_whitespace_as_suffix);
            break;
        case TRAINER_BYTE_FALLBACK: take_bool(&field, &file->byte_fallback); break;
        case TRAINER_UNK_SURFACE: take_text(&field, &file->unk_surface); break;
        case TRAINER_UNK_PIECE: take_text(&field, &file->unk_piece); break;
        case TRAINER_BOS_PIECE: take_text(&field, &file->bos_piece); break;
        case TRAINER_EOS_PIECE: take_text(&field, &file->eos_piece); break;
        case TRAINER_PAD_PIECE: take_text(&field, &file->pad_piece); break;
        default: break;
        }
    }
    file->type = (enum model_type)type;
    return result;
}

static enum protobuf_result read_normalizer(struct protobuf_reader reader,
                                            struct normalizer_spec *spec) {
    struct protobuf_field field;
    enum protobuf_result result;
    while ((result = protobuf_next(&reader, &field)) == PROTOBUF_FIELD) {
        switch (field.number) {
        case NORMALIZER_CHARSMAP: take_text(&field, &spec->charsmap); break;
        case NORMALIZER_DUMMY_PREFIX: take_bool(&field, &spec->add_dummy_prefix); break;
        case NORMALIZER_REMOVE_EXTRA: take_bool(&field, &spec->remove_extra_whitespaces); break;
        case NORMALIZER_ESCAPE: take_bool(&field, &spec->escape_whitespaces); break;
        default: break;
        }
    }
    return result;
}

static enum status add_piece(struct model_file *file, struct protobuf_reader reader,
                             const char *name, struct error *err) {
    struct piece piece;
    if (read_piece(reader, &piece) != PROTOBUF_END)
        return error_set(err, STATUS_CORRUPT, "%s: piece %zu is cut short", name,
                         file->piece_count);
    if (piece.bytes == 0)
        return error_set(err, STATUS_CORRUPT, "%s: piece %zu is empty", name, file->piece_count);
    if (file->piece_count == file->piece_capacity) {
        size_t capacity = file->piece_capacity ? 2 * file->piece_capacity : 1024;
        struct piece *pieces = realloc(file->pieces, capacity * sizeof *pieces);
        if (!pieces)
            return error_set(err, STATUS_NO_MEMORY, "no memory for the pieces of %s", name);
        file->pieces = pieces;
        file->piece_capacity = capacity;
    }
    file->pieces[file->piece_count++] = piece;
    return STATUS_OK;
}

static enum status read_part(struct model_file *file, const struct protobuf_field *field,
                             const char *name, struct error *err) {
    enum protobuf_result result = PROTOBUF_END;
    if (field->type != PROTOBUF_BYTES)
        return STATUS_OK;
    struct protobuf_reader inside = read_inside(field);
    switch (field->number) {
    case MODEL_PIECE:
        return add_piece(file, inside, name, err);
    case MODEL_TRAINER: result = read_trainer(inside, file); break;
    case MODEL_NORMALIZER: result = read_normalizer(inside, &file->normalizer); break;
    case MODEL_DENORMALIZER: result = read_normalizer(inside, &file->denormalizer); break;
    default: break;
    }
    if (result != PROTOBUF_END)
        return error_set(err, STATUS_CORRUPT, "%s: the settings are not a SentencePiece model's",
                         name);
    return STATUS_OK;
}

/* The names of the special pieces: an empty one means the usual one; a NUL ends them. */
static void settle_name(struct text_span *span, const char *usual) {
    if (span->bytes == 0)
        *span = span_of(usual);
    const char *end = memchr(span->text, '\0', span->bytes);
    if (end)
        span->bytes = (size_t)(end - span->text);
}

static void settle(struct model_file *file) {
    settle_name(&file->unk_piece, "<unk>");
    settle_name(&file->bos_piece, "<s>");
    settle_name(&file->eos_piece, "</s>");
    settle_name(&file->pad_piece, "<pad>");
    if (file->unk_surface.bytes) /* an empty surface is a choice, so it stays */
        settle_name(&file->unk_surface, "");
}

enum status model_file_read(struct model_file *file, const char *bytes, size_t count,
                            const char *name, struct error *err) {
    const struct normalizer_spec usual = {{"", 0}, true, true, true};
    *file = (struct model_file){
        .type = MODEL_UNIGRAM,
        .unk_surface = span_of(" \xE2\x81\x87 "),
        .normalizer = usual,
        .denormalizer = usual,
    };
    if (count > bytes_max)
        return error_set(err, STATUS_TOO_LARGE, "%s is larger than 2 GiB", name);
    const unsigned char *start = (const unsigned char *)bytes;
    struct protobuf_reader reader = {start, start + count};
    struct protobuf_field field;
    enum protobuf_result result;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && (result = protobuf_next(&reader, &field)) != PROTOBUF_END) {
        if (result == PROTOBUF_BROKEN)
            status = error_set(err, STATUS_CORRUPT, "%s is not a SentencePiece model, or cut short",
                               name);
        else
            status = read_part(file, &field, name, err);
    }
    if (status == STATUS_OK) {
        settle(file);
        return STATUS_OK;
    }
    model_file_free(file);
    const char *foreign = status == STATUS_CORRUPT ? foreign_name(bytes, count) : NULL;
    return foreign ? error_set(err, status, "%s is %s", name, foreign) : status;
}

void model_file_free(struct model_file *file) {
    free(file->pieces);
    *file = (struct model_file){0};
}
