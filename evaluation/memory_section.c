#include "evaluation/memory_section.h"

#include "evaluation/chart.h"
#include "evaluation/memory.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

enum { LONGEST_SHOWN = 3, RUN_LIMITS = 5 };
static const int run_limits[RUN_LIMITS] = {10, 20, 30, 50, 100}; /* tokens */

/* Runs with the stories they are of, the longest first. */
struct ranked {
    struct memory_run run;
    size_t story;
};

static int compare_ranked(const void *left, const void *right) {
    const struct ranked *a = left, *b = right;
    if (a->run.length != b->run.length)
        return a->run.length > b->run.length ? -1 : 1;
    return a->story < b->story ? -1 : a->story > b->story;
}

static double quantile(const struct ranked *ranked, size_t count, double share) {
    size_t from_below = (size_t)(share * (double)(count - 1) + 0.5);
    return (double)ranked[count - 1 - from_below].run.length;
}

static enum status add_longest(struct document *document, struct cJSON *object,
                               const struct tokenizer *tokenizer,
                               const struct story_sample *sample, const struct ranked *ranked,
                               struct error *err) {
    struct cJSON *longest = document_array(document, object, "longest_runs");
    enum status status = STATUS_OK;
    for (size_t i = 0; i < LONGEST_SHOWN && i < sample->stories.count && status == STATUS_OK; i++) {
        struct buffer text = {0};
        struct cJSON *shown = document_object(document, longest, NULL);
        status = tokenizer_decode(tokenizer, sample->ids[ranked[i].story].ids + ranked[i].run.begin,
                                  ranked[i].run.length, &text, err);
        document_number(document, shown, "tokens", (double)ranked[i].run.length);
        document_text(document, shown, "text", text.data ? text.data : "");
        buffer_free(&text);
    }
    return status;
}

static enum status add_runs(struct document *document, struct cJSON *sets,
                            const struct tokenizer *tokenizer, const struct story_sample *sample,
                            const struct memory_run *runs, struct error *err) {
    size_t count = sample->stories.count;
    struct ranked *ranked = calloc(count + 1, sizeof *ranked);
    double sum = 0;
    if (!ranked)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %zu runs", count);
    for (size_t i = 0; i < count; i++) {
        ranked[i] = (struct ranked){runs[i], i};
        sum += (double)runs[i].length;
    }
    qsort(ranked, count, sizeof *ranked, compare_ranked);
    struct cJSON *object = document_object(document, sets, NULL);
    document_text(document, object, "name", sample->name);
    document_number(document, object, "mean", count ? sum / (double)count : 0);
    document_number(document, object, "median", count ? quantile(ranked, count, 0.5) : 0);
    document_number(document, object, "ninth_decile", count ? quantile(ranked, count, 0.9) : 0);
    document_number(document, object, "longest", count ? quantile(ranked, count, 1) : 0);
    struct cJSON *limits = document_array(document, object, "share_of_at_least");
    for (int limit = 0; limit < RUN_LIMITS; limit++) {
        size_t reached = 0;
        while (reached < count && ranked[reached].run.length >= (size_t)run_limits[limit])
            reached++;
        struct cJSON *share = document_object(document, limits, NULL);
        document_number(document, share, "tokens", run_limits[limit]);
        document_number(document, share, "stories",
                        count ? 100 * (double)reached / (double)count : 0);
    }
    enum status status = add_longest(document, object, tokenizer, sample, ranked, err);
    free(ranked);
    return status;
}

