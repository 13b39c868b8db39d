#include "evaluation/training_text.h"

#include "base/default_path.h"
#include "base/file.h"
#include "base/flags.h"
#include "evaluation/stories.h"

#include <stdlib.h>
#include <string.h>

static enum status learn_words(struct training_words *words, const char *path, struct error *err) {
    struct story_list stories = {0};
    enum status status = story_list_load(&stories, path, err);
    for (size_t i = 0; i < stories.count && status == STATUS_OK; i++)
        status = training_words_learn(words, stories.texts[i], err);
    story_list_free(&stories);
    return status;
}

static enum status append_ids(struct training_text *text, const struct dataset *dataset,
                              struct error *err) {
    size_t count = text->id_count + dataset->id_count;
    uint16_t *ids = realloc(text->ids, count * sizeof *ids);
    if (!ids)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %zu tokens", count);
    memcpy(ids + text->id_count, dataset->ids, dataset->id_count * sizeof *ids);
    text->ids = ids;
    text->id_count = count;
    text->stories += dataset->stories;
    return STATUS_OK;
}

static enum status add_file(struct training_text *text, const char *path,
                            const struct tokenizer *tokenizer, struct pool *pool,
                            struct error *err) {
    const struct dataset_source source = {
        .path = path, .tokenizer = tokenizer, .positions = DATASET_UNCUT};
    struct dataset dataset = {0};
    enum status status = dataset_load(&dataset, &source, pool, err);
    if (status == STATUS_OK)
        status = append_ids(text, &dataset, err);
    dataset_free(&dataset);
    if (status == STATUS_OK)
        status = learn_words(&text->words, path, err);
    return flags_used("training", status, err);
}

enum status training_text_load(struct training_text *text, const char *files,
                               const struct tokenizer *tokenizer, struct pool *pool,
                               struct error *err) {
    /* All text that ships to be learned from (data/README.md). Weights may have learned from a part
     * of it alone, as their cards say; what they learned is never taken for their own. */
    static const char *const shipped[] = {"tinystories-train.jsonl.xz",
                                          "tinystories-more.jsonl.xz",
                                          "children-books.jsonl.xz"};
    char path[FILE_PATH_BYTES];
    enum status status = STATUS_OK;
    for (size_t i = 0; !files && i < sizeof shipped / sizeof *shipped && status == STATUS_OK; i++) {
        status = default_path(path, NULL, "data", shipped[i], err);
        if (status == STATUS_OK)
            status = add_file(text, path, tokenizer, pool, err);
    }
    while (files && status == STATUS_OK) {
        status = flags_next_item(&files, "training", path, sizeof path, err);
        if (status == STATUS_OK)
            status = add_file(text, path, tokenizer, pool, err);
    }
    return status == STATUS_OK ? training_words_finish(&text->words, err) : status;
}

void training_text_free(struct training_text *text) {
    free(text->ids);
    training_words_free(&text->words);
    *text = (struct training_text){0};
}
