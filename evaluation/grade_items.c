#include "evaluation/grade_items.h"

#include "base/hash.h"
#include "evaluation/document.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int grade_writers(const struct cJSON *root) {
    return GRADE_MODELS_FROM + cJSON_GetArraySize(cJSON_GetObjectItem(root, "models"));
}

const char *grade_writer(const struct cJSON *root, int writer) {
    static const char *const originals[GRADE_MODELS_FROM] = {"original Alpaca", "GPT2-XL"};
    if (writer < GRADE_MODELS_FROM)
        return originals[writer];
    const struct cJSON *models = cJSON_GetObjectItem(root, "models");
    return document_get_text(cJSON_GetArrayItem(models, writer - GRADE_MODELS_FROM), "name");
}

static const char *answer_of(const struct cJSON *prompt, bool is_story, int writer) {
    static const char *const originals[GRADE_MODELS_FROM] = {"alpaca", "gpt2_xl"};
    const struct cJSON *answers = cJSON_GetObjectItem(prompt, "answers");
    if (writer >= GRADE_MODELS_FROM)
        return document_get_text(cJSON_GetArrayItem(answers, writer - GRADE_MODELS_FROM), "once");
    return is_story ? document_get_text(cJSON_GetObjectItem(prompt, originals[writer]), "text")
                    : document_get_text(prompt, originals[writer]);
}

static void fill(struct grade_item *item, const struct cJSON *root, const struct cJSON *prompt,
                 bool is_story, int writer) {
    *item = (struct grade_item){
        .is_story = is_story,
        .kind = is_story ? "story" : document_get_text(prompt, "kind"),
        .prompt = document_get_text(prompt, "prompt"),
        .text = answer_of(prompt, is_story, writer),
        .writer = writer,
    };
    const char *const parts[] = {grade_writer(root, writer), item->prompt, item->text};
    uint64_t hash = 0;
    for (int i = 0; i < 3; i++)
        hash = hash_bytes(hash, parts[i], strlen(parts[i]) + 1);
    snprintf(item->id, sizeof item->id, "%016" PRIx64, hash);
}

enum status grade_items(const struct cJSON *root, struct grade_item **items, size_t *count,
                        struct error *err) {
    static const char *const lists[] = {"prompts", "continuations"};
    const struct cJSON *part = cJSON_GetObjectItem(root, "prompts");
    int writers = grade_writers(root);
    size_t total = 0;
    for (int i = 0; i < 2; i++)
        total += (size_t)cJSON_GetArraySize(cJSON_GetObjectItem(part, lists[i]));
    *items = calloc(total * (size_t)writers + 1, sizeof **items);
    *count = 0;
    if (!*items)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %zu answers", total);
    for (int i = 0; i < 2; i++) {
        const struct cJSON *prompt;
        cJSON_ArrayForEach(prompt, cJSON_GetObjectItem(part, lists[i])) {
            for (int writer = 0; writer < writers; writer++)
                fill(&(*items)[(*count)++], root, prompt, i == 1, writer);
        }
    }
    return STATUS_OK;
}

uint64_t grade_items_hash(const struct grade_item *items, size_t count) {
    uint64_t hash = 0;
    for (size_t i = 0; i < count; i++)
        hash = hash_bytes(hash, items[i].id, sizeof items[i].id);
    return hash;
}
