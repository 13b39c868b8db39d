#include "train/run_folder.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum status run_folder_open(struct run_folder *folder, const char *path, struct error *err) {
    char lock[FILE_PATH_BYTES];
    *folder = (struct run_folder){0};
    enum status status = file_join(lock, path, "lock", err);
    if (status == STATUS_OK)
        status = file_make_folder(path, err);
    if (status != STATUS_OK)
        return status;
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_set_errno(err, "cannot write %s", lock);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        status = errno == EWOULDBLOCK
                     ? error_set(err, STATUS_BUSY, "another run is using the folder %s", path)
                     : error_set_errno(err, "cannot lock %s", lock);
        close(fd);
        return status;
    }
    folder->lock = fd + 1;
    return STATUS_OK;
}

void run_folder_close(struct run_folder *folder) {
    if (folder->lock)
        close(folder->lock - 1);
    *folder = (struct run_folder){0};
}

/* file_writer's temporaries are FILE.<pid>.tmp. */
static bool is_temporary_of(const char *name, const char *file) {
    size_t length = strlen(file);
    if (strncmp(name, file, length) != 0 || name[length] != '.')
        return false;
    size_t digits = strspn(name + length + 1, "0123456789");
    return digits > 0 && strcmp(name + length + 1 + digits, ".tmp") == 0;
}

void run_folder_sweep(const char *path, const char *file) {
    DIR *entries = opendir(path);
    for (const struct dirent *entry; entries && (entry = readdir(entries)) != NULL;) {
        char inside[FILE_PATH_BYTES];
        if (is_temporary_of(entry->d_name, file) &&
            file_join(inside, path, entry->d_name, NULL) == STATUS_OK)
            (void)unlink(inside);
    }
    if (entries)
        closedir(entries);
}
