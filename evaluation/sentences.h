/* sentences.h - where sentences end, in stories with and without capitals.
 *
 * A sentence ends with . ! or ? and what closes with it, outside of double quotes. Speech that ends
 * so is a sentence of its own, unless the words after it say who spoke ("come!" said the cat).
 * Thread-safe.
 */
#ifndef ALPACA_EVALUATION_SENTENCES_H
#define ALPACA_EVALUATION_SENTENCES_H

#include <stdbool.h>
#include <stddef.h>

/* The bytes of the first sentence of `text`, without white space after it; all of the text when no
 * sentence ends in it. `quoted`: the text begins inside of quotes. */
size_t sentence_length(const char *text, bool quoted);
/* Cuts `answer`, which goes on from a prompt, to its first sentence with a word in it: where it
 * begins by ending the prompt's own, as in ". she ran. then", the answer is " she ran.". What has
 * no word stays. `quoted`: the prompt ends inside of quotes. */
void sentence_cut_answer(char *answer, bool quoted);
/* Whether double quotes are open where `text` ends. */
bool quotes_open(const char *text);

#endif
