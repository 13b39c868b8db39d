/* each_story.h - calls a function for the clean text of every story of a file.
 *
 * Ownership: the text is the caller's during the call, which may take it by buffer_release().
 * Thread-safe for different contexts.
 */
#ifndef ALPACA_TRAIN_DATA_EACH_STORY_H
#define ALPACA_TRAIN_DATA_EACH_STORY_H

#include "base/buffer.h"
#include "base/status.h"

typedef enum status story_function(void *context, struct buffer *text, struct error *err);

/* `path` is what story_reader_open() takes. Passes over stories that text_clean() calls empty or
 * not UTF-8; ends with the first error, the function's own included. */
enum status each_story(const char *path, story_function *function, void *context,
                       struct error *err);

#endif
