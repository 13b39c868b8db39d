/* tokenizer_internal.h - what a loaded tokenizer consists of, for this room only.
 *
 * Ownership: a tokenizer owns its parts; they point into `bytes`. Nothing
 * changes after loading: thread-safe.
 */
#ifndef ALPACA_TOKENIZER_TOKENIZER_INTERNAL_H
#define ALPACA_TOKENIZER_TOKENIZER_INTERNAL_H

#include "tokenizer/model_file.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocabulary.h"

struct tokenizer {
    char *bytes; /* the model file */
    struct model_file file;
    struct vocabulary vocabulary;
    struct normalizer normalizer;
    struct normalizer denormalizer;
    bool has_denormalizer;
    bool drops_leading_space; /* in decoding */
    struct tokenizer_specials specials;
};

#endif
