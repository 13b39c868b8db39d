/* options.h - the options of alpaca-eval's commands, in one struct.
 *
 * A command's table has the rows that all commands share, and rows of its own; members that it has
 * no row for stay 0 or NULL.
 * Ownership: texts point into argv or the tables. Thread-safe: only read once parsed.
 */
#ifndef ALPACA_EVALUATION_OPTIONS_H
#define ALPACA_EVALUATION_OPTIONS_H

#include "base/flags.h"
#include "engine/best_of.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct evaluation_options {
    const char *models; /* folders, a comma between them; NULL for small, mini and alpaca */
    const char *dtype;
    uint64_t seed;
    int best_of, threads;
    bool json;
    const char *data, *pairs; /* choices: files; NULL for those of the repository */
    int cases;                /* choices: of each test at most; 0 for all */
    const char *training;     /* texture: the training text; NULL for that of the repository */
    int stories;              /* texture: of each model */
    const char *out;          /* grade: the page; report: the folder of its files */
    const char *grades, *from; /* report: files of grades; a former report */
};

#define OPTION(member) offsetof(struct evaluation_options, member)
/* The rows that every command's table begins with. */
#define SHARED_OPTIONS                                                                             \
    {"model", FLAG_TEXT, OPTION(models), NULL, 0, 0, "FOLDER,...",                                 \
     "model folders, side by side (default weights/small,weights/mini,weights/alpaca)"},           \
    {"numeric", FLAG_TEXT, OPTION(dtype), "int8", 0, 0, "int8|f32",                                \
     "numbers that the models compute with; int8, as the server does, gives the same figures "     \
     "on every machine"},                                                                          \
    {"seed", FLAG_U64, OPTION(seed), "1", 0, 1e15, "", "everything that is drawn comes from it"},  \
    {"best-of", FLAG_INT, OPTION(best_of), "8", 1, BEST_OF_MAX, "candidates",                      \
     "beside one answer the best of so many, as the server chooses it"},                           \
    {"threads", FLAG_INT, OPTION(threads), "0", 0, 64, "", "compute threads; 0 for all cores"},    \
    {"json", FLAG_SWITCH, OPTION(json), NULL, 0, 0, "", "print one JSON object instead of tables"}

/* Of those that read real stories. */
#define DATA_OPTION                                                                                \
    {"data", FLAG_TEXT, OPTION(data), NULL, 0, 0, "FILE",                                          \
     "real stories that no model has seen (default data/tinystories-valid.jsonl.xz)"}
#define CHOICES_OPTIONS                                                                            \
    {"pairs", FLAG_TEXT, OPTION(pairs), NULL, 0, 0, "FILE",                                        \
     "pairs of right and wrong continuations (default evaluation/pairs.jsonl)"},                   \
    {"cases", FLAG_INT, OPTION(cases), "0", 0, 1e9, "cases",                                       \
     "of each choice test, the first so many; 0 for all"}
#define TEXTURE_OPTIONS                                                                            \
    {"stories", FLAG_INT, OPTION(stories), "300", 1, 100000, "stories",                            \
     "of each model, and as many real ones"},                                                      \
    {"training", FLAG_TEXT, OPTION(training), NULL, 0, 0, "FILE,...",                              \
     "what the models learned from (default all that data/ has for it)"}

#endif
