#include "evaluation/report_summary.h"

#include "evaluation/chart.h"
#include "evaluation/document.h"
#include "evaluation/interval.h"

#include <cjson/cJSON.h>
#include <string.h>

enum { SUMMARY_BARS = 16 };

/* The element of an array whose member `name` is `value`; NULL when there is none. */
static const struct cJSON *find(const struct cJSON *array, const char *name, const char *value) {
    const cJSON *element;
    cJSON_ArrayForEach(element, array) if (strcmp(document_get_text(element, name), value) ==
                                           0) return element;
    return NULL;
}

/* The sum of a member over the kinds of prompts: "fit" or "answers". */
static double over_kinds(const struct cJSON *writer, const char *member) {
    const cJSON *fits;
    double sum = 0;
    cJSON_ArrayForEach(fits, cJSON_GetObjectItem(writer, "fits")) sum +=
        document_get_number(fits, member);
    return sum;
}

static void write_grades(const struct cJSON *writer, struct page *page) {
    static const char *const names[] = {"grammar", "creativity", "consistency"};
    double answers = over_kinds(writer, "answers");
    if (answers > 0)
        page_cell(page, "%g of %g", over_kinds(writer, "fit"), answers);
    else
        page_cell(page, "–");
    for (int i = 0; i < 3; i++)
        if (cJSON_GetObjectItem(writer, names[i]))
            page_cell(page, "%.1f", document_get_number(writer, names[i]));
        else
            page_cell(page, "–");
}

static void write_choices(const struct cJSON *root, const char *model, struct page *page) {
    const struct cJSON *tests = cJSON_GetObjectItem(cJSON_GetObjectItem(root, "choices"), "tests");
    const cJSON *test;
    cJSON_ArrayForEach(test, tests) {
        const struct cJSON *result = find(cJSON_GetObjectItem(test, "results"), "model", model);
        double cases = document_get_number(result, "cases");
        if (cases > 0)
            page_cell(page, "%.1f %%", 100 * document_get_number(result, "right") / cases);
        else
            page_cell(page, "–");
    }
}

static void write_writer(const struct cJSON *root, const char *name, const struct cJSON *writer,
                         struct page *page) {
    page_cell(page, "%s", name);
    write_grades(writer, page);
    write_choices(root, name, page);
}

static void write_table(const struct cJSON *root, struct page *page) {
    const struct cJSON *tests = cJSON_GetObjectItem(cJSON_GetObjectItem(root, "choices"), "tests");
    const struct cJSON *writers =
        cJSON_GetObjectItem(cJSON_GetObjectItem(root, "grades"), "writers");
    const struct cJSON *models = cJSON_GetObjectItem(root, "models");
    const cJSON *test, *one;
    page_table_begin(page);
    page_column(page, "by");
    page_column(page, "answers that fit");
    page_column(page, "grammar");
    page_column(page, "creativity");
    page_column(page, "consistency");
    cJSON_ArrayForEach(test, tests) page_column(page, "%s", document_get_text(test, "name"));
    cJSON_ArrayForEach(one, writers) if (!find(models, "name", document_get_text(one, "name")))
        write_writer(root, document_get_text(one, "name"), one, page);
    cJSON_ArrayForEach(one, models) {
        const char *name = document_get_text(one, "name");
        write_writer(root, name, find(writers, "name", name), page);
    }
    page_cell(page, "by chance");
    for (int i = 0; i < 4; i++)
        page_cell(page, "–");
    cJSON_ArrayForEach(test, tests)
        page_cell(page, "%.0f %%", 100 * document_get_number(test, "chance"));
    page_table_end(page);
}

/* The models that the words are about: the last one of --model, and the one before it, where there
 * is one. */
static const struct cJSON *model_from_end(const struct cJSON *root, int place) {
    const struct cJSON *models = cJSON_GetObjectItem(root, "models");
    int index = cJSON_GetArraySize(models) - place;
    return cJSON_GetArrayItem(models, index > 0 ? index : 0);
}

static const char *model_name(const struct cJSON *root, int place) {
    return document_get_text(model_from_end(root, place), "name");
}

static double parameters(const struct cJSON *root, int place) {
    return document_get_number(model_from_end(root, place), "parameters");
}

/* A bar for each of the summary's writers whose answers have grades. */
static void draw_fits(const struct cJSON *root, struct page *page) {
    struct chart chart = {.page = page, .most = 100};
    struct bar bars[SUMMARY_BARS];
    const struct cJSON *graded = cJSON_GetObjectItem(root, "grades");
    const cJSON *writer;
    int count = 0;
    cJSON_ArrayForEach(writer, cJSON_GetObjectItem(graded, "writers")) {
        double answers = over_kinds(writer, "answers"), fit = over_kinds(writer, "fit");
        if (answers == 0 || count == SUMMARY_BARS)
            continue;
        struct interval interval = interval_wilson(fit, answers);
        bars[count] = (struct bar){.label = document_get_text(writer, "name"),
                                   .value = 100 * fit / answers,
                                   .low = 100 * interval.low,
                                   .high = 100 * interval.high,
                                   .color = count};
        count++;
    }
    if (count == 0)
        return;
    chart_group(&chart, "answers that fit", bars, count, -1);
    chart_end(&chart, "Answers to the original's short prompts that fit, %, with 95 % intervals");
}

