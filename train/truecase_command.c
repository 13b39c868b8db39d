/* `alpaca-train truecase`: a table for capitals, learnt from stories, and how good it is. */
#include "base/default_path.h"
#include "base/file.h"
#include "base/flags.h"
#include "tokenizer/letters.h"
#include "tokenizer/truecase.h"
#include "train/commands.h"
#include "train/data/each_story.h"
#include "train/truecase_learn.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

struct truecase_options {
    const char *table, *valid;
    struct truecase_settings settings;
    bool wrong;
};

#define AT(member) offsetof(struct truecase_options, member)
static const struct flag flags[] = {
    {"table", FLAG_TEXT, AT(table), NULL, 0, 0, "FILE",
     "the table to write; without an INPUT, the one to judge (default "
     "weights/alpaca/truecase.txt)"},
    {"valid", FLAG_TEXT, AT(valid), NULL, 0, 0, "FILE",
     "stories to judge it by (default data/tinystories-valid.jsonl.xz)"},
    {"passes", FLAG_INT, AT(settings.passes), "5", 1, 100, "", "over the stories"},
    {"l1", FLAG_REAL, AT(settings.l1), "0.7", 0, 1000, "",
     "the norm that makes the table small; more of it makes it smaller"},
    {"min-count", FLAG_INT, AT(settings.min_count), "3", 1, 1000000, "",
     "features that occur less often are left out"},
    {"wrong", FLAG_SWITCH, AT(wrong), NULL, 0, 0, "", "print the words that come out wrong"},
};

static const struct flag_table table = {
    .usage = "alpaca-train truecase [INPUT...] [options]",
    .summary = "Learns from stories which words have a capital, and says which share of the words\n"
               "of the validation stories comes out right when their capitals are taken away and\n"
               "restored. An INPUT is what prepare takes; none, to judge a table that is there.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
    .max_arguments = INT_MAX,
};

/* ---- learning -------------------------------------------------------------------- */

static enum status add_story(void *learner, struct buffer *text, struct error *err) {
    return truecase_learner_add(learner, text->data, text->size, err);
}

/* The table never takes the place of stories. */
static enum status check_table(const struct truecase_options *o, char **inputs, int count,
                               struct error *err) {
    bool same = file_same(o->table, o->valid);
    for (int i = 0; i < count; i++)
        same = same || file_same(o->table, inputs[i]);
    if (!same)
        return STATUS_OK;
    return error_set_field(err, STATUS_INVALID, "table",
                           "--table: %s holds stories that are read; give another file", o->table);
}

static enum status learn(const struct truecase_options *o, char **inputs, int count,
                         struct error *err) {
    struct truecase_learner learner = {0};
    struct buffer text = {0};
    size_t weights = 0;
    enum status status = check_table(o, inputs, count, err);
    for (int i = 0; i < count && status == STATUS_OK; i++)
        status = each_story(inputs[i], add_story, &learner, err);
    if (status == STATUS_OK)
        status = truecase_learn(&learner, &o->settings, &text, &weights, err);
    if (status == STATUS_OK)
        status = flags_used("table", file_replace(o->table, text.data, text.size, err), err);
    if (status == STATUS_OK)
        printf("%s: %zu weights, %zu bytes, from %zu stories of %llu words\n", o->table, weights,
               text.size, learner.story_count, (unsigned long long)learner.words);
    buffer_free(&text);
    truecase_learner_free(&learner);
    return status;
}

/* ---- judging --------------------------------------------------------------------- */

struct judging {
    const struct truecase_table *table;
    struct buffer text;
    size_t words, wrong;
    bool print_wrong;
};

static bool has_letter(const char *word, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if ((word[i] | 32) >= 'a' && (word[i] | 32) <= 'z')
            return true;
    return false;
}

static void print_wrong(const struct buffer *right, size_t at, size_t bytes, const char *word) {
    size_t from = at > 50 ? at - 50 : 0;
    size_t behind = right->size - at - bytes;
    printf("%.*s[%.*s]%.*s\n", (int)(at - from), right->data + from, (int)bytes, word,
           (int)(behind < 30 ? behind : 30), right->data + at + bytes);
}

/* Takes a story's capitals away, restores them, and compares the words, which blanks separate. */
static enum status judge_story(void *context, struct buffer *right, struct error *err) {
    struct judging *judging = context;
    struct truecaser truecaser;
    struct buffer lower = {0};
    buffer_append(&lower, right->data, right->size);
    buffer_clear(&judging->text);
    truecaser_start(&truecaser, judging->table);
    if (lower.failed)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a story");
    letters_lower(lower.data, lower.size);
    enum status status =
        truecaser_push(&truecaser, lower.data, lower.size, &judging->text, err);
    if (status == STATUS_OK)
        status = truecaser_finish(&truecaser, &judging->text, err);
    for (size_t at = 0, bytes; at < right->size && status == STATUS_OK; at += bytes + 1) {
        bytes = strcspn(right->data + at, " ");
        if (!has_letter(right->data + at, bytes))
            continue;
        judging->words++;
        if (memcmp(right->data + at, judging->text.data + at, bytes) == 0)
            continue;
        judging->wrong++;
        if (judging->print_wrong)
            print_wrong(right, at, bytes, judging->text.data + at);
    }
    buffer_free(&lower);
    return status;
}

static enum status judge(const struct truecase_options *o, struct error *err) {
    struct truecase_table *weights = NULL;
    struct judging judging = {.print_wrong = o->wrong};
    enum status status = flags_used("table", truecase_table_load(&weights, o->table, err), err);
    judging.table = weights;
    if (status == STATUS_OK)
        status = flags_used("valid", each_story(o->valid, judge_story, &judging, err), err);
    if (status == STATUS_OK)
        printf("%s: %.2f %% of %zu words right, %zu wrong\n", o->valid,
               judging.words ? 100.0 * (double)(judging.words - judging.wrong) /
                                   (double)judging.words
                             : 100.0,
               judging.words, judging.wrong);
    buffer_free(&judging.text);
    truecase_table_free(weights);
    return status;
}

int truecase_command(int argc, char **argv) {
    struct truecase_options options;
    char path[FILE_PATH_BYTES], valid[FILE_PATH_BYTES];
    struct error err;
    bool help = false;
    enum status status = flags_parse(&table, &options, &argc, argv, &help, &err);
    if (help)
        return 0;
    if (status == STATUS_OK && argc > 0 && !options.table)
        status = error_set_field(&err, STATUS_INVALID, "table", "--table FILE is missing");
    if (status == STATUS_OK)
        status = default_path(path, options.table, "weights/alpaca", TRUECASE_FILE, &err);
    if (status == STATUS_OK)
        status = default_path(valid, options.valid, "data", "tinystories-valid.jsonl.xz", &err);
    options.table = path;
    options.valid = valid;
    if (status == STATUS_OK && argc > 0)
        status = learn(&options, argv, argc, &err);
    if (status == STATUS_OK)
        status = judge(&options, &err);
    if (status != STATUS_OK)
        fprintf(stderr, "alpaca-train truecase: %s\n", err.message);
    return status == STATUS_OK ? 0 : status == STATUS_INVALID ? 2 : 1;
}
