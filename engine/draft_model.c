#include "engine/draft_model.h"

#include "base/flags.h"
#include "base/log.h"
#include "engine/draft.h"
#include "engine/engine.h"
#include "model/weights.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

enum { TIMES_SMALLER = 4 }; /* a larger draft would take too long for what it spares */

/* Opens engine->draft_folder. */
static enum status open_folder(struct engine *engine, struct error *err) {
    char tokenizer[FILE_PATH_BYTES];
    struct model *draft = NULL;
    enum status status = file_join(tokenizer, engine->folder, "tokenizer.model", err);
    if (status == STATUS_OK)
        status = weights_check_tokenizer(engine->draft_folder, tokenizer, err);
    if (status == STATUS_OK)
        status = weights_load(engine->draft_folder, &draft, err);
    if (status == STATUS_OK)
        status = draft_check(draft, engine->model, err);
    if (status == STATUS_OK)
        status = model_prepare(draft, DTYPE_INT8, err);
    if (status == STATUS_OK)
        engine->draft = draft;
    else
        model_destroy(draft);
    return status;
}

/* *count is the number of parameters of the model in a folder, 0 when there is none that can be
 * read or it has another tokenizer. Only memory that runs out is an error. */
static enum status count_parameters(const char *folder, const char *tokenizer, size_t *count,
                                    struct error *err) {
    char path[FILE_PATH_BYTES];
    struct model_config config;
    *count = 0;
    if (file_join(path, folder, "config.json", NULL) != STATUS_OK || !file_exists(path))
        return STATUS_OK;
    enum status status = config_read(path, &config, err);
    if (status == STATUS_OK)
        status = weights_check_tokenizer(folder, tokenizer, err);
    if (status == STATUS_OK)
        *count = model_parameter_count(&config);
    return status == STATUS_NO_MEMORY ? status : STATUS_OK;
}

/* Leaves draft_folder empty when no folder beside the model's would do. */
static enum status find_beside(struct engine *engine, struct error *err) {
    char parent[FILE_PATH_BYTES], path[FILE_PATH_BYTES], tokenizer[FILE_PATH_BYTES];
    size_t most = 0, at_most = model_parameter_count(&engine->model->config) / TIMES_SMALLER;
    enum status status = file_join(parent, engine->folder, "..", err);
    if (status == STATUS_OK)
        status = file_join(tokenizer, engine->folder, "tokenizer.model", err);
    DIR *entries = status == STATUS_OK ? opendir(parent) : NULL;
    if (status == STATUS_OK && !entries && errno == ENOMEM)
        status = error_set(err, STATUS_NO_MEMORY, "no memory to look for a draft");
    for (struct dirent *entry; entries && status == STATUS_OK && (entry = readdir(entries));) {
        size_t count;
        if (entry->d_name[0] == '.' || file_join(path, parent, entry->d_name, NULL) != STATUS_OK)
            continue;
        status = count_parameters(path, tokenizer, &count, err);
        bool better = count > most || (count == most && strcmp(path, engine->draft_folder) < 0);
        if (count > 0 && count <= at_most && better) {
            most = count;
            strcpy(engine->draft_folder, path);
        }
    }
    if (entries)
        closedir(entries);
    return status;
}

enum status draft_model_open(struct engine *engine, const char *choice, struct error *err) {
    struct error reason = {0};
    bool automatic = !choice || strcmp(choice, "auto") == 0;
    bool integers = engine->model->dtype == DTYPE_INT8;
    enum status status;
    engine->draft_folder[0] = '\0';
    if ((choice && strcmp(choice, "off") == 0) || (automatic && !integers))
        return STATUS_OK;
    if (!integers)
        return error_set_field(err, STATUS_INVALID, "draft",
                               "a draft works with --numeric int8 only");
    if (!automatic) {
        status = file_path_set(engine->draft_folder, choice, err);
        if (status == STATUS_OK)
            status = open_folder(engine, err);
        return flags_used("draft", status, err);
    }
    status = find_beside(engine, err);
    if (status != STATUS_OK || !*engine->draft_folder)
        return status;
    status = open_folder(engine, &reason);
    if (status == STATUS_NO_MEMORY)
        return error_set(err, status, "%s", reason.message);
    if (status != STATUS_OK)
        log_warn("no draft: %s", reason.message);
    return STATUS_OK;
}
