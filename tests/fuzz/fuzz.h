/* fuzz.h - what reads bytes from outside, as functions that must survive any bytes.
 *
 * Each target takes one input, runs our reader over it and checks what must
 * hold of the result, whether the input was accepted or refused. A violated
 * check ends the process, as a sanitizer's report does.
 *   make fuzz                      libFuzzer looks for inputs that break one
 *   tests/fuzz_corpus_test.c       every build runs the inputs in tests/fuzz/corpus/
 * To be run from the repository's root. Inputs are borrowed. One thread at a time.
 */
#ifndef ALPACA_TESTS_FUZZ_FUZZ_H
#define ALPACA_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* X(name): fuzz_NAME() in target_NAME.c, seeds in corpus/NAME/. */
#define FUZZ_TARGETS(X)                                                                         \
    X(request)         /* bodies of the HTTP API: JSON and what its fields may be */            \
    X(tokenizer_model) /* tokenizer.model */                                                    \
    X(tokenizer_text)  /* text to ids, ids to text, whole and streamed */                       \
    X(safetensors)     /* model.safetensors */                                                  \
    X(config)          /* config.json */                                                        \
    X(truecase)        /* capitals for a text, and their table */                              \
    X(packed)          /* a model packed for browsers */                                        \
    X(stories)         /* the trainer's story files */

#define FUZZ_DECLARE(name) void fuzz_##name(const uint8_t *data, size_t size);
FUZZ_TARGETS(FUZZ_DECLARE)
#undef FUZZ_DECLARE

/* Like assert(), but in every build. */
#define FUZZ_CHECK(condition)                                                                   \
    ((condition) ? (void)0 : fuzz_violated(#condition, __FILE__, __LINE__))
_Noreturn void fuzz_violated(const char *condition, const char *file, int line);

struct error;
/* What an error must look like, given the status that came with it. */
void fuzz_check_error(int status, const struct error *err);
void fuzz_check_utf8(const char *text, size_t bytes);

/* The path of a file that holds these bytes until the next call. */
const char *fuzz_file(const uint8_t *data, size_t size);
/* A path where a target may write. */
const char *fuzz_output(void);

#endif
