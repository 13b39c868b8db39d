/* alpaca-eval texture: stories that models write from nothing beside real ones, and what of them is
 * in the training text word for word. */
#include "base/default_path.h"
#include "evaluation/commands.h"
#include "evaluation/generate.h"
#include "evaluation/link_parser.h"
#include "evaluation/memory_section.h"
#include "evaluation/story_sample.h"
#include "evaluation/tests.h"
#include "evaluation/training_text.h"

#include <cjson/cJSON.h>
#include <stdio.h>

enum { SAMPLES = HARNESS_MODELS + 1 };

static const struct flag flags[] = {
    SHARED_OPTIONS,
    DATA_OPTION,
    TEXTURE_OPTIONS,
};

/* All that stories are looked at with. */
struct reference {
    struct training_text training;
    struct story_set unfit;
};

static void reference_free(struct reference *reference) {
    training_text_free(&reference->training);
    story_set_free(&reference->unfit);
}

static enum status reference_load(struct reference *reference, struct harness *harness,
                                  struct error *err) {
    char unfit[FILE_PATH_BYTES];
    enum status status = default_path(unfit, NULL, "evaluation", "unfit_words.txt", err);
    if (status == STATUS_OK)
        status = texture_read_list(&reference->unfit, unfit, err);
    if (status == STATUS_OK)
        status = training_text_load(&reference->training, harness->options->training,
                                    harness->models[0].tokenizer, harness->pool, err);
    return status;
}

static const struct figure {
    const char *name, *what, *format;
} figures[] = {
    {"words", "words of a story", "%.0f"},
    {"sentence_words", "words of a sentence", "%.1f"},
    {"ended", "stories that end by themselves, %", "%.1f"},
    {"distinct_1", "different words, % of all", "%.2f"},
    {"distinct_2", "different pairs of words, %", "%.1f"},
    {"distinct_3", "different runs of three, %", "%.1f"},
    {"distinct_4", "different runs of four, %", "%.1f"},
    {"repeated_ngrams", "runs of four words that the story had before, %", "%.2f"},
    {"repeated_sentence", "stories that say a sentence twice, %", "%.1f"},
    {"unknown_words", "words that no training text has, of 10,000", "%.1f"},
    {"unbalanced_quotes", "stories that end inside a quotation, %", "%.1f"},
    {"parsed", "sentences that link-grammar parses, %", "%.1f"},
    {"name_vanishes", "stories whose first name is gone in the second half, %", "%.1f"},
    {"name_appears", "stories where a name comes from nowhere, %", "%.1f"},
    {"unfit_words", "words that do not belong into a story for children, of 10,000", "%.1f"},
};
enum { FIGURES = sizeof figures / sizeof *figures };

static void add_figures(struct document *document, struct cJSON *object,
                        const struct texture *texture) {
    document_number(document, object, "stories", (double)texture->stories);
    document_number(document, object, "words", texture->words);
    document_number(document, object, "sentence_words", texture->sentence_words);
    document_number(document, object, "ended", 100 * texture->ended);
    for (int n = 0; n < TEXTURE_NGRAMS; n++)
        document_number(document, object, figures[3 + n].name, 100 * texture->distinct[n]);
    document_number(document, object, "distinct_of_words", (double)texture->distinct_words);
    document_number(document, object, "repeated_ngrams", 100 * texture->repeated_ngrams);
    document_number(document, object, "repeated_sentence", 100 * texture->repeated_sentence);
    document_number(document, object, "unknown_words", texture->unknown_words);
    document_text(document, object, "unknown_examples", texture->unknown_examples.data);
    document_number(document, object, "unbalanced_quotes", 100 * texture->unbalanced);
    document_number(document, object, "name_vanishes", 100 * texture->name_vanishes);
    document_number(document, object, "name_appears", 100 * texture->name_appears);
    document_number(document, object, "unfit_words", texture->unfit_words);
    document_text(document, object, "unfit_examples", texture->unfit_examples.data);
}

/* Leaves "parsed" out where there is no parser. */
static enum status add_parsed(struct document *document, struct cJSON *object,
                              const struct texture_stories *stories,
                              const struct training_words *words, uint64_t seed,
                              struct error *err) {
    struct buffer lines = {0};
    size_t count, parsed;
    enum status status = STATUS_OK;
    if (!link_parser_is_here())
        return STATUS_OK;
    status = link_parser_sample(stories, words, seed, &lines, &count, err);
    if (status == STATUS_OK && count > 0) {
        status = link_parser_run(&lines, count, &parsed, err);
        if (status == STATUS_OK) {
            document_number(document, object, "parsed", 100 * (double)parsed / (double)count);
            document_number(document, object, "parsed_of", (double)count);
        }
    }
    buffer_free(&lines);
    return status;
}

