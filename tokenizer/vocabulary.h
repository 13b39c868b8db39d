/* vocabulary.h - the pieces of a model: which text is which id.
 *
 * Checks what a model must fulfil (one unknown piece, no text twice, all 256
 * byte pieces when it falls back to bytes) and indexes the pieces by text.
 * Ownership: borrows the pieces of a model_file, which must outlive it. Never
 * changes after vocabulary_init(): thread-safe.
 */
#ifndef ALPACA_TOKENIZER_VOCABULARY_H
#define ALPACA_TOKENIZER_VOCABULARY_H

#include "base/status.h"
#include "tokenizer/model_file.h"
#include "tokenizer/prefix_matcher.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Open addressing over the pieces' texts. */
struct piece_table {
    struct piece_slot {
        uint32_t tag; /* upper half of the text's hash */
        int32_t id;   /* -1: free */
    } *slots;         /* [mask + 1] */
    size_t mask;
};

struct vocabulary {
    const struct piece *pieces; /* [count] */
    size_t count;
    /* A text may be there twice: once among the pieces that text is made of
     * (normal, user-defined, unused) and once reserved (control, unknown, byte). */
    struct piece_table normal, reserved;
    int32_t *canonical;    /* [count]: the id that this piece's text stands for */
    int32_t unk_id;
    int32_t byte_ids[256]; /* valid when byte_fallback */
    bool byte_fallback;
    bool has_unused;        /* some pieces may be merged through, but not used */
    bool words_independent; /* no merge crosses the beginning of a word */
    size_t longest_bytes;   /* of a normal piece */
    struct prefix_matcher user_defined;
};

enum status vocabulary_init(struct vocabulary *vocabulary, const struct model_file *file,
                            const char *name, struct error *err);
void vocabulary_free(struct vocabulary *vocabulary);

/* The id of a normal, user-defined or unused piece; -1 when there is none. */
int32_t vocabulary_find(const struct vocabulary *vocabulary, const char *text, size_t bytes);
/* The id of any piece, reserved ones first; the unknown id when there is none. */
int32_t vocabulary_id(const struct vocabulary *vocabulary, const char *text, size_t bytes);
/* The byte that a piece of type PIECE_BYTE stands for; -1 when its text is no such name. */
int vocabulary_byte(const struct piece *piece);

#endif
