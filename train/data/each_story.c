#include "train/data/each_story.h"

#include "train/data/story_reader.h"
#include "train/data/text_clean.h"

enum status each_story(const char *path, story_function *function, void *context,
                       struct error *err) {
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
            status = function(context, &clean, err);
    }
    story_reader_close(reader);
    buffer_free(&story);
    buffer_free(&clean);
    return status;
}