static enum status add_texture(struct harness *harness, struct document *document,
                               const struct reference *reference,
                               const struct story_sample *samples, int count, struct error *err) {
    struct cJSON *part = document_object(document, document->root, "texture");
    document_number(document, part, "temperature", GENERATE_TEMPERATURE);
    document_number(document, part, "training_stories", (double)reference->training.stories);
    struct cJSON *sets = document_array(document, part, "sets");
    enum status status = STATUS_OK;
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        struct cJSON *object = document_object(document, sets, NULL);
        struct texture texture;
        document_text(document, object, "name", samples[i].name);
        harness_progress(harness, "figures", samples[i].name, (size_t)i, (size_t)count);
        status = texture_measure(&texture, &samples[i].stories, &reference->training.words,
                                 &reference->unfit, err);
        if (status != STATUS_OK)
            break;
        add_figures(document, object, &texture);
        texture_free(&texture);
        status = add_parsed(document, object, &samples[i].stories, &reference->training.words,
                            harness->options->seed, err);
    }
    return status;
}

static void write_examples(const struct cJSON *sets, const char *name, const char *title,
                           struct page *page) {
    const cJSON *set;
    cJSON_ArrayForEach(set, sets) {
        const char *examples = document_get_text(set, name);
        if (*examples)
            page_paragraph(page, "%s, %s: %s.", title, document_get_text(set, "name"), examples);
    }
}

static void write_texture(const struct cJSON *root, struct page *page) {
    const struct cJSON *part = cJSON_GetObjectItem(root, "texture");
    const struct cJSON *sets = cJSON_GetObjectItem(part, "sets");
    const cJSON *set;
    page_heading(page, 2, "Texture");
    page_paragraph(page,
                   "%.0f stories of each model from nothing, at temperature %g, beside real ones "
                   "that no model has seen. No figure is good because it is high or low; it is "
                   "good when it is that of the real stories. Different words and runs are those "
                   "of a set's first %d words.",
                   document_get_number(cJSON_GetArrayItem(sets, 0), "stories"),
                   document_get_number(part, "temperature"), TEXTURE_WORDS);
    page_table_begin(page);
    page_column(page, "figure");
    cJSON_ArrayForEach(set, sets) page_column(page, "%s", document_get_text(set, "name"));
    for (int i = 0; i < FIGURES; i++) {
        page_cell(page, "%s", figures[i].what);
        cJSON_ArrayForEach(set, sets) {
            char number[32] = "skipped: no link-parser here";
            if (cJSON_GetObjectItem(set, figures[i].name))
                snprintf(number, sizeof number, figures[i].format,
                         document_get_number(set, figures[i].name));
            page_cell(page, "%s", number);
        }
    }
    page_table_end(page);
    write_examples(sets, "unknown_examples", "Words that no training text has", page);
    write_examples(sets, "unfit_examples", "Words that do not belong into a story for children",
                   page);
}

static enum status measure(struct harness *harness, struct document *document, struct error *err) {
    struct reference reference = {0};
    struct story_sample samples[SAMPLES] = {{0}};
    char data[FILE_PATH_BYTES];
    int count = 0, stories = harness->options->stories;
    enum status status = reference_load(&reference, harness, err);
    for (int i = 0; i < harness->count && status == STATUS_OK; i++)
        status = story_sample_generate(&samples[count++], harness, i, stories, err);
    if (status == STATUS_OK)
        status = default_path(data, harness->options->data, "data", "tinystories-valid.jsonl.xz",
                              err);
    if (status == STATUS_OK)
        status = flags_used(
            "data", story_sample_read(&samples[count++], harness, data, stories, err), err);
    if (status == STATUS_OK)
        status = add_texture(harness, document, &reference, samples, count, err);
    if (status == STATUS_OK)
        status = memory_add(harness, document, &reference.training, samples, count, err);
    for (int i = 0; i < count; i++)
        story_sample_free(&samples[i]);
    reference_free(&reference);
    return status;
}

static void write_sections(const struct cJSON *root, struct page *page) {
    write_texture(root, page);
    memory_write(root, page);
}

const struct evaluation_test texture_test = {
    .name = "texture",
    .table = {.usage = "alpaca-eval texture [options]",
              .summary = "Lets the models write stories from nothing and says how varied, how "
                         "clean and how whole they\nare, and what of them is in the training text "
                         "word for word, beside as many real stories.",
              .flags = flags,
              .count = sizeof flags / sizeof *flags},
    .measure = measure,
    .write = write_sections,
};

int texture_command(int argc, char **argv) {
    return harness_command(&texture_test, argc, argv);
}
