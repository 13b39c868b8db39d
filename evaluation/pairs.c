#include "evaluation/pairs.h"

#include "base/file.h"
#include "evaluation/document.h"

#include <cjson/cJSON.h>
#include <string.h>

enum { PAIRS_LIMIT_BYTES = 4 << 20 };

static enum status add(struct case_list *cases, const struct cJSON *pair, struct error *err) {
    const char *prompt = document_get_text(pair, "prompt");
    const char *members[] = {"right", "wrong"};
    struct buffer continuations[2] = {{0}};
    struct piece ends[2];
    bool failed = false;
    enum status status = STATUS_OK;
    for (int c = 0; c < 2; c++) {
        const char *text = document_get_text(pair, members[c]);
        buffer_append_text(&continuations[c], strchr(" .,;:!?'", *text) ? "" : " ");
        buffer_append_text(&continuations[c], text);
        ends[c] = (struct piece){continuations[c].data, continuations[c].size};
        failed = failed || continuations[c].failed;
    }
    status = failed ? error_set(err, STATUS_NO_MEMORY, "no memory for a pair")
                    : case_list_add(cases, (struct piece){prompt, strlen(prompt)}, ends, 2, err);
    buffer_free(&continuations[0]);
    buffer_free(&continuations[1]);
    return status;
}

static enum status read_line(struct case_list *cases, struct piece line, const char *kind,
                             struct error *err) {
    cJSON *pair = cJSON_ParseWithLength(line.text, line.bytes);
    enum status status = STATUS_OK;
    if (!*document_get_text(pair, "kind") || !*document_get_text(pair, "prompt") ||
        !*document_get_text(pair, "right") || !*document_get_text(pair, "wrong"))
        status =
            error_set(err, STATUS_CORRUPT, "not an object with kind, prompt, right and wrong: %.*s",
                      line.bytes < 100 ? (int)line.bytes : 100, line.text);
    else if (strcmp(document_get_text(pair, "kind"), kind) == 0)
        status = add(cases, pair, err);
    cJSON_Delete(pair);
    return status;
}

enum status pairs_read(struct case_list *cases, const char *path, const char *kind,
                       struct error *err) {
    struct buffer text = {0};
    enum status status = file_read(path, PAIRS_LIMIT_BYTES, &text, err);
    for (const char *line = text.data; status == STATUS_OK && line && *line;) {
        size_t bytes = strcspn(line, "\n");
        if (bytes > 0)
            status = read_line(cases, (struct piece){line, bytes}, kind, err);
        line += bytes + (line[bytes] == '\n');
    }
    buffer_free(&text);
    return status;
}
