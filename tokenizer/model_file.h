/* model_file.h - a SentencePiece `tokenizer.model`, read but not interpreted.
 *
 * The fields that encoding and decoding depend on, with the defaults of the
 * format filled in; everything else in the file is skipped.
 * Ownership: texts point into the caller's bytes, which must outlive the
 * struct; the list of pieces is freed by model_file_free(). Never changed
 * after reading, so any number of threads may look at it.
 */
#ifndef ALPACA_TOKENIZER_MODEL_FILE_H
#define ALPACA_TOKENIZER_MODEL_FILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* U+2581, the mark that stands for a space inside pieces. */
#define SPACE_MARK "\xE2\x96\x81"
#define SPACE_MARK_BYTES 3

enum piece_type { /* numbered as in the file */
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN = 2,
    PIECE_CONTROL = 3,
    PIECE_USER_DEFINED = 4,
    PIECE_UNUSED = 5,
    PIECE_BYTE = 6,
};

enum model_type { MODEL_UNIGRAM = 1, MODEL_BPE = 2, MODEL_WORD = 3, MODEL_CHAR = 4 };

struct piece {
    const char *text; /* text[bytes], no NUL behind it */
    uint32_t bytes;   /* at least 1 */
    float score;      /* higher merges earlier */
    enum piece_type type;
};

struct text_span {
    const char *text;
    size_t bytes;
};

struct normalizer_spec {
    struct text_span charsmap; /* empty: characters stay as they are */
    bool add_dummy_prefix;
    bool remove_extra_whitespaces;
    bool escape_whitespaces;
};

struct model_file {
    struct piece *pieces; /* [piece_count], the index is the id */
    size_t piece_count, piece_capacity;
    enum model_type type;
    bool byte_fallback;
    bool treat_whitespace_as_suffix;
    struct text_span unk_surface;
    struct text_span unk_piece, bos_piece, eos_piece, pad_piece;
    struct normalizer_spec normalizer;
    struct normalizer_spec denormalizer; /* used when its charsmap is not empty */
};

/* STATUS_CORRUPT when bytes[count] are no such file; `name` is for messages.
 * On failure nothing needs freeing. */
enum status model_file_read(struct model_file *file, const char *bytes, size_t count,
                            const char *name, struct error *err);
void model_file_free(struct model_file *file);

#endif
