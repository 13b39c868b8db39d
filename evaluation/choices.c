/* alpaca-eval choices: which of several texts a model finds likelier. No grader is needed. */
#include "evaluation/choices.h"

#include "base/default_path.h"
#include "base/rng.h"
#include "evaluation/chart.h"
#include "evaluation/commands.h"
#include "evaluation/interval.h"
#include "evaluation/pairs.h"
#include "evaluation/tests.h"

#include <cjson/cJSON.h>
#include <stdio.h>

static const struct flag flags[] = {
    SHARED_OPTIONS,
    DATA_OPTION,
    CHOICES_OPTIONS,
};

/* What a test asks; of whole sentences, long and short, the mean per token is compared, otherwise
 * the sum. */
struct choice {
    const char *name, *what;
    int choices;
    bool per_token;
    choice_builder *build;  /* NULL: */
    const char *pairs_kind; /* of the pairs file */
};

static const struct choice choices[] = {
    {"ending", "the last sentence of a story against those of three others", 4, true,
     choices_endings, NULL},
    {"name", "a name at its last three mentions against another one of the same story", 2, false,
     choices_names, NULL},
    {"thing", "a thing at its last mention against one that another story has in such a place", 2,
     false, choices_things, NULL},
    {"order", "two neighboring sentences against the same two swapped", 2, true, choices_order,
     NULL},
    {"factual", "pairs written by hand: what is so in the world", 2, false, NULL, "factual"},
    {"reasoning", "pairs written by hand: what follows from what was said", 2, false, NULL,
     "reasoning"},
    {"context", "pairs written by hand: who has what, and where", 2, false, NULL, "context"},
};
enum { CHOICES = sizeof choices / sizeof *choices };

static double score(const struct question *question, int choice, bool per_token) {
    return per_token ? question->sums[choice] / question->tokens[choice] : question->sums[choice];
}

/* Whether the right text has the highest score, alone. */
static bool is_right(const struct question *question, bool per_token) {
    for (int c = 1; c < question->count; c++)
        if (score(question, c, per_token) >= score(question, 0, per_token))
            return false;
    return true;
}

struct tally {
    int cases, right;
};

static enum status ask(struct harness *harness, const struct engine *model,
                       const struct choice *choice, struct case_list *cases, struct tally *tally,
                       struct error *err) {
    char what[64];
    size_t limit = (size_t)harness->options->cases;
    size_t count = limit && limit < cases->count ? limit : cases->count;
    snprintf(what, sizeof what, "choices, %s", choice->name);
    enum status status = likelihood(harness, model, what, cases->questions, count, err);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        tally->cases += cases->questions[i].fits;
        tally->right +=
            cases->questions[i].fits && is_right(&cases->questions[i], choice->per_token);
    }
    return status;
}

/* One test for all models. */
static enum status measure_choice(struct harness *harness, struct document *document,
                                  struct cJSON *tests, const struct choice *choice,
                                  struct case_list *cases, struct error *err) {
    struct cJSON *test = document_object(document, tests, NULL);
    enum status status = STATUS_OK;
    document_text(document, test, "name", choice->name);
    document_text(document, test, "what", choice->what);
    document_text(document, test, "score", choice->per_token ? "mean" : "sum");
    document_number(document, test, "chance", 1.0 / choice->choices);
    struct cJSON *results = document_array(document, test, "results");
    for (int i = 0; i < harness->count && status == STATUS_OK; i++) {
        struct tally tally = {0};
        status = ask(harness, &harness->models[i], choice, cases, &tally, err);
        struct cJSON *result = document_object(document, results, NULL);
        document_text(document, result, "model", harness->models[i].name);
        document_number(document, result, "cases", tally.cases);
        document_number(document, result, "right", tally.right);
    }
    return status;
}

static enum status build_cases(const struct choice *choice, const struct choice_source *source,
                               const char *pairs, struct case_list *cases, struct error *err) {
    if (!choice->build)
        return flags_used("pairs", pairs_read(cases, pairs, choice->pairs_kind, err), err);
    struct choice_source own = *source;
    own.seed = rng_derive(source->seed, (uint64_t)(choice - choices));
    return choice->build(&own, cases, err);
}

