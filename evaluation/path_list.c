#include "evaluation/path_list.h"

#include <string.h>

enum status path_list_next(const char **list, const char *option, char path[FILE_PATH_BYTES],
                           bool *got, struct error *err) {
    *got = *list != NULL;
    if (!*got)
        return STATUS_OK;
    size_t length = strcspn(*list, ",");
    if (length == 0 || length >= FILE_PATH_BYTES)
        return error_set_field(err, STATUS_INVALID, option,
                               "--%s is a list of paths, a comma between them", option);
    memcpy(path, *list, length);
    path[length] = '\0';
    *list = (*list)[length] ? *list + length + 1 : NULL;
    return STATUS_OK;
}
