/* stories.h - a file of stories as texts, cleaned as the trainer cleans them.
 *
 * Ownership: the caller frees the list. Not thread-safe while loading; then it only is read.
 */
#ifndef ALPACA_EVALUATION_STORIES_H
#define ALPACA_EVALUATION_STORIES_H

#include "base/status.h"

#include <stddef.h>

struct story_list {
    char **texts; /* [count] */
    size_t count, capacity;
};

/* Appends the stories of `path`, in any form that story_reader takes; leaves out those that are
 * empty or not UTF-8. */
enum status story_list_load(struct story_list *list, const char *path, struct error *err);
void story_list_free(struct story_list *list);

#endif