static enum status measure(struct harness *harness, struct document *document, struct error *err) {
    struct story_list stories = {0};
    struct lexicon lexicon = {0};
    char data[FILE_PATH_BYTES], pairs[FILE_PATH_BYTES];
    enum status status =
        default_path(data, harness->options->data, "data", "tinystories-valid.jsonl.xz", err);
    if (status == STATUS_OK)
        status = default_path(pairs, harness->options->pairs, "evaluation", "pairs.jsonl", err);
    if (status == STATUS_OK)
        status = flags_used("data", story_list_load(&stories, data, err), err);
    if (status == STATUS_OK)
        status = lexicon_build(&lexicon, &stories, err);
    const struct choice_source source = {&stories, &lexicon, harness->options->seed};
    struct cJSON *part = document_object(document, document->root, "choices");
    struct cJSON *tests = document_array(document, part, "tests");
    for (int i = 0; i < CHOICES && status == STATUS_OK; i++) {
        struct case_list cases = {0};
        status = build_cases(&choices[i], &source, pairs, &cases, err);
        if (status == STATUS_OK)
            status = measure_choice(harness, document, tests, &choices[i], &cases, err);
        case_list_free(&cases);
    }
    lexicon_free(&lexicon);
    story_list_free(&stories);
    return status;
}

static void write_result(const struct cJSON *result, struct page *page) {
    double right = document_get_number(result, "right");
    double cases = document_get_number(result, "cases");
    struct interval interval = interval_wilson(right, cases);
    if (cases > 0)
        page_cell(page, "%.1f %% (%.1f to %.1f)", 100 * right / cases, 100 * interval.low,
                  100 * interval.high);
    else
        page_cell(page, "no case fits");
}

/* A group of bars for each test, a bar for each model. */
static void draw_results(const struct cJSON *tests, struct page *page) {
    struct chart chart = {.page = page, .most = 100};
    const cJSON *test, *result;
    cJSON_ArrayForEach(test, tests) {
        struct bar bars[HARNESS_MODELS];
        int count = 0;
        cJSON_ArrayForEach(result, cJSON_GetObjectItem(test, "results")) {
            double right = document_get_number(result, "right");
            double cases = document_get_number(result, "cases");
            struct interval interval = interval_wilson(right, cases);
            if (count == HARNESS_MODELS)
                break;
            bars[count] = (struct bar){.label = document_get_text(result, "model"),
                                       .value = cases > 0 ? 100 * right / cases : 0,
                                       .low = 100 * interval.low,
                                       .high = 100 * interval.high,
                                       .color = count};
            count++;
        }
        chart_group(&chart, document_get_text(test, "name"), bars, count,
                    100 * document_get_number(test, "chance"));
    }
    chart_end(&chart, "Right choices, %, with 95 % intervals; the dashed line is chance");
}

static void write_section(const struct cJSON *root, struct page *page) {
    const struct cJSON *part = cJSON_GetObjectItem(root, "choices");
    const cJSON *test, *model, *result;
    page_heading(page, 2, "Choices");
    page_paragraph(
        page, "How often the model finds the right text likelier than the wrong ones, "
              "with 95 %% intervals (Wilson). What is compared is the log-probability of the span "
              "that differs: the sum, or of whole sentences the mean per token.");
    page_table_begin(page);
    page_column(page, "test");
    page_column(page, "the right text, and what it stands against");
    page_column(page, "cases");
    page_column(page, "chance");
    cJSON_ArrayForEach(model, cJSON_GetObjectItem(root, "models"))
        page_column(page, "%s", document_get_text(model, "name"));
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(part, "tests")) {
        const struct cJSON *results = cJSON_GetObjectItem(test, "results");
        page_cell(page, "%s", document_get_text(test, "name"));
        page_cell(page, "%s", document_get_text(test, "what"));
        page_cell(page, "%.0f", document_get_number(cJSON_GetArrayItem(results, 0), "cases"));
        page_cell(page, "%.0f %%", 100 * document_get_number(test, "chance"));
        cJSON_ArrayForEach(result, results) write_result(result, page);
    }
    page_table_end(page);
    draw_results(cJSON_GetObjectItem(part, "tests"), page);
}

const struct evaluation_test choices_test = {
    .name = "choices",
    .table = {.usage = "alpaca-eval choices [options]",
              .summary = "Asks the models which of several texts is likelier: real stories against "
                         "what was put\nin their place by program, and pairs written by hand.",
              .flags = flags,
              .count = sizeof flags / sizeof *flags},
    .measure = measure,
    .write = write_section,
};

int choices_command(int argc, char **argv) {
    return harness_command(&choices_test, argc, argv);
}
