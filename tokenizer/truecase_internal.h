/* truecase_internal.h - the features of a word, for the truecaser and for what learns a table.
 *
 * A feature is a short text: a letter that says its kind, and the words and gaps that it is about
 * ("b mr bear": bear, with mr before it; the kinds are in truecase_features()). A table gives a
 * weight to some; a word gets a capital when the weights of its features add up to more than zero.
 * Its lines are, after "truecase 1",
 *   12 b mr bear       the weight of a feature
 *   =McDonald          a word with other capitals than its first letter
 *   ~the ~of ~dog      words that are common without a capital; others may be names
 *   # 12781 lines      the second: how many there are; without it a cut between two is not seen
 *   # ...              nothing
 *
 * Ownership and thread-safety as in tokenizer/truecase.h. A feature's text is valid during the
 * call.
 */
#ifndef ALPACA_TOKENIZER_TRUECASE_INTERNAL_H
#define ALPACA_TOKENIZER_TRUECASE_INTERNAL_H

#include "tokenizer/truecase.h"

/* Gaps are written with these: start of the text, blank, an opening and a closing quote; other
 * punctuation is written as it is, and everything else as `-`. */
enum { GAP_START = '^', GAP_BLANK = '_', GAP_OPEN = '<', GAP_CLOSE = '>' };

/* A word whose end has been seen. */
struct truecase_word {
    const char *key; /* in lower case, without 's, its apostrophes straight */
    int key_bytes;
    const char *gap; /* what separates it from the word before, without most blanks */
    int gap_count;
    char next; /* what follows it; as in a gap */
    bool known; /* the table lists it as a common word */
};

typedef void truecase_feature_function(void *context, const char *feature, size_t bytes);
void truecase_features(const struct truecaser *truecaser, const struct truecase_word *word,
                       truecase_feature_function *function, void *context);

/* Goes through text[bytes], which has its capitals, and calls for each word. `written[key_bytes]`
 * is the word as it is written. */
typedef void truecase_word_function(void *context, const struct truecaser *truecaser,
                                    const struct truecase_word *word, const char *written);
void truecaser_observe(const char *text, size_t bytes, truecase_word_function *function,
                       void *context);

/* Of a loaded table: a feature's weight, 0 for one that it does not have; and how a word is written
 * that has other capitals than its first letter, of as many bytes, or NULL. */
int32_t truecase_table_weight(const struct truecase_table *table, const char *feature,
                              size_t bytes);
bool truecase_table_knows(const struct truecase_table *table, const char *key, int bytes);
const char *truecase_table_form(const struct truecase_table *table, const char *key, int bytes);

/* Whether a word in such a gap is inside a sentence, where only a name has a capital. */
bool truecase_inside_sentence(const struct truecase_word *word);
/* How a word is written: SHOUTED is all in capitals, of more than one letter. */
enum truecase_form { TRUECASE_LOWER, TRUECASE_CAPITAL, TRUECASE_SHOUTED };
enum truecase_form truecase_form(const char *written, int bytes);

#endif
