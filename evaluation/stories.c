#include "evaluation/stories.h"

#include "train/data/story_reader.h"
#include "train/data/text_clean.h"

#include <stdlib.h>

static enum status append(struct story_list *list, struct buffer *text, struct error *err) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 256;
        char **texts = realloc(list->texts, capacity * sizeof *texts);
        if (!texts)
            return error_set(err, STATUS_NO_MEMORY, "no memory for %zu stories", capacity);
        list->texts = texts;
        list->capacity = capacity;
    }
    list->texts[list->count++] = buffer_release(text);
    return STATUS_OK;
}

enum status story_list_load(struct story_list *list, const char *path, struct error *err) {
    struct story_reader *reader = NULL;
    struct buffer story = {0}, clean = {0};
    size_t repairs = 0;
    bool got = true;
    enum status status = story_reader_open(&reader, path, err);
    while (status == STATUS_OK) {
        status = story_reader_next(reader, &story, &got, err);
        if (status != STATUS_OK || !got)
            break;
        enum text_verdict verdict = text_clean(story.data, story.size, &clean, &repairs);
        if (verdict == TEXT_NO_MEMORY)
            status = error_set(err, STATUS_NO_MEMORY, "no memory for a story");
        if (verdict == TEXT_GOOD)
            status = append(list, &clean, err);
    }
    story_reader_close(reader);
    buffer_free(&story);
    buffer_free(&clean);
    return status;
}

void story_list_free(struct story_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->texts[i]);
    free(list->texts);
    *list = (struct story_list){0};
}
