/* words.h - the words of a text, and what a set of stories says about each word.
 *
 * A word is a run of ASCII letters. Nothing here knows English but through the stories: a name is a
 * word with a capital in the middle of a sentence that never comes without, a thing is what stands
 * after "the" right before a function word or a mark, as nouns do and adjectives do not.
 * Ownership: a lexicon owns its words. Thread-safe once built.
 */
#ifndef ALPACA_EVALUATION_WORDS_H
#define ALPACA_EVALUATION_WORDS_H

#include "evaluation/stories.h"

#include <stdbool.h>
#include <stddef.h>

struct word {
    const char *text; /* in the text that it is of */
    size_t bytes;
};

/* The first word at *cursor or after it; *cursor moves behind it. False when there is none. */
bool word_next(const char **cursor, struct word *word);
bool word_is(struct word word, const char *text); /* in any case */
bool word_same(struct word one, struct word other); /* in the same case */
size_t word_count(const char *text, size_t bytes);

struct lexicon {
    struct lexicon_entry *entries; /* [count] sorted by word */
    size_t count;
};

enum status lexicon_build(struct lexicon *lexicon, const struct story_list *stories,
                          struct error *err);
void lexicon_free(struct lexicon *lexicon);
bool lexicon_is_name(const struct lexicon *lexicon, struct word word);
bool lexicon_is_thing(const struct lexicon *lexicon, struct word word);
/* How often the stories have it after "the". */
int lexicon_count_after_the(const struct lexicon *lexicon, struct word word);

#endif
