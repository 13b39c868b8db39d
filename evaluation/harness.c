#include "evaluation/harness.h"

#include "base/default_path.h"
#include "base/file.h"
#include "base/flags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum status open_model(struct harness *harness, const char *folder, struct error *err) {
    const struct scheduler_options scheduler = {.slots = HARNESS_SLOTS,
                                                .queue = HARNESS_SLOTS,
                                                .threads = harness->options->threads,
                                                .prefill_chunk = 256};
    if (harness->count == HARNESS_MODELS)
        return error_set_field(err, STATUS_INVALID, "model", "--model names more than %d folders",
                               HARNESS_MODELS);
    enum status status = engine_open(&harness->models[harness->count], folder,
                                     harness->options->dtype, &scheduler, err);
    harness->count += status == STATUS_OK;
    return flags_used("model", status, err);
}

static enum status open_shipped(struct harness *harness, struct error *err) {
    static const char *const names[] = {"small", "mini", "alpaca"};
    char folder[FILE_PATH_BYTES];
    enum status status = STATUS_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && status == STATUS_OK; i++) {
        status = default_path(folder, NULL, "weights", names[i], err);
        if (status == STATUS_OK)
            status = open_model(harness, folder, err);
    }
    return status;
}

static enum status open_list(struct harness *harness, const char *list, struct error *err) {
    char folder[FILE_PATH_BYTES];
    enum status status = STATUS_OK;
    while (status == STATUS_OK && list) {
        status = flags_next_item(&list, "model", folder, sizeof folder, err);
        if (status == STATUS_OK)
            status = open_model(harness, folder, err);
    }
    return status;
}

enum status harness_open(struct harness *harness, const struct evaluation_options *options,
                         struct error *err) {
    *harness = (struct harness){.options = options};
    enum status status = pool_create(&harness->pool, options->threads, err);
    if (status == STATUS_OK)
        status =
            options->models ? open_list(harness, options->models, err) : open_shipped(harness, err);
    if (status != STATUS_OK)
        harness_close(harness);
    return status;
}

void harness_close(struct harness *harness) {
    if (harness->progress_shown)
        fprintf(stderr, "\r\033[K");
    for (int i = 0; i < harness->count; i++)
        engine_close(&harness->models[i]);
    pool_destroy(harness->pool);
    *harness = (struct harness){0};
}

void harness_progress(struct harness *harness, const char *what, const char *model, size_t done,
                      size_t total) {
    if (!isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r\033[K%s: %s, %zu of %zu", what, model, done, total);
    fflush(stderr);
    harness->progress_shown = true;
}

/* What every document begins with. */
static void add_conditions(const struct harness *harness, struct document *document) {
    const struct evaluation_options *options = harness->options;
    document_number(document, document->root, "seed", (double)options->seed);
    document_number(document, document->root, "best_of", options->best_of);
    document_text(document, document->root, "numbers", options->dtype);
    struct cJSON *models = document_array(document, document->root, "models");
    for (int i = 0; i < harness->count; i++) {
        const struct engine *model = &harness->models[i];
        struct cJSON *object = document_object(document, models, NULL);
        document_text(document, object, "name", model->name);
        document_number(document, object, "parameters",
                        (double)model_parameter_count(&model->model->config));
    }
}

enum status harness_measure(const struct evaluation_test *test,
                            const struct evaluation_options *options, struct document *document,
                            struct error *err) {
    struct harness harness;
    enum status status = harness_open(&harness, options, err);
    if (status != STATUS_OK)
        return status;
    status = document_open(document, err);
    if (status == STATUS_OK) {
        add_conditions(&harness, document);
        status = test->measure(&harness, document, err);
    }
    if (status == STATUS_OK)
        status = document_check(document, err);
    harness_close(&harness);
    return status;
}

static enum status print_page(const struct evaluation_test *test, const struct document *document,
                              struct error *err) {
    struct page page = {.format = PAGE_MARKDOWN};
    test->write(document->root, &page);
    enum status status = STATUS_OK;
    if (page.text.failed)
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the tables");
    else
        fwrite(page.text.data, 1, page.text.size, stdout);
    page_free(&page);
    return status;
}

int harness_command(const struct evaluation_test *test, int argc, char **argv) {
    struct evaluation_options options = {0};
    struct document document = {0};
    struct error err;
    bool help = false;
    enum status status = flags_parse(&test->table, &options, &argc, argv, &help, &err);
    if (help)
        return 0;
    if (status != STATUS_OK) {
        fprintf(stderr, "alpaca-eval %s: %s\n", test->name, err.message);
        return 2;
    }
    status = harness_measure(test, &options, &document, &err);
    if (status == STATUS_OK)
        status = options.json ? document_print(&document, &err) : print_page(test, &document, &err);
    if (status != STATUS_OK)
        fprintf(stderr, "alpaca-eval %s: %s\n", test->name, err.message);
    document_close(&document);
    return status == STATUS_OK ? 0 : 1;
}