static void write_grades_in_words(const struct cJSON *root, struct page *page) {
    const struct cJSON *writers =
        cJSON_GetObjectItem(cJSON_GetObjectItem(root, "grades"), "writers");
    const struct cJSON *ours = find(writers, "name", model_name(root, 1));
    const struct cJSON *original = cJSON_GetArrayItem(writers, 0);
    if (over_kinds(ours, "answers") == 0 || !cJSON_GetObjectItem(ours, "grammar") ||
        !cJSON_GetObjectItem(original, "grammar"))
        return; /* such answers have no grades */
    double fit = over_kinds(ours, "fit"), original_fit = over_kinds(original, "fit");
    struct interval own = interval_wilson(fit, over_kinds(ours, "answers"));
    struct interval theirs = interval_wilson(original_fit, over_kinds(original, "answers"));
    page_paragraph(page,
                   "**Answers.** Of the short prompts, %g answers of %s fit and %g of the "
                   "original's. So few prompts tell only large differences: of 100 it would be "
                   "%.0f to %.0f and %.0f to %.0f (95 %% intervals). Its stories have %.1f for "
                   "grammar and %.1f for consistency where the original's have %.1f and %.1f from "
                   "the same graders.",
                   fit, model_name(root, 1), original_fit, 100 * own.low, 100 * own.high,
                   100 * theirs.low, 100 * theirs.high, document_get_number(ours, "grammar"),
                   document_get_number(ours, "consistency"),
                   document_get_number(original, "grammar"),
                   document_get_number(original, "consistency"));
}

static double share(const struct cJSON *root, const char *test, const char *model) {
    const struct cJSON *tests = cJSON_GetObjectItem(cJSON_GetObjectItem(root, "choices"), "tests");
    const struct cJSON *results = cJSON_GetObjectItem(find(tests, "name", test), "results");
    const struct cJSON *result = find(results, "model", model);
    double cases = document_get_number(result, "cases");
    return cases > 0 ? 100 * document_get_number(result, "right") / cases : 0;
}

static void write_words(const struct cJSON *root, struct page *page) {
    const char *model = model_name(root, 1);
    const struct cJSON *memory = cJSON_GetObjectItem(root, "memory");
    page_heading(page, 2, "In words");
    write_grades_in_words(root, page);
    page_paragraph(
        page,
        "**What is learned.** How a story runs: %s finds the true order of two sentences "
        "in %.0f of 100 cases, the thing that a story is about in %.0f, the right name "
        "in %.0f.",
        model, share(root, "order", model), share(root, "thing", model),
        share(root, "name", model));
    page_paragraph(
        page,
        "**What is not.** What follows from what was said, and who has what: of the pairs "
        "written by hand, where nothing but the prompt decides and chance is 50, %s "
        "chooses %.0f and %.0f of 100 right. What is so in the world, as far as simple "
        "things go, it knows in %.0f of 100. So its stories are in good English and lose "
        "their thread.",
        model, share(root, "reasoning", model), share(root, "context", model),
        share(root, "factual", model));
    page_paragraph(
        page,
        "**Why.** The original read all of TinyStories, 1.9 GB; these models have a "
        "hundredth of it and, but for small, about as much text again of children's books. "
        "Of these %.1f million tokens they read all but the books held out (one in twenty), "
        "the stories many times over. That is enough for "
        "grammar, which nearly every sentence shows. A fact is in it a few times or never, "
        "and a larger model does not bring what the text lacks: %s has %.0f times "
        "the parameters of %s and chooses %.0f of 100 factual pairs right, that one "
        "%.0f.",
        document_get_number(memory, "training_tokens") / 1e6, model,
        parameters(root, 1) / parameters(root, 2), model_name(root, 2),
        share(root, "factual", model), share(root, "factual", model_name(root, 2)));
}

void report_summary(const struct cJSON *root, struct page *page) {
    page_paragraph(
        page,
        "How good the stories are, measured by a command: `./alpaca eval` makes this page "
        "from the weights in the repository. Everything that is drawn comes from seed "
        "%.0f, and the models compute in %s, so the figures are the same on every "
        "machine.",
        document_get_number(root, "seed"), document_get_text(root, "numbers"));
    write_table(root, page);
    draw_fits(root, page);
    page_paragraph(page,
                   "Answers that fit, of the original's 23 prompts, and grades from 0 to 10 of its "
                   "3 stories are given blind; the other columns are right choices, without a "
                   "grader. All of these are explained below.");
    write_words(root, page);
}
