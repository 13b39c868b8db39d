/* texture.h - figures of a set of stories that need no grader: how varied, how clean, how whole.
 *
 * The same figures of real stories say what is good: no figure is good because it is high.
 *
 * Ownership: a texture owns its examples; the rest is the caller's. Not thread-safe.
 */
#ifndef ALPACA_EVALUATION_TEXTURE_H
#define ALPACA_EVALUATION_TEXTURE_H

#include "base/buffer.h"
#include "base/status.h"
#include "evaluation/training_words.h"

#include <stdbool.h>
#include <stddef.h>

/* TEXTURE_WORDS: distinct-n falls with the length of a text, so it is that of the first so many
 * words of a set. */
enum { TEXTURE_NGRAMS = 4, TEXTURE_WORDS = 30000, TEXTURE_EXAMPLES = 12 };

struct texture_stories {
    char **texts; /* [count] as a model writes them, without capitals */
    bool *ended;  /* [count] whether it ended by itself */
    size_t count;
};

/* Shares are of 1, and 0 where there is nothing to have a share in. */
struct texture {
    size_t stories;
    double words, sentence_words; /* mean words of a story, of a sentence */
    double ended;                 /* share of the stories */
    /* Share of n-grams of words, n from 1, that are different ones (Li et al., "A
     * Diversity-Promoting Objective Function for Neural Conversation Models", NAACL 2016), of the
     * first `distinct_words` words. */
    double distinct[TEXTURE_NGRAMS];
    size_t distinct_words;
    /* Share of a story's 4-grams that it had before, over all stories (Welleck et al., "Neural Text
     * Generation With Unlikelihood Training", ICLR 2020); and of the stories that say a sentence of
     * four words or more twice. */
    double repeated_ngrams, repeated_sentence;
    double unknown_words; /* of 10,000 words, those that no training text has */
    double unfit_words;   /* of 10,000 words, those of the list */
    double unbalanced;    /* share of the stories that ended by themselves with a quotation open */
    /* Of the stories with a name in their first half, the share whose first name is not in their
     * second; and of all, the share with a name that comes up in the second half without an
     * introduction such as "named" or "friend" in the four words before it. */
    double name_vanishes, name_appears;
    struct buffer unknown_examples, unfit_examples; /* the first different ones, commas between */
};

/* `unfit`: the words that do not belong into a story for children. */
enum status texture_measure(struct texture *texture, const struct texture_stories *stories,
                            const struct training_words *words, const struct story_set *unfit,
                            struct error *err);
void texture_free(struct texture *texture);

/* Adds the words of a file, one a line; lines that begin with '#' are comments. */
enum status texture_read_list(struct story_set *list, const char *path, struct error *err);

#endif
