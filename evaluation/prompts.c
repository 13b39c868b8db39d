/* alpaca-eval prompts: the original's prompts, and how it, GPT2-XL and these models go on. */
#include "evaluation/commands.h"
#include "evaluation/generate.h"
#include "evaluation/original.h"
#include "evaluation/sentences.h"
#include "evaluation/tests.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A short prompt is answered by a sentence, a beginning of a story by all that comes. */
enum { ANSWER_TOKENS = 60, STORY_TOKENS = 200 };

static const struct flag flags[] = {SHARED_OPTIONS};

/* The model's continuations of all prompts, each into the array "answers" of its prompt. */
static enum status answer(struct harness *harness, struct engine *model, struct document *document,
                          struct cJSON *prompts, bool whole_stories, struct error *err) {
    int count = cJSON_GetArraySize(prompts), done = 0;
    const char **texts = calloc((size_t)count, sizeof *texts);
    struct continuation *once = calloc((size_t)count, sizeof *once);
    struct continuation *best = calloc((size_t)count, sizeof *best);
    struct generate_options options = {.what = "prompts",
                                       .prompts = texts,
                                       .count = count,
                                       .seed = harness->options->seed,
                                       .best_of = 1,
                                       .max_tokens = whole_stories ? STORY_TOKENS : ANSWER_TOKENS};
    enum status status = STATUS_OK;
    if (!texts || !once || !best)
        status = error_set(err, STATUS_NO_MEMORY, "no memory for %d answers", count);
    cJSON *prompt;
    cJSON_ArrayForEach(prompt, prompts) texts[done++] = document_get_text(prompt, "prompt");
    if (status == STATUS_OK)
        status = generate(harness, model, &options, once, err);
    options.best_of = harness->options->best_of;
    if (status == STATUS_OK)
        status = generate(harness, model, &options, best, err);
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        if (!whole_stories) {
            sentence_cut_answer(once[i].text, quotes_open(texts[i]));
            sentence_cut_answer(best[i].text, quotes_open(texts[i]));
        }
        cJSON *answers = cJSON_GetObjectItem(cJSON_GetArrayItem(prompts, i), "answers");
        cJSON *object = document_object(document, answers, NULL);
        document_text(document, object, "model", model->name);
        document_text(document, object, "once", once[i].text);
        document_text(document, object, "best", best[i].text);
    }
    if (once)
        continuations_free(once, count);
    if (best)
        continuations_free(best, count);
    free(texts);
    free(once);
    free(best);
    return status;
}

/* Copies the original's prompts under `name`, each with room for these models' answers. */
static struct cJSON *copy_prompts(struct document *document, struct cJSON *part,
                                  const struct cJSON *original, const char *name) {
    cJSON *copy = cJSON_Duplicate(cJSON_GetObjectItem(original, name), true), *prompt;
    if (!copy || !cJSON_AddItemToObject(part, name, copy)) {
        cJSON_Delete(copy);
        document->failed = true;
        return NULL;
    }
    cJSON_ArrayForEach(prompt, copy) document_array(document, prompt, "answers");
    return copy;
}

static enum status measure(struct harness *harness, struct document *document, struct error *err) {
    struct cJSON *original = NULL;
    enum status status = original_load(&original, err);
    if (status != STATUS_OK)
        return status;
    struct cJSON *part = document_object(document, document->root, "prompts");
    document_text(document, part, "source", document_get_text(original, "source"));
    document_number(document, part, "temperature", GENERATE_TEMPERATURE);
    struct cJSON *prompts = copy_prompts(document, part, original, "prompts");
    struct cJSON *stories = copy_prompts(document, part, original, "continuations");
    status = document_check(document, err);
    for (int i = 0; i < harness->count && status == STATUS_OK; i++) {
        status = answer(harness, &harness->models[i], document, prompts, false, err);
        if (status == STATUS_OK)
            status = answer(harness, &harness->models[i], document, stories, true, err);
    }
    cJSON_Delete(original);
    return status;
}

static const char *answer_of(const struct cJSON *prompt, int model, const char *which) {
    const struct cJSON *answers = cJSON_GetObjectItem(prompt, "answers");
    const char *answer = document_get_text(cJSON_GetArrayItem(answers, model), which);
    return answer + strspn(answer, " ");
}

