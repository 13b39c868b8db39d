/* Answers under ids that name nobody, and graders' files as they come into the document. */
#include "evaluation/grade_items.h"
#include "evaluation/grades.h"
#include "tests/support/scratch.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Two prompts and a story, answered by the original, GPT2-XL and one model. */
static const char answered[] =
    "{\"models\": [{\"name\": \"tiny\"}], \"prompts\": {"
    "\"prompts\": ["
    "{\"kind\": \"factual\", \"prompt\": \"a\", \"alpaca\": \"b\", \"gpt2_xl\": \"c\","
    " \"answers\": [{\"model\": \"tiny\", \"once\": \"d\", \"best\": \"e\"}]},"
    "{\"kind\": \"reasoning\", \"prompt\": \"f\", \"alpaca\": \"b\", \"gpt2_xl\": \"b\","
    " \"answers\": [{\"model\": \"tiny\", \"once\": \"b\", \"best\": \"e\"}]}],"
    "\"continuations\": [{\"prompt\": \"once\","
    " \"alpaca\": {\"text\": \"upon\", \"grammar\": 10, \"creativity\": 9, \"consistency\": 8},"
    " \"gpt2_xl\": {\"text\": \"more\", \"grammar\": 1, \"creativity\": 2, \"consistency\": 3},"
    " \"answers\": [{\"model\": \"tiny\", \"once\": \"a time\", \"best\": \"e\"}]}]}}";
enum { ANSWERS = 9, TINY = GRADE_MODELS_FROM };

struct fixture {
    struct document document;
    struct grade_item *items;
    size_t count;
};

static struct fixture fixture_open(void) {
    struct fixture f = {0};
    struct error err;
    f.document.root = cJSON_Parse(answered);
    assert_non_null(f.document.root);
    assert_int_equal(grade_items(f.document.root, &f.items, &f.count, &err), STATUS_OK);
    assert_int_equal(f.count, ANSWERS);
    return f;
}

static void fixture_close(struct fixture *f) {
    free(f->items);
    document_close(&f->document);
}

/* The id of what `writer` made of a prompt. */
static const char *id_of(const struct fixture *f, const char *prompt, int writer) {
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->items[i].prompt, prompt) == 0 && f->items[i].writer == writer)
            return f->items[i].id;
    fail_msg("nobody %d answered \"%s\"", writer, prompt);
    return NULL;
}

static void every_answer_has_an_id_of_its_own(void **state) {
    (void)state;
    struct fixture f = fixture_open();
    for (size_t i = 0; i < f.count; i++) {
        assert_int_equal(strlen(f.items[i].id), GRADE_ID_BYTES - 1);
        for (size_t j = 0; j < i; j++) /* also where three writers answered the same */
            assert_string_not_equal(f.items[i].id, f.items[j].id);
    }
    assert_string_equal(f.items[2].text, "d"); /* the single answer and not the best */
    assert_int_equal(f.items[2].writer, TINY);
    assert_string_equal(grade_writer(f.document.root, TINY), "tiny");
    assert_true(f.items[8].is_story);
    fixture_close(&f);
}

static void an_id_changes_with_the_answer(void **state) {
    (void)state;
    struct fixture f = fixture_open();
    char *changed = strdup(answered);
    strstr(changed, "\"once\": \"d\"")[9] = 'x';
    struct cJSON *root = cJSON_Parse(changed);
    struct grade_item *items;
    struct error err;
    size_t count;
    assert_int_equal(grade_items(root, &items, &count, &err), STATUS_OK);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(strcmp(items[i].id, f.items[i].id) != 0, i == 2);
    assert_true(grade_items_hash(items, count) != grade_items_hash(f.items, f.count));
    free(items);
    free(changed);
    cJSON_Delete(root);
    fixture_close(&f);
}

/* A grader's file with these grades, formatted. */
static const char *file_of(const char *name, const char *by, const char *grades) {
    char text[2000];
    snprintf(text, sizeof text, "{\"by\": \"%s\", \"kind\": \"program\", \"grades\": [%s]}", by,
             grades);
    return scratch_write_text(&scratch, name, text);
}

static const struct cJSON *row_of(const struct fixture *f, int writer) {
    const struct cJSON *part = cJSON_GetObjectItem(f->document.root, "grades");
    return cJSON_GetArrayItem(cJSON_GetObjectItem(part, "writers"), writer);
}

static double fit_of(const struct fixture *f, int writer, int kind, const char *member) {
    const struct cJSON *fits = cJSON_GetObjectItem(row_of(f, writer), "fits");
    return document_get_number(cJSON_GetArrayItem(fits, kind), member);
}

