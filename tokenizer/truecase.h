/* truecase.h - capitals for a text that came in lower case.
 *
 * The models read and write lower case only. A truecaser goes through such a text from the left and
 * decides word by word, from the word, what stands before it and what it has seen of this text,
 * whether it begins with a capital. It holds back the word that is unfinished, and so it streams:
 * whatever the pieces that a text comes in, the outcome is the same. It only ever changes the case
 * of letters that have one of as many bytes (tokenizer/letters.h): the text keeps its length and
 * every byte and character its place, also where it is no UTF-8.
 *
 * The decision is a sum of the weights of a word's features, which a table lists: a linear
 * classifier, as in Chelba & Acero, "Adaptation of Maximum Entropy Capitalizer" (2006), after Lita
 * et al., "tRuEcasIng" (2003). `alpaca-train truecase` learns a table; without one there is a small
 * one that knows sentence beginnings and "I".
 *
 * Ownership: a table belongs to whoever loaded it and never changes after that, so all threads may
 * share it; a truecaser is a plain value that borrows its table and needs no freeing. One thread at
 * a time uses a truecaser.
 */
#ifndef ALPACA_TOKENIZER_TRUECASE_H
#define ALPACA_TOKENIZER_TRUECASE_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRUECASE_FILE "truecase.txt" /* a table's name in a model folder */
enum { TRUECASE_FILE_BYTES = 200000 }; /* a table is smaller than this */

struct truecase_table;
struct truecase_word;

/* Reads `path`; where there is no such file, it is the small table. STATUS_CORRUPT names the line
 * that is no line of a table or that the file is cut off in, STATUS_TOO_LARGE is for
 * TRUECASE_FILE_BYTES and more. */
enum status truecase_table_load(struct truecase_table **table, const char *path,
                                struct error *err);
/* The same from memory. `name` is for error messages. */
enum status truecase_table_parse(struct truecase_table **table, const char *text, size_t bytes,
                                 const char *name, struct error *err);
/* The table that knows sentence beginnings and "I". */
enum status truecase_table_small(struct truecase_table **table, struct error *err);
void truecase_table_free(struct truecase_table *table); /* NULL is allowed */

enum { TRUECASE_WORD_BYTES = 48, TRUECASE_GAP_CHARACTERS = 16, TRUECASE_SEEN = 256 };

/* How a word of this text was written where only a name has a capital. */
struct truecase_seen {
    uint16_t mark;           /* of the word; 0: free */
    uint8_t capital, lower; /* how often */
};

struct truecaser {
    const struct truecase_table *table;
    /* What is held back, as it came: the word, or the beginning of a character. */
    char held[TRUECASE_WORD_BYTES + 4];
    int held_bytes;
    int whole;     /* bytes of it that are whole characters */
    int given;     /* bytes of it that are in the output: those that were only read */
    bool too_long; /* inside of what is longer than a word */
    /* What was before it. */
    char gap[TRUECASE_GAP_CHARACTERS]; /* since the last word; one letter a character */
    int gap_count;
    char last[2][TRUECASE_WORD_BYTES]; /* the last word, and the one before it, in lower case */
    int last_bytes[2];
    bool last_capital, capital_before; /* whether they have one */
    bool in_quote;
    bool said;   /* the words since the last quote tell who spoke it */
    char opened; /* what was before the last quote that was opened; as in a gap */
    struct truecase_seen seen[TRUECASE_SEEN];
    /* For truecaser_observe() (tokenizer/truecase_internal.h). */
    void (*on_word)(void *context, const struct truecaser *truecaser,
                    const struct truecase_word *word, const char *written);
    void *context;
};

/* At the beginning of a text. */
void truecaser_start(struct truecaser *truecaser, const struct truecase_table *table);
/* What the text begins with, which has its capitals already: they are learnt from. */
void truecaser_read(struct truecaser *truecaser, const char *text, size_t bytes);
/* Appends what text[bytes] makes certain. A capital that is there already stays. */
enum status truecaser_push(struct truecaser *truecaser, const char *text, size_t bytes,
                           struct buffer *out, struct error *err);
/* Appends what is still held back. */
enum status truecaser_finish(struct truecaser *truecaser, struct buffer *out, struct error *err);

#endif
