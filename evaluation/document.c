#include "evaluation/document.h"

#include "base/file.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>

static struct cJSON *attach(struct document *document, struct cJSON *parent, const char *name,
                            struct cJSON *item) {
    if (item &&
        (name ? cJSON_AddItemToObject(parent, name, item) : cJSON_AddItemToArray(parent, item)))
        return item;
    cJSON_Delete(item);
    document->failed = true;
    return NULL;
}

struct cJSON *document_object(struct document *document, struct cJSON *parent, const char *name) {
    return attach(document, parent, name, cJSON_CreateObject());
}

struct cJSON *document_array(struct document *document, struct cJSON *parent, const char *name) {
    return attach(document, parent, name, cJSON_CreateArray());
}

void document_number(struct document *document, struct cJSON *parent, const char *name,
                     double value) {
    attach(document, parent, name,
           isfinite(value) ? cJSON_CreateNumber(value) : cJSON_CreateNull());
}

void document_text(struct document *document, struct cJSON *parent, const char *name,
                   const char *text) {
    attach(document, parent, name, cJSON_CreateString(text));
}

double document_get_number(const struct cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

const char *document_get_text(const struct cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(item) ? item->valuestring : "";
}

enum status document_open(struct document *document, struct error *err) {
    *document = (struct document){.root = cJSON_CreateObject()};
    document->failed = !document->root;
    return document_check(document, err);
}

enum status document_read(struct cJSON **json, const char *path, struct error *err) {
    struct buffer text = {0};
    *json = NULL;
    enum status status = file_read(path, DOCUMENT_LIMIT_BYTES, &text, err);
    if (status == STATUS_OK && !(*json = cJSON_ParseWithLength(text.data, text.size)))
        status = error_set(err, STATUS_CORRUPT, "%s is not JSON", path);
    buffer_free(&text);
    return status;
}

enum status document_check(const struct document *document, struct error *err) {
    return document->failed ? error_set(err, STATUS_NO_MEMORY, "no memory for the results")
                            : STATUS_OK;
}

enum status document_append(const struct document *document, struct buffer *text,
                            struct error *err) {
    char *json = document->failed ? NULL : cJSON_Print(document->root);
    bool appended = json && buffer_append_text(text, json) && buffer_append_text(text, "\n");
    cJSON_free(json);
    return appended ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, "no memory for the results");
}

enum status document_print(const struct document *document, struct error *err) {
    struct buffer text = {0};
    enum status status = document_append(document, &text, err);
    if (status == STATUS_OK)
        fwrite(text.data, 1, text.size, stdout);
    buffer_free(&text);
    return status;
}

void document_close(struct document *document) {
    cJSON_Delete(document->root);
    *document = (struct document){0};
}
