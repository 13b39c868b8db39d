/* harness.h - what every test of alpaca-eval stands on: models side by side, and a document that
 * the results go into.
 *
 * A test computes a part of one JSON document, and writes pages from it (page.h): `--json` prints
 * the document, a command by itself its own page, and `report` has all parts in one document.
 *
 * Ownership: a harness owns its models and threads. One thread uses it.
 */
#ifndef ALPACA_EVALUATION_HARNESS_H
#define ALPACA_EVALUATION_HARNESS_H

#include "base/pool.h"
#include "engine/engine.h"
#include "evaluation/document.h"
#include "evaluation/options.h"
#include "evaluation/page.h"

enum { HARNESS_MODELS = 8, HARNESS_SLOTS = 32 };

struct harness {
    const struct evaluation_options *options;
    struct engine models[HARNESS_MODELS]; /* [count] in --model's order; HARNESS_SLOTS each */
    int count;
    struct pool *pool; /* for what a test computes itself; the engines have their own */
    bool progress_shown;
};

/* A test: `measure` adds its part to the document, `write` shows it. The document's root has
 * "seed", "best_of", "numbers" and "models", [{"name", "parameters"}], before any test adds to
 * it. */
struct evaluation_test {
    const char *name;
    struct flag_table table;
    enum status (*measure)(struct harness *harness, struct document *document, struct error *err);
    void (*write)(const struct cJSON *root, struct page *page); /* root: the whole document */
};

/* Runs one test as a command; the exit status. */
int harness_command(const struct evaluation_test *test, int argc, char **argv);

/* Opens the models and fills a new document, which document_close() ends, also after a failure. */
enum status harness_measure(const struct evaluation_test *test,
                            const struct evaluation_options *options, struct document *document,
                            struct error *err);

/* Opens the models. On failure nothing stays open. */
enum status harness_open(struct harness *harness, const struct evaluation_options *options,
                         struct error *err);
void harness_close(struct harness *harness);
/* One line on standard error, over the last one, where that is a terminal: how far a test is. */
void harness_progress(struct harness *harness, const char *what, const char *model, size_t done,
                      size_t total);

#endif
