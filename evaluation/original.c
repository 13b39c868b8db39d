#include "evaluation/original.h"

#include "base/default_path.h"
#include "evaluation/document.h"

enum status original_load(struct cJSON **original, struct error *err) {
    char path[FILE_PATH_BYTES];
    enum status status = default_path(path, NULL, "evaluation", "original.json", err);
    return status == STATUS_OK ? document_read(original, path, err) : status;
}
