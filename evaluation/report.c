/* alpaca-eval report: all tests in one document, and docs/evaluation.md and .html from it. */
#include "base/default_path.h"
#include "evaluation/commands.h"
#include "evaluation/grades.h"
#include "evaluation/report_summary.h"
#include "evaluation/tests.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct flag flags[] = {
    SHARED_OPTIONS,
    DATA_OPTION,
    CHOICES_OPTIONS,
    TEXTURE_OPTIONS,
    {"grades", FLAG_TEXT, OPTION(grades), NULL, 0, 0, "FILE,...",
     "grades that alpaca-eval grade took (default evaluation/grades.json, where that exists)"},
    {"from", FLAG_TEXT, OPTION(from), NULL, 0, 0, "FILE",
     "write the pages of a former report's evaluation.json, and measure nothing"},
    {"out", FLAG_TEXT, OPTION(out), NULL, 0, 0, "FOLDER",
     "where evaluation.md, evaluation.html and evaluation.json go (default docs)"},
};
static const struct flag_table table = {
    .usage = "alpaca-eval report [options]",
    .summary = "Runs prompts, choices and texture, adds the grades, and writes all of it as\n"
               "evaluation.md, evaluation.html and evaluation.json.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
};

static const struct evaluation_test *const tests[] = {&prompts_test, &choices_test, &texture_test};
enum { TESTS = sizeof tests / sizeof *tests };

static enum status measure_all(struct harness *harness, struct document *document,
                               struct error *err) {
    enum status status = STATUS_OK;
    for (int i = 0; i < TESTS && status == STATUS_OK; i++)
        status = tests[i]->measure(harness, document, err);
    return status;
}

/* In place of the grades that the document may have. Those of the repository are of the original's
 * answers and of one set of ours: others just have none. */
static enum status add_grades(struct document *document, const char *given, struct error *err) {
    char path[FILE_PATH_BYTES];
    enum status status = default_path(path, NULL, "evaluation", "grades.json", err);
    if (status != STATUS_OK || (!given && !file_exists(path)))
        return status;
    cJSON_DeleteItemFromObject(document->root, "grades");
    return grades_add(document, given ? given : path, err);
}

static void write_page(const struct cJSON *root, struct page *page) {
    page_begin(page, "Evaluation");
    report_summary(root, page);
    grades_write(root, page);
    choices_test.write(root, page);
    texture_test.write(root, page);
    prompts_test.write(root, page);
    page_end(page);
}

static enum status save_page(const struct cJSON *root, enum page_format format, const char *folder,
                             const char *name, struct error *err) {
    struct page page = {.format = format};
    char path[FILE_PATH_BYTES];
    enum status status = file_join(path, folder, name, err);
    if (status == STATUS_OK) {
        write_page(root, &page);
        status = page.text.failed ? error_set(err, STATUS_NO_MEMORY, "no memory for %s", path)
                                  : file_replace(path, page.text.data, page.text.size, err);
    }
    page_free(&page);
    return status;
}

static enum status save_document(const struct document *document, const char *folder,
                                 struct error *err) {
    char path[FILE_PATH_BYTES];
    struct buffer text = {0};
    enum status status = file_join(path, folder, "evaluation.json", err);
    if (status == STATUS_OK)
        status = document_append(document, &text, err);
    if (status == STATUS_OK)
        status = file_replace(path, text.data, text.size, err);
    buffer_free(&text);
    return status;
}

static enum status save(const struct document *document, const char *folder, struct error *err) {
    enum status status = save_page(document->root, PAGE_MARKDOWN, folder, "evaluation.md", err);
    if (status == STATUS_OK)
        status = save_page(document->root, PAGE_HTML, folder, "evaluation.html", err);
    return status == STATUS_OK ? save_document(document, folder, err) : status;
}

static enum status run(const struct evaluation_options *options, struct error *err) {
    static const struct evaluation_test all = {.name = "report", .measure = measure_all};
    struct document document = {0};
    char out[FILE_PATH_BYTES];
    enum status status = default_path(out, options->out, ".", "docs", err);
    if (status == STATUS_OK)
        status = flags_used("out", file_make_folder(out, err), err);
    if (status == STATUS_OK && options->from)
        status = flags_used("from", document_read(&document.root, options->from, err), err);
    else if (status == STATUS_OK)
        status = harness_measure(&all, options, &document, err);
    if (status == STATUS_OK)
        status = add_grades(&document, options->grades, err);
    if (status == STATUS_OK)
        status = document_check(&document, err);
    if (status == STATUS_OK)
        status = options->json ? document_print(&document, err)
                               : flags_used("out", save(&document, out, err), err);
    if (status == STATUS_OK && !options->json)
        printf("%s: evaluation.md, evaluation.html and evaluation.json\n",
               options->out ? options->out : "docs");
    document_close(&document);
    return status;
}

int report_command(int argc, char **argv) {
    struct evaluation_options options = {0};
    struct error err;
    bool help = false;
    enum status status = flags_parse(&table, &options, &argc, argv, &help, &err);
    if (help)
        return 0;
    int failure = status == STATUS_OK ? 1 : 2; /* 2: a wrong command */
    if (status == STATUS_OK)
        status = run(&options, &err);
    if (status != STATUS_OK)
        fprintf(stderr, "alpaca-eval report: %s\n", err.message);
    return status == STATUS_OK ? 0 : failure;
}
