/* tokenizer.h - text to token ids and back, as SentencePiece does it.
 *
 * Loads a SentencePiece BPE `tokenizer.model` and encodes and decodes id for
 * id like spm_encode and spm_decode, normalization (nmt_nfkc_cf: folds case)
 * included.
 *
 * Ownership: the caller owns what tokenizer_load() returns. Outputs go into
 * buffers of the caller. A loaded tokenizer never changes, so any number of
 * threads may use it at once.
 */
#ifndef ALPACA_TOKENIZER_TOKENIZER_H
#define ALPACA_TOKENIZER_TOKENIZER_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

/* A growable list of ids; start from `{0}`, end with token_list_free(). */
struct token_list {
    int32_t *ids;
    size_t count;
    size_t capacity;
};
/* Appends; false when memory runs out (the list is unchanged then). */
bool token_list_append(struct token_list *list, int32_t id);
void token_list_free(struct token_list *list);

/* Ids of the special pieces; -1 for one the model does not have. */
struct tokenizer_specials {
    int32_t unk, bos, eos, pad;
};

/* STATUS_NOT_FOUND/IO: no such file or unreadable; STATUS_CORRUPT: not a
 * SentencePiece model; STATUS_UNSUPPORTED: not a BPE one. */
enum status tokenizer_load(struct tokenizer **tokenizer, const char *path, struct error *err);
/* The same from memory (the bytes are copied). `name` is for error messages. */
enum status tokenizer_load_bytes(struct tokenizer **tokenizer, const void *bytes, size_t count,
                                 const char *name, struct error *err);
void tokenizer_free(struct tokenizer *tokenizer); /* NULL is allowed */
/* Puts into a model folder, which exists, what belongs to its vocabulary: the file `path` as
 * tokenizer.model, and the table for capitals (truecase.h) where one is beside it. */
enum status tokenizer_copy(const char *path, const char *folder, struct error *err);

size_t tokenizer_vocab_size(const struct tokenizer *tokenizer);
struct tokenizer_specials tokenizer_specials(const struct tokenizer *tokenizer);

/* Appends the ids of `text[bytes]` (any bytes, NULs and invalid UTF-8
 * included) without bos or eos. */
enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t bytes,
                             struct token_list *ids, struct error *err);

/* Appends the text of ids[count]; ids out of range are STATUS_INVALID. The
 * text of a whole sequence has no leading space. */
enum status tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t count,
                             struct buffer *text, struct error *err);

/* Decodes a sequence id by id, for streams.
 *
 * What has been appended after every id is always whole UTF-8: bytes of
 * an unfinished character (byte pieces) are held back until it is complete or
 * known to be invalid. All of it together is what tokenizer_decode() gives,
 * but for a model with denormalization rules, which need the whole text.
 * Not thread-safe; needs no freeing.
 */
struct text_stream {
    const struct tokenizer *tokenizer;
    bool at_start;         /* the next piece loses its leading space */
    unsigned char held[4]; /* bytes of an unfinished character */
    int held_count;
    size_t begins; /* where in the text that of the last id begins; a byte's: its character */
};
/* `continues`: the ids follow earlier text, so the first piece keeps its space. */
void text_stream_start(struct text_stream *stream, const struct tokenizer *tokenizer,
                       bool continues);
/* Appends the text that id makes certain; special ids add none. */
enum status text_stream_push(struct text_stream *stream, int32_t id, struct buffer *text,
                             struct error *err);
/* Appends what is still held back, as U+FFFD. */
enum status text_stream_finish(struct text_stream *stream, struct buffer *text,
                               struct error *err);

/* Appends how a single id is shown: its text, but "bytes:\xNN" for a byte that is no character by
 * itself, and the name of a special id. `at_start`: without a leading space, as in a stream that
 * is at its start. */
enum status tokenizer_token_to_piece(const struct tokenizer *tokenizer, int32_t id, bool at_start,
                                     struct buffer *text, struct error *err);

#endif
