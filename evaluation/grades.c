#include "evaluation/grades.h"

#include "base/file.h"
#include "base/flags.h"
#include "evaluation/grade_items.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS = 3, GRADES = 3 };
static const char *const kinds[KINDS] = {"factual", "reasoning", "context-tracking"};
static const char *const names[GRADES] = {"grammar", "creativity", "consistency"};

/* What graders said of one answer, summed: of a story its three grades, else whether it fits. */
struct graded {
    double sums[GRADES];
    int graders;
};

struct grading {
    struct document *document;
    struct cJSON *graders; /* the part's array */
    struct grade_item *items;
    struct graded *graded; /* [count] as the items */
    size_t count;
};

static enum status wrong(const char *path, const char *id, const char *what, struct error *err) {
    return error_set(err, STATUS_CORRUPT, "%s: the grade of \"%.40s\" %s", path, id, what);
}

static enum status add_grade(struct graded *graded, const struct grade_item *item,
                             const struct cJSON *grade, const char *path, struct error *err) {
    double values[GRADES] = {0};
    if (!item->is_story) {
        const struct cJSON *fits = cJSON_GetObjectItemCaseSensitive(grade, "fits");
        if (!cJSON_IsBool(fits))
            return wrong(path, item->id, "must have \"fits\", which is true or false", err);
        values[0] = cJSON_IsTrue(fits);
    }
    for (int i = 0; item->is_story && i < GRADES; i++) {
        const struct cJSON *value = cJSON_GetObjectItemCaseSensitive(grade, names[i]);
        if (!cJSON_IsNumber(value) || !(value->valuedouble >= 0 && value->valuedouble <= 10))
            return wrong(path, item->id,
                         "must have \"grammar\", \"creativity\" and \"consistency\", each 0 to 10",
                         err);
        values[i] = value->valuedouble;
    }
    for (int i = 0; i < GRADES; i++)
        graded->sums[i] += values[i];
    graded->graders++;
    return STATUS_OK;
}

/* The index of the answer; the number of answers when it is not among them. */
static size_t find(const struct grading *grading, const char *id) {
    size_t i = 0;
    while (i < grading->count && strcmp(grading->items[i].id, id) != 0)
        i++;
    return i;
}

/* A grader's file. Grades of answers that are not among these are left out. */
static enum status add_grader(struct grading *grading, const struct cJSON *file, const char *path,
                              struct error *err) {
    const struct cJSON *grades = cJSON_GetObjectItemCaseSensitive(file, "grades"), *grade;
    const char *by = document_get_text(file, "by"), *kind = document_get_text(file, "kind");
    int known = 0, others = 0;
    if (!*by || (strcmp(kind, "person") != 0 && strcmp(kind, "program") != 0) ||
        !cJSON_IsArray(grades))
        return error_set(err, STATUS_CORRUPT,
                         "%s must have \"by\", a name, \"kind\", which is \"person\" or "
                         "\"program\", and an array \"grades\"", path);
    cJSON_ArrayForEach(grade, grades) {
        const char *id = document_get_text(grade, "id");
        size_t i = find(grading, id);
        bool is_known = i < grading->count;
        const cJSON *twin = grade->next;
        while (twin && strcmp(document_get_text(twin, "id"), id) != 0)
            twin = twin->next;
        if (!*id || twin)
            return wrong(path, id, *id ? "is there twice" : "has no \"id\"", err);
        enum status status = STATUS_OK;
        if (is_known)
            status = add_grade(&grading->graded[i], &grading->items[i], grade, path, err);
        if (status != STATUS_OK)
            return status;
        known += is_known;
        others += !is_known;
    }
    if (known == 0)
        return error_set(err, STATUS_INVALID,
                         "%s: no grade is of these answers; they change with --seed and --model",
                         path);
    struct cJSON *grader = document_object(grading->document, grading->graders, NULL);
    document_text(grading->document, grader, "by", by);
    document_text(grading->document, grader, "kind", kind);
    document_number(grading->document, grader, "answers", known);
    document_number(grading->document, grader, "other_answers", others);
    return STATUS_OK;
}

static enum status read_files(struct grading *grading, const char *files, struct error *err) {
    char path[FILE_PATH_BYTES];
    enum status status = STATUS_OK;
    while (status == STATUS_OK && files) {
        struct cJSON *file = NULL;
        status = flags_next_item(&files, "grades", path, sizeof path, err);
        if (status == STATUS_OK)
            status = flags_used("grades", document_read(&file, path, err), err);
        if (status == STATUS_OK)
            status = flags_used("grades", add_grader(grading, file, path, err), err);
        cJSON_Delete(file);
    }
    return status;
}

/* How many of a writer's answers fit, by kind of prompt. */
static void add_fits(const struct grading *grading, struct cJSON *row, int writer) {
    struct document *document = grading->document;
    struct cJSON *fits = document_array(document, row, "fits");
    for (int kind = 0; kind < KINDS; kind++) {
        double sum = 0;
        int answers = 0;
        for (size_t i = 0; i < grading->count; i++) {
            const struct grade_item *item = &grading->items[i];
            const struct graded *graded = &grading->graded[i];
            if (item->writer != writer || strcmp(item->kind, kinds[kind]) != 0 || !graded->graders)
                continue;
            sum += graded->sums[0] / graded->graders;
            answers++;
        }
        struct cJSON *object = document_object(document, fits, NULL);
        document_text(document, object, "kind", kinds[kind]);
        document_number(document, object, "answers", answers);
        document_number(document, object, "fit", sum);
    }
}

