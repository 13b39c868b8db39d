#include "base/default_path.h"

#include <string.h>

enum status default_path(char path[FILE_PATH_BYTES], const char *given, const char *folder,
                         const char *name, struct error *err) {
    char root[FILE_PATH_BYTES], inside[FILE_PATH_BYTES];
    if (given && strlen(given) >= FILE_PATH_BYTES)
        return error_set(err, STATUS_INVALID, "the path is too long: %s", given);
    if (given) {
        strcpy(path, given);
        return STATUS_OK;
    }
    if (!file_program_root(root, "base/default_path.c"))
        return file_join(path, folder, name, err);
    enum status status = file_join(inside, root, folder, err);
    return status == STATUS_OK ? file_join(path, inside, name, err) : status;
}
