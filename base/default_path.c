#include "base/default_path.h"

enum status default_path(char path[FILE_PATH_BYTES], const char *given, const char *folder,
                         const char *name, struct error *err) {
    char root[FILE_PATH_BYTES], inside[FILE_PATH_BYTES];
    if (given)
        return file_path_set(path, given, err);
    if (!file_program_root(root, "base/default_path.c"))
        return file_join(path, folder, name, err);
    enum status status = file_join(inside, root, folder, err);
    return status == STATUS_OK ? file_join(path, inside, name, err) : status;
}