/* The mean grades of a writer's stories. */
static void add_story_grades(const struct grading *grading, struct cJSON *row, int writer) {
    double sums[GRADES] = {0};
    int stories = 0;
    for (size_t i = 0; i < grading->count; i++) {
        const struct graded *graded = &grading->graded[i];
        if (grading->items[i].writer != writer || !grading->items[i].is_story || !graded->graders)
            continue;
        for (int grade = 0; grade < GRADES; grade++)
            sums[grade] += graded->sums[grade] / graded->graders;
        stories++;
    }
    document_number(grading->document, row, "stories", stories);
    for (int grade = 0; grade < GRADES && stories > 0; grade++)
        document_number(grading->document, row, names[grade], sums[grade] / stories);
}

/* The grades that the original's own report gives. */
static void add_report_grades(struct grading *grading, struct cJSON *part) {
    static const char *const writers[GRADE_MODELS_FROM] = {"alpaca", "gpt2_xl"};
    const struct cJSON *stories = cJSON_GetObjectItem(
        cJSON_GetObjectItem(grading->document->root, "prompts"), "continuations"), *story;
    struct cJSON *rows = document_array(grading->document, part, "of_its_report");
    for (int writer = 0; writer < GRADE_MODELS_FROM; writer++) {
        struct cJSON *row = document_object(grading->document, rows, NULL);
        int count = cJSON_GetArraySize(stories);
        document_text(grading->document, row, "name",
                      grade_writer(grading->document->root, writer));
        document_number(grading->document, row, "stories", count);
        for (int grade = 0; grade < GRADES && count > 0; grade++) {
            double sum = 0;
            cJSON_ArrayForEach(story, stories) sum += document_get_number(
                cJSON_GetObjectItem(story, writers[writer]), names[grade]);
            document_number(grading->document, row, names[grade], sum / count);
        }
    }
}

enum status grades_add(struct document *document, const char *files, struct error *err) {
    struct grading grading = {.document = document};
    struct cJSON *part = document_object(document, document->root, "grades");
    grading.graders = document_array(document, part, "graders");
    enum status status = grade_items(document->root, &grading.items, &grading.count, err);
    if (status == STATUS_OK) {
        grading.graded = calloc(grading.count + 1, sizeof *grading.graded);
        if (!grading.graded)
            status = error_set(err, STATUS_NO_MEMORY, "no memory for %zu grades", grading.count);
    }
    if (status == STATUS_OK)
        status = read_files(&grading, files, err);
    struct cJSON *rows = document_array(document, part, "writers");
    for (int writer = 0; status == STATUS_OK && writer < grade_writers(document->root); writer++) {
        struct cJSON *row = document_object(document, rows, NULL);
        document_text(document, row, "name", grade_writer(document->root, writer));
        add_fits(&grading, row, writer);
        add_story_grades(&grading, row, writer);
    }
    if (status == STATUS_OK)
        add_report_grades(&grading, part);
    free(grading.items);
    free(grading.graded);
    return status;
}

/* ---- the table --------------------------------------------------------------- */

static void write_story_grades(const struct cJSON *row, struct page *page) {
    page_cell(page, "%.0f", document_get_number(row, "stories"));
    for (int grade = 0; grade < GRADES; grade++)
        if (cJSON_GetObjectItem(row, names[grade]))
            page_cell(page, "%.1f", document_get_number(row, names[grade]));
        else
            page_cell(page, "–");
}

static void write_fit(double fit, double answers, struct page *page) {
    if (answers > 0)
        page_cell(page, "%g of %g", fit, answers);
    else
        page_cell(page, "–");
}

static void write_row(const struct cJSON *row, struct page *page) {
    const cJSON *fits;
    double fit = 0, answers = 0;
    page_cell(page, "%s", document_get_text(row, "name"));
    cJSON_ArrayForEach(fits, cJSON_GetObjectItem(row, "fits")) {
        write_fit(document_get_number(fits, "fit"), document_get_number(fits, "answers"), page);
        fit += document_get_number(fits, "fit");
        answers += document_get_number(fits, "answers");
    }
    write_fit(fit, answers, page);
    write_story_grades(row, page);
}

static void write_report_row(const struct cJSON *row, struct page *page) {
    page_cell(page, "%s, graded by its own report", document_get_text(row, "name"));
    for (int i = 0; i < KINDS + 1; i++)
        page_cell(page, "–");
    write_story_grades(row, page);
}

void grades_write(const struct cJSON *root, struct page *page) {
    const struct cJSON *part = cJSON_GetObjectItem(root, "grades");
    const struct cJSON *graders = cJSON_GetObjectItem(part, "graders");
    const cJSON *grader, *row;
    if (!part)
        return;
    page_heading(page, 2, "Grades");
    page_paragraph(page,
                   "Given blind, on the page that `alpaca-eval grade` writes: it shows the answers "
                   "of all models, not the best of several, shuffled and without names. A short "
                   "answer fits when it makes sense in English and what it says is right and "
                   "agrees with its prompt; continued stories have grades from 0 to 10. "
                   "Graders: %d.",
                   cJSON_GetArraySize(graders));
    cJSON_ArrayForEach(grader, graders)
        page_paragraph(page, "By %s (a %s): %.0f answers.", document_get_text(grader, "by"),
                       document_get_text(grader, "kind"), document_get_number(grader, "answers"));
    page_table_begin(page);
    page_column(page, "who answered");
    for (int kind = 0; kind < KINDS; kind++)
        page_column(page, "%s: fit", kinds[kind]);
    page_column(page, "all: fit");
    page_column(page, "stories");
    for (int grade = 0; grade < GRADES; grade++)
        page_column(page, "%s", names[grade]);
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(part, "writers")) write_row(row, page);
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(part, "of_its_report")) write_report_row(row, page);
    page_table_end(page);
}
