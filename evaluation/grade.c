/* alpaca-eval grade: one HTML page on which somebody grades the answers of all models blind. */
#include "base/default_path.h"
#include "base/rng.h"
#include "evaluation/commands.h"
#include "evaluation/grade_items.h"
#include "evaluation/tests.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEMPLATE_BYTES = 1 << 20 };
#define PLACE "@DATA@" /* where the template takes the answers */

static const struct flag flags[] = {
    SHARED_OPTIONS,
    {"out", FLAG_TEXT, OPTION(out), NULL, 0, 0, "FILE", "the page (default build/grade.html)"},
};

/* Case and blanks would say who wrote an answer: ours never has a capital. */
static char *without_traces(const char *text) {
    char *copy = strdup(text + strspn(text, " "));
    size_t bytes = copy ? strlen(copy) : 0;
    for (size_t i = 0; i < bytes; i++)
        copy[i] = (char)tolower((unsigned char)copy[i]);
    while (bytes > 0 && copy[bytes - 1] == ' ')
        copy[--bytes] = '\0';
    return copy;
}

static void add_item(struct document *data, struct cJSON *list, const struct grade_item *item) {
    struct cJSON *object = document_object(data, list, NULL);
    char *text = without_traces(item->text);
    document_text(data, object, "id", item->id);
    document_text(data, object, "prompt", item->prompt);
    document_text(data, object, "text", text ? text : "");
    if (item->is_story)
        document_number(data, object, "story", 1);
    data->failed = data->failed || !text;
    free(text);
}

/* {"set", "items"}: the answers as the page wants them, short ones first, each kind shuffled. */
static enum status build_data(const struct cJSON *root, struct document *data, struct error *err) {
    struct grade_item *items = NULL;
    size_t count = 0;
    char set[GRADE_ID_BYTES];
    uint64_t seed = (uint64_t)document_get_number(root, "seed");
    enum status status = grade_items(root, &items, &count, err);
    int32_t *order = status == STATUS_OK ? malloc((count + 1) * sizeof *order) : NULL;
    if (status == STATUS_OK && !order)
        status = error_set(err, STATUS_NO_MEMORY, "no memory for %zu answers", count);
    if (status == STATUS_OK) {
        for (size_t i = 0; i < count; i++)
            order[i] = (int32_t)i;
        rng_shuffle(seed, order, count);
        snprintf(set, sizeof set, "%016" PRIx64, grade_items_hash(items, count));
        document_text(data, data->root, "set", set);
        struct cJSON *list = document_array(data, data->root, "items");
        for (int stories = 0; stories < 2; stories++)
            for (size_t i = 0; i < count; i++)
                if (items[order[i]].is_story == stories)
                    add_item(data, list, &items[order[i]]);
        status = document_check(data, err);
    }
    free(items);
    free(order);
    return status;
}

/* JSON inside of a script: "</script>" and "<!--" in a text must not end it. */
static enum status append_json(struct buffer *page, const struct document *data,
                               struct error *err) {
    char *json = cJSON_PrintUnformatted(data->root);
    if (!json)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the page");
    for (const char *c = json; *c; c++)
        if (*c == '<')
            buffer_append_text(page, "\\u003c");
        else
            buffer_append(page, c, 1);
    cJSON_free(json);
    return STATUS_OK;
}

static enum status write_page(const struct cJSON *root, const char *out, struct error *err) {
    struct document data = {0};
    struct buffer template = {0}, page = {0};
    char path[FILE_PATH_BYTES];
    const char *place = NULL;
    enum status status = default_path(path, NULL, "evaluation", "grade.html", err);
    if (status == STATUS_OK)
        status = file_read(path, TEMPLATE_BYTES, &template, err);
    if (status == STATUS_OK && !(place = strstr(template.data, PLACE)))
        status = error_set(err, STATUS_CORRUPT, "%s has no %s", path, PLACE);
    if (status == STATUS_OK)
        status = document_open(&data, err);
    if (status == STATUS_OK)
        status = build_data(root, &data, err);
    if (status == STATUS_OK) {
        buffer_append(&page, template.data, (size_t)(place - template.data));
        status = append_json(&page, &data, err);
        buffer_append_text(&page, place + strlen(PLACE));
        if (status == STATUS_OK && page.failed)
            status = error_set(err, STATUS_NO_MEMORY, "no memory for the page");
    }
    if (status == STATUS_OK)
        status = flags_used("out", file_replace(out, page.data, page.size, err), err);
    document_close(&data);
    buffer_free(&template);
    buffer_free(&page);
    return status;
}

int grade_command(int argc, char **argv) {
    static const struct flag_table table = {
        .usage = "alpaca-eval grade [options]",
        .summary = "Writes an HTML page that shows the answers of all models to the original's "
                   "prompts, and the\noriginal's, shuffled and without names. Whoever grades them "
                   "there saves a file for\nalpaca-eval report --grades.",
        .flags = flags,
        .count = sizeof flags / sizeof *flags};
    struct evaluation_options options = {0};
    struct document document = {0};
    struct error err;
    char out[FILE_PATH_BYTES];
    bool help = false;
    enum status status = flags_parse(&table, &options, &argc, argv, &help, &err);
    if (help)
        return 0;
    if (status != STATUS_OK) {
        fprintf(stderr, "alpaca-eval grade: %s\n", err.message);
        return 2;
    }
    options.best_of = 1; /* only single answers are graded */
    status = default_path(out, options.out, "build", "grade.html", &err);
    if (status == STATUS_OK)
        status = harness_measure(&prompts_test, &options, &document, &err);
    if (status == STATUS_OK)
        status = write_page(document.root, out, &err);
    if (status == STATUS_OK)
        printf("%s: open it in a browser, grade, save grades.json, and give that to\n"
               "alpaca-eval report --grades grades.json\n", out);
    else
        fprintf(stderr, "alpaca-eval grade: %s\n", err.message);
    document_close(&document);
    return status == STATUS_OK ? 0 : 1;
}