enum status memory_add(struct harness *harness, struct document *document,
                       const struct training_text *training, const struct story_sample *samples,
                       int count, struct error *err) {
    size_t total = 0, done = 0;
    for (int i = 0; i < count; i++)
        total += samples[i].stories.count;
    struct token_list *stories = calloc(total + 1, sizeof *stories); /* borrowed from the samples */
    struct memory_run *runs = calloc(total + 1, sizeof *runs);
    enum status status = STATUS_OK;
    if (!stories || !runs)
        status = error_set(err, STATUS_NO_MEMORY, "no memory for %zu stories", total);
    for (int i = 0; i < count && status == STATUS_OK; i++)
        for (size_t j = 0; j < samples[i].stories.count; j++)
            stories[done++] = samples[i].ids[j];
    harness_progress(harness, "memory", "all", 0, total);
    if (status == STATUS_OK)
        status = memory_longest_runs(training, stories, total, harness->pool, runs, err);
    struct cJSON *part = document_object(document, document->root, "memory");
    document_number(document, part, "training_tokens", (double)training->id_count);
    struct cJSON *sets = document_array(document, part, "sets");
    done = 0;
    for (int i = 0; i < count && status == STATUS_OK; done += samples[i++].stories.count)
        status = add_runs(document, sets, harness->models[0].tokenizer, &samples[i], runs + done,
                          err);
    free(stories);
    free(runs);
    return status;
}

static void draw_shares(const struct cJSON *sets, struct page *page) {
    struct chart chart = {.page = page, .most = 100};
    for (int i = 0; i < RUN_LIMITS; i++) {
        struct bar bars[HARNESS_MODELS + 1];
        char label[64];
        int count = 0;
        const cJSON *set;
        cJSON_ArrayForEach(set, sets) {
            const struct cJSON *limits = cJSON_GetObjectItem(set, "share_of_at_least");
            bars[count] = (struct bar){
                .label = document_get_text(set, "name"),
                .color = count,
                .value = document_get_number(cJSON_GetArrayItem(limits, i), "stories")};
            count++;
        }
        snprintf(label, sizeof label, "a run of %d tokens or more", run_limits[i]);
        chart_group(&chart, label, bars, count, -1);
    }
    chart_end(&chart, "Stories that share a run of so many tokens with the training text, %");
}

void memory_write(const struct cJSON *root, struct page *page) {
    const struct cJSON *part = cJSON_GetObjectItem(root, "memory");
    const struct cJSON *sets = cJSON_GetObjectItem(part, "sets");
    static const char *const names[] = {"median", "mean", "ninth_decile", "longest"};
    static const char *const whats[] = {"median, tokens", "mean", "nine of ten have at most",
                                        "longest"};
    const cJSON *set, *run;
    page_heading(page, 2, "Memory");
    page_paragraph(page,
                   "The longest run of tokens of a story that the training text has too, of %.0f "
                   "tokens. Real stories, which no model has seen, share what all such stories "
                   "have in common.",
                   document_get_number(part, "training_tokens"));
    page_table_begin(page);
    page_column(page, "longest shared run of a story");
    cJSON_ArrayForEach(set, sets) page_column(page, "%s", document_get_text(set, "name"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        page_cell(page, "%s", whats[i]);
        cJSON_ArrayForEach(set, sets) page_cell(page, "%.*f", i == 1,
                                                document_get_number(set, names[i]));
    }
    for (int i = 0; i < RUN_LIMITS; i++) {
        page_cell(page, "%d tokens or more, %% of the stories", run_limits[i]);
        cJSON_ArrayForEach(set, sets) {
            const struct cJSON *limits = cJSON_GetObjectItem(set, "share_of_at_least");
            page_cell(page, "%.1f", document_get_number(cJSON_GetArrayItem(limits, i), "stories"));
        }
    }
    page_table_end(page);
    draw_shares(sets, page);
    page_paragraph(page, "The %d longest of each:", LONGEST_SHOWN);
    page_table_begin(page);
    page_column(page, "by");
    page_column(page, "tokens");
    page_column(page, "run");
    cJSON_ArrayForEach(set, sets) {
        cJSON_ArrayForEach(run, cJSON_GetObjectItem(set, "longest_runs")) {
            page_cell(page, "%s", document_get_text(set, "name"));
            page_cell(page, "%.0f", document_get_number(run, "tokens"));
            page_cell(page, "%s", document_get_text(run, "text"));
        }
    }
    page_table_end(page);
}
