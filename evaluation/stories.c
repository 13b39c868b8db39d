#include "evaluation/stories.h"

#include "train/data/each_story.h"

#include <stdlib.h>

static enum status append(void *context, struct buffer *text, struct error *err) {
    struct story_list *list = context;
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
    return each_story(path, append, list, err);
}

void story_list_free(struct story_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->texts[i]);
    free(list->texts);
    *list = (struct story_list){0};
}
