#include "tokenizer/tokenizer_internal.h"

#include "base/file.h"
#include "tokenizer/bpe.h"
#include "tokenizer/truecase.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t model_bytes_max = (size_t)256 << 20;
static const size_t text_bytes_max = (size_t)256 << 20;

bool token_list_append(struct token_list *list, int32_t id) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (!ids)
            return false;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return true;
}

void token_list_free(struct token_list *list) {
    free(list->ids);
    *list = (struct token_list){0};
}

static int32_t special(const struct vocabulary *vocabulary, struct text_span name,
                       enum piece_type type) {
    int32_t id = vocabulary_id(vocabulary, name.text, name.bytes);
    return vocabulary->pieces[id].type == type ? id : -1;
}

static enum status interpret(struct tokenizer *tokenizer, const char *name, struct error *err) {
    const struct model_file *file = &tokenizer->file;
    struct vocabulary *vocabulary = &tokenizer->vocabulary;
    enum status status = vocabulary_init(vocabulary, file, name, err);
    if (status == STATUS_OK)
        status = normalizer_init(&tokenizer->normalizer, &file->normalizer,
                                 file->treat_whitespace_as_suffix, &vocabulary->user_defined,
                                 name, err);
    tokenizer->has_denormalizer = file->denormalizer.charsmap.bytes > 0;
    if (status == STATUS_OK && tokenizer->has_denormalizer)
        status = normalizer_init(&tokenizer->denormalizer, &file->denormalizer, false, NULL,
                                 name, err);
    if (status != STATUS_OK)
        return status;
    /* Asked last: a file that is no model at all should be called that, not of another type. */
    if (file->type != MODEL_BPE)
        return error_set(err, STATUS_UNSUPPORTED,
                         "%s is not a byte-pair-encoding (BPE) model but of type %d", name,
                         (int)file->type);
    tokenizer->drops_leading_space =
        file->normalizer.add_dummy_prefix || file->normalizer.remove_extra_whitespaces;
    tokenizer->specials = (struct tokenizer_specials){
        .unk = special(vocabulary, file->unk_piece, PIECE_UNKNOWN),
        .bos = special(vocabulary, file->bos_piece, PIECE_CONTROL),
        .eos = special(vocabulary, file->eos_piece, PIECE_CONTROL),
        .pad = special(vocabulary, file->pad_piece, PIECE_CONTROL),
    };
    return STATUS_OK;
}

/* Takes `bytes` over, whatever happens. */
static enum status load_owned(struct tokenizer **result, char *bytes, size_t count,
                              const char *name, struct error *err) {
    enum status status;
    struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (!tokenizer) {
        free(bytes);
        return error_set(err, STATUS_NO_MEMORY, "no memory to load %s", name);
    }
    tokenizer->bytes = bytes;
    status = model_file_read(&tokenizer->file, bytes, count, name, err);
    if (status == STATUS_OK)
        status = interpret(tokenizer, name, err);
    if (status != STATUS_OK) {
        tokenizer_free(tokenizer);
        return status;
    }
    *result = tokenizer;
    return STATUS_OK;
}

enum status tokenizer_load_bytes(struct tokenizer **tokenizer, const void *bytes, size_t count,
                                 const char *name, struct error *err) {
    *tokenizer = NULL;
    char *copy = malloc(count ? count : 1); /* no slack, so that memory checkers see an overread */
    if (!copy)
        return error_set(err, STATUS_NO_MEMORY, "no memory to load %s", name);
    if (count)
        memcpy(copy, bytes, count);
    return load_owned(tokenizer, copy, count, name, err);
}

enum status tokenizer_load(struct tokenizer **tokenizer, const char *path, struct error *err) {
    struct buffer file = {0};
    *tokenizer = NULL;
    enum status status = file_check_regular(path, err);
    if (status == STATUS_OK)
        status = file_read(path, model_bytes_max, &file, err);
    if (status == STATUS_OK && !buffer_reserve(&file, 0)) /* an empty file is read as such */
        status = error_set(err, STATUS_NO_MEMORY, "no memory to load %s", path);
    if (status != STATUS_OK) {
        buffer_free(&file);
        return status;
    }
    size_t count = file.size;
    return load_owned(tokenizer, buffer_release(&file), count, path, err);
}

void tokenizer_free(struct tokenizer *tokenizer) {
    if (!tokenizer)
        return;
    normalizer_free(&tokenizer->denormalizer);
    normalizer_free(&tokenizer->normalizer);
    vocabulary_free(&tokenizer->vocabulary);
    model_file_free(&tokenizer->file);
    free(tokenizer->bytes);
    free(tokenizer);
}

enum status tokenizer_copy(const char *path, const char *folder, struct error *err) {
    char beside[FILE_PATH_BYTES] = ".", table[FILE_PATH_BYTES], to[FILE_PATH_BYTES];
    const char *slash = strrchr(path, '/');
    if (slash)
        snprintf(beside, sizeof beside, "%.*s", (int)(slash - path), path);
    enum status status = file_join(to, folder, "tokenizer.model", err);
    if (status == STATUS_OK)
        status = file_copy(path, to, err);
    if (status == STATUS_OK)
        status = file_join(table, beside, TRUECASE_FILE, err);
    if (status == STATUS_OK)
        status = file_join(to, folder, TRUECASE_FILE, err);
    return status == STATUS_OK && file_exists(table) ? file_copy(table, to, err) : status;
}

size_t tokenizer_vocab_size(const struct tokenizer *tokenizer) {
    return tokenizer->vocabulary.count;
}

struct tokenizer_specials tokenizer_specials(const struct tokenizer *tokenizer) {
    return tokenizer->specials;
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t bytes,
                             struct token_list *ids, struct error *err) {
    if (bytes == 0)
        return STATUS_OK;
    if (bytes > text_bytes_max)
        return error_set(err, STATUS_TOO_LARGE,
                         "a text of %zu bytes is too long to tokenize; "
                         "the most is %zu",
                         bytes, text_bytes_max);
    size_t count_before = ids->count;
    struct buffer normalized = {0};
    enum status status = normalizer_run(&tokenizer->normalizer, text, bytes, &normalized, err);
    if (status == STATUS_OK && normalized.size)
        status = bpe_encode(&tokenizer->vocabulary, normalized.data, normalized.size, ids, err);
    buffer_free(&normalized);
    if (status != STATUS_OK)
        ids->count = count_before;
    return status;
}
