#include "evaluation/case_list.h"

#include "base/buffer.h"

#include <assert.h>
#include <stdlib.h>

static bool reserve(struct case_list *cases) {
    if (cases->count < cases->capacity)
        return true;
    size_t capacity = cases->capacity ? 2 * cases->capacity : 256;
    struct question *questions = realloc(cases->questions, capacity * sizeof *questions);
    if (!questions)
        return false;
    cases->questions = questions;
    cases->capacity = capacity;
    return true;
}

enum status case_list_add(struct case_list *cases, struct piece beginning, const struct piece *ends,
                          int count, struct error *err) {
    assert(count <= LIKELIHOOD_CHOICES);
    if (!reserve(cases))
        return error_set(err, STATUS_NO_MEMORY, "no memory for %zu cases", cases->count);
    struct question *question = &cases->questions[cases->count++];
    *question = (struct question){.count = count};
    for (int c = 0; c < count; c++) {
        struct buffer text = {0};
        buffer_append(&text, beginning.text, beginning.bytes);
        buffer_append(&text, ends[c].text, ends[c].bytes);
        bool failed = text.failed;
        question->texts[c] = buffer_release(&text);
        if (failed)
            return error_set(err, STATUS_NO_MEMORY, "no memory for %zu cases", cases->count);
    }
    return STATUS_OK;
}

void case_list_free(struct case_list *cases) {
    for (size_t i = 0; i < cases->count; i++)
        for (int c = 0; c < cases->questions[i].count; c++)
            free(cases->questions[i].texts[c]);
    free(cases->questions);
    *cases = (struct case_list){0};
}
