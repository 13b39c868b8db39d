#include "server/api/web_files.h"

#include "base/hash.h"
#include "server/api/json.h"

#include <cjson/cJSON.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MANIFEST_BYTES_MAX = 4096 };

/* Takes the model's name from engine.json; one with a slash in it could be any file. */
static enum status read_manifest(struct web_files *files, const char *folder, struct error *err) {
    char path[FILE_PATH_BYTES];
    struct buffer text = {0};
    cJSON *root = NULL;
    enum status status = file_join(path, folder, "engine.json", err);
    if (status == STATUS_OK)
        status = file_read(path, MANIFEST_BYTES_MAX, &text, err);
    if (status == STATUS_OK)
        status = json_parse(text.data ? text.data : "", text.size, &root, err);
    if (status != STATUS_OK && status != STATUS_INVALID) /* what is no JSON has no name either */
        goto cleanup;
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(root, "pack"));
    if (name && strlen(name) < sizeof files->pack_name && !strpbrk(name, "/\"\\"))
        strcpy(files->pack_name, name);
    else
        status = error_set(err, STATUS_CORRUPT, "%s names no packed model", path);
cleanup:
    cJSON_Delete(root);
    buffer_free(&text);
    return status;
}

static enum status map(struct file_map *map, const char *folder, const char *name,
                       struct error *err) {
    char path[FILE_PATH_BYTES];
    enum status status = file_join(path, folder, name, err);
    return status == STATUS_OK ? file_map_open(map, path, err) : status;
}

static void add_page(struct web_files *files, int index, const char *path, const char *type) {
    const struct file_map data[WEB_FILES] = {
        {(const unsigned char *)files->manifest.data, files->manifest.size},
        files->wasm,
        files->pack,
    };
    snprintf(files->etags[index], sizeof files->etags[index], "\"%016" PRIx64 "\"",
             hash_bytes(0, data[index].data, data[index].size));
    files->pages[index] = (struct page){.path = path,
                                        .content_type = type,
                                        .etag = files->etags[index],
                                        .data = data[index].data,
                                        .size = data[index].size};
}

enum status web_files_open(struct web_files *files, const char *folder, struct error *err) {
    char inside[FILE_PATH_BYTES];
    enum status status = STATUS_OK;
    *files = (struct web_files){0};
    if (folder) {
        status = file_join(inside, folder, "web", err);
        if (status == STATUS_OK)
            status = read_manifest(files, inside, err);
        if (status == STATUS_OK)
            status = map(&files->wasm, inside, "alpaca.wasm", err);
        if (status == STATUS_OK)
            status = map(&files->pack, inside, files->pack_name, err);
    }
    buffer_append_text(&files->manifest, "{\"server\":true");
    if (folder)
        buffer_printf(&files->manifest, ",\"pack\":\"%s\",\"bytes\":%zu", files->pack_name,
                      files->pack.size);
    buffer_append_text(&files->manifest, "}\n");
    if (status == STATUS_OK && files->manifest.failed)
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the list of files");
    if (status != STATUS_OK) {
        web_files_close(files);
        return status;
    }
    add_page(files, 0, "engine.json", "application/json");
    if (folder) {
        add_page(files, 1, "alpaca.wasm", "application/wasm");
        add_page(files, 2, files->pack_name, "application/octet-stream");
        files->pages[2].fixed = true;
    }
    return STATUS_OK;
}

void web_files_close(struct web_files *files) {
    buffer_free(&files->manifest);
    file_map_close(&files->wasm);
    file_map_close(&files->pack);
    *files = (struct web_files){0};
}

const struct page *web_files_find(const struct web_files *files, const char *name) {
    for (int i = 0; i < WEB_FILES; i++)
        if (files->pages[i].path && strcmp(files->pages[i].path, name) == 0)
            return &files->pages[i];
    return NULL;
}
