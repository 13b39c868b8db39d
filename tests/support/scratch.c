#include "tests/support/scratch.h"

#include "base/buffer.h"
#include "base/file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void give_up(const char *what, const char *path) {
    perror(path);
    fprintf(stderr, "cannot %s %s\n", what, path);
    exit(1);
}

void scratch_open(struct scratch *s) {
    const char *parent = getenv("TMPDIR");
    snprintf(s->folder, sizeof s->folder, "%s/alpaca-test-XXXXXX",
             parent && *parent ? parent : "/tmp");
    if (!mkdtemp(s->folder))
        give_up("create", s->folder);
}

static void remove_tree(const char *path) {
    struct stat info;
    if (lstat(path, &info) != 0)
        return;
    DIR *entries = S_ISDIR(info.st_mode) ? opendir(path) : NULL;
    for (const struct dirent *entry; entries && (entry = readdir(entries)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char inside[4096];
        snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
        remove_tree(inside);
    }
    if (entries)
        closedir(entries);
    remove(path);
}

void scratch_close(struct scratch *s) {
    remove_tree(s->folder);
}

struct scratch scratch;

int scratch_setup(void **state) {
    (void)state;
    scratch_open(&scratch);
    return 0;
}

int scratch_teardown(void **state) {
    (void)state;
    scratch_close(&scratch);
    return 0;
}

const char *scratch_path(const struct scratch *s, const char *name) {
    static char paths[64][1024];
    static unsigned next;
    char *path = paths[next++ % 64];
    snprintf(path, sizeof paths[0], "%s/%s", s->folder, name);
    return path;
}

const char *scratch_write(const struct scratch *s, const char *name, const void *bytes,
                          size_t count) {
    const char *path = scratch_path(s, name);
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    FILE *file = file_make_folder(folder, NULL) == STATUS_OK ? fopen(path, "wb") : NULL;
    if (!file || fwrite(bytes, 1, count, file) != count || fclose(file) != 0)
        give_up("write", path);
    return path;
}

const char *scratch_write_text(const struct scratch *s, const char *name, const char *text) {
    return scratch_write(s, name, text, strlen(text));
}

char *scratch_read(const struct scratch *s, const char *name) {
    struct buffer bytes = {0};
    if (file_read(scratch_path(s, name), (size_t)1 << 30, &bytes, NULL) != STATUS_OK ||
        !buffer_append(&bytes, "", 0)) {
        buffer_free(&bytes);
        return NULL;
    }
    return buffer_release(&bytes);
}

size_t scratch_count(const struct scratch *s) {
    size_t count = 0;
    DIR *entries = opendir(s->folder);
    if (!entries)
        give_up("list", s->folder);
    for (const struct dirent *entry; (entry = readdir(entries)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(entries);
    return count;
}