/* The short prompts with the answers of models first .. last, and before them the original's. */
static void write_short(const struct cJSON *root, int first, int last, bool originals,
                        struct page *page) {
    const struct cJSON *models = cJSON_GetObjectItem(root, "models");
    const struct cJSON *part = cJSON_GetObjectItem(root, "prompts");
    int best_of = (int)document_get_number(root, "best_of");
    const cJSON *prompt;
    page_table_begin(page);
    page_column(page, "kind");
    page_column(page, "prompt");
    if (originals) {
        page_column(page, "original Alpaca");
        page_column(page, "GPT2-XL");
    }
    for (int i = first; i <= last; i++) {
        const char *name = document_get_text(cJSON_GetArrayItem(models, i), "name");
        page_column(page, "ours: %s", name);
        page_column(page, "%s, best of %d", name, best_of);
    }
    cJSON_ArrayForEach(prompt, cJSON_GetObjectItem(part, "prompts")) {
        page_cell(page, "%s", document_get_text(prompt, "kind"));
        page_cell(page, "%s", document_get_text(prompt, "prompt"));
        if (originals) {
            page_cell(page, "%s", document_get_text(prompt, "alpaca"));
            page_cell(page, "%s", document_get_text(prompt, "gpt2_xl"));
        }
        for (int i = first; i <= last; i++) {
            page_cell(page, "%s", answer_of(prompt, i, "once"));
            page_cell(page, "%s", answer_of(prompt, i, "best"));
        }
    }
    page_table_end(page);
}

static void write_row(struct page *page, const char *who, const char *text) {
    page_cell(page, "%s", who);
    page_cell(page, "%s", text);
}

static void write_story(const struct cJSON *root, const struct cJSON *story, struct page *page) {
    const struct cJSON *models = cJSON_GetObjectItem(root, "models");
    int best_of = (int)document_get_number(root, "best_of");
    char best[96];
    page_paragraph(page, "“%s”", document_get_text(story, "prompt"));
    page_table_begin(page);
    page_column(page, "by");
    page_column(page, "goes on");
    write_row(page, "original Alpaca",
              document_get_text(cJSON_GetObjectItem(story, "alpaca"), "text"));
    write_row(page, "GPT2-XL", document_get_text(cJSON_GetObjectItem(story, "gpt2_xl"), "text"));
    for (int i = cJSON_GetArraySize(models); i-- > 0;) {
        const char *name = document_get_text(cJSON_GetArrayItem(models, i), "name");
        snprintf(best, sizeof best, "%s, best of %d", name, best_of);
        write_row(page, name, answer_of(story, i, "once"));
        write_row(page, best, answer_of(story, i, "best"));
    }
    page_table_end(page);
}

static void write_section(const struct cJSON *root, struct page *page) {
    const struct cJSON *part = cJSON_GetObjectItem(root, "prompts"), *story;
    int last = cJSON_GetArraySize(cJSON_GetObjectItem(root, "models")) - 1;
    page_heading(page, 2, "The original's prompts");
    page_paragraph(page,
                   "Answered once at temperature %g, up to the end of the first sentence, and "
                   "beside it the best of several, as the server chooses it. Where a model first "
                   "ends the prompt's own sentence, the answer is the sentence after that; the "
                   "original's answers are as its report has them.",
                   document_get_number(part, "temperature"));
    page_paragraph(page, "What the original and GPT2-XL answered: %s",
                   document_get_text(part, "source"));
    write_short(root, last, last, true, page);
    if (last > 0) {
        page_paragraph(page, "The other models on the same prompts:");
        write_short(root, 0, last - 1, false, page);
    }
    page_heading(page, 2, "The original's stories");
    cJSON_ArrayForEach(story, cJSON_GetObjectItem(part, "continuations"))
        write_story(root, story, page);
}

const struct evaluation_test prompts_test = {
    .name = "prompts",
    .table = {.usage = "alpaca-eval prompts [options]",
              .summary = "Continues the 23 prompts and 3 beginnings of stories that the original "
                         "Alpaca was shown\nwith, once at temperature 0.7 and as the best of "
                         "several, beside the original's answers.",
              .flags = flags,
              .count = sizeof flags / sizeof *flags},
    .measure = measure,
    .write = write_section,
};

int prompts_command(int argc, char **argv) {
    return harness_command(&prompts_test, argc, argv);
}