static void graders_count_with_their_mean(void **state) {
    (void)state;
    struct fixture f = fixture_open();
    struct error err;
    char grades[1000], files[600];
    snprintf(grades, sizeof grades,
             "{\"id\": \"%s\", \"fits\": true}, {\"id\": \"%s\", \"fits\": false},"
             "{\"id\": \"%s\", \"grammar\": 4, \"creativity\": 5, \"consistency\": 10},"
             "{\"id\": \"0123456789abcdef\", \"fits\": true}",
             id_of(&f, "a", TINY), id_of(&f, "f", 0), id_of(&f, "once", TINY));
    const char *one = file_of("one.json", "Ann", grades);
    snprintf(grades, sizeof grades,
             "{\"id\": \"%s\", \"fits\": false},"
             "{\"id\": \"%s\", \"grammar\": 5, \"creativity\": 5, \"consistency\": 0}",
             id_of(&f, "a", TINY), id_of(&f, "once", TINY));
    snprintf(files, sizeof files, "%s,%s", one, file_of("two.json", "Bob", grades));
    assert_int_equal(grades_add(&f.document, files, &err), STATUS_OK);
    assert_true(fabs(fit_of(&f, TINY, 0, "fit") - 0.5) < 1e-12);
    assert_true(fabs(fit_of(&f, TINY, 0, "answers") - 1) < 1e-12);
    assert_true(fabs(fit_of(&f, TINY, 1, "answers")) < 1e-12); /* nobody graded it */
    assert_true(fabs(fit_of(&f, 0, 1, "answers") - 1) < 1e-12);
    assert_true(fabs(fit_of(&f, 0, 1, "fit")) < 1e-12);
    assert_true(fabs(document_get_number(row_of(&f, TINY), "grammar") - 4.5) < 1e-12);
    assert_true(fabs(document_get_number(row_of(&f, TINY), "consistency") - 5) < 1e-12);

    struct page page = {.format = PAGE_MARKDOWN};
    grades_write(f.document.root, &page);
    assert_non_null(strstr(page.text.data, "Graders: 2."));
    assert_non_null(strstr(page.text.data, "By Ann (a program): 3 answers."));
    assert_non_null(strstr(page.text.data, "| tiny | 0.5 of 1 | – | – | 0.5 of 1 | 1 | 4.5 "));
    assert_non_null(strstr(page.text.data, "| 1 | 10.0 | 9.0 | 8.0 |")); /* the original's report */
    page_free(&page);
    fixture_close(&f);
}

static void no_grades_make_no_section(void **state) {
    (void)state;
    struct fixture f = fixture_open();
    struct page page = {.format = PAGE_MARKDOWN};
    grades_write(f.document.root, &page);
    assert_int_equal(page.text.size, 0);
    page_free(&page);
    fixture_close(&f);
}

static void assert_refused(const char *file, enum status status, const char *words) {
    struct fixture f = fixture_open();
    struct error err;
    assert_int_equal(grades_add(&f.document, file, &err), status);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    fixture_close(&f);
}

static void wrong_files_are_refused_by_name(void **state) {
    (void)state;
    struct fixture f = fixture_open();
    const char *answer = id_of(&f, "a", TINY), *story = id_of(&f, "once", TINY);
    char grades[600];
    assert_refused(scratch_path(&scratch, "none.json"), STATUS_NOT_FOUND, "none.json");
    assert_refused(scratch_write_text(&scratch, "text.json", "grades"), STATUS_CORRUPT,
                   "text.json");
    assert_refused(scratch_write_text(&scratch, "a.json", "{\"by\": \"Ann\", \"grades\": []}"),
                   STATUS_CORRUPT, "\"kind\", which is \"person\" or \"program\"");
    assert_refused(file_of("nobody.json", "", ""), STATUS_CORRUPT, "\"by\"");
    assert_refused(file_of("empty.json", "Ann", ""), STATUS_INVALID,
                   "no grade is of these answers");
    assert_refused(file_of("other.json", "Ann", "{\"id\": \"0123456789abcdef\", \"fits\": true}"),
                   STATUS_INVALID, "no grade is of these answers");
    assert_refused(file_of("no_id.json", "Ann", "{\"fits\": true}"), STATUS_CORRUPT,
                   "has no \"id\"");
    snprintf(grades, sizeof grades, "{\"id\": \"%s\", \"fits\": 1}", answer);
    assert_refused(file_of("fits.json", "Ann", grades), STATUS_CORRUPT, "true or false");
    snprintf(grades, sizeof grades,
             "{\"id\": \"%s\", \"grammar\": 11, \"creativity\": 5, \"consistency\": 5}", story);
    assert_refused(file_of("high.json", "Ann", grades), STATUS_CORRUPT, "each 0 to 10");
    snprintf(grades, sizeof grades, "{\"id\": \"%s\", \"grammar\": 1, \"creativity\": 5}", story);
    assert_refused(file_of("short.json", "Ann", grades), STATUS_CORRUPT, "each 0 to 10");
    snprintf(grades, sizeof grades,
             "{\"id\": \"%s\", \"fits\": true}, {\"id\": \"%s\", \"fits\": true}", answer, answer);
    assert_refused(file_of("twice.json", "Ann", grades), STATUS_CORRUPT, "is there twice");
    assert_refused("", STATUS_INVALID, "--grades is a list with commas");
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_has_an_id_of_its_own),
        cmocka_unit_test(an_id_changes_with_the_answer),
        SCRATCH_TEST(graders_count_with_their_mean),
        cmocka_unit_test(no_grades_make_no_section),
        SCRATCH_TEST(wrong_files_are_refused_by_name),
    };
    return cmocka_run_group_tests_name("grades", tests, NULL, NULL);
}
