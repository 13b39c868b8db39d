#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __APPLE__
#include <mach-o/dyld.h>
#else
#include <sys/auxv.h>
#endif

enum status file_path_set(char path[FILE_PATH_BYTES], const char *from, struct error *err) {
    size_t length = strlen(from);
    path[0] = '\0';
    if (length >= FILE_PATH_BYTES)
        return error_set(err, STATUS_INVALID, "the path is too long: %s", from);
    memcpy(path, from, length + 1);
    return STATUS_OK;
}

enum status file_join(char path[FILE_PATH_BYTES], const char *folder, const char *name,
                      struct error *err) {
    int length = snprintf(path, FILE_PATH_BYTES, "%s/%s", folder, name);
    if (length >= 0 && length < FILE_PATH_BYTES)
        return STATUS_OK;
    path[0] = '\0';
    return error_set(err, STATUS_INVALID, "a path of %d bytes is too long: %s/%s", length, folder,
                     name);
}

/* What `path` is when it is no file of bytes that can be mapped or read again. */
static const char *kind_of(mode_t mode) {
    return S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a pipe" : "a device or socket";
}

static enum status check_mode(const char *path, mode_t mode, struct error *err) {
    if (S_ISREG(mode))
        return STATUS_OK;
    return error_set(err, STATUS_INVALID, "%s is %s, not a regular file", path, kind_of(mode));
}

enum status file_check_regular(const char *path, struct error *err) {
    struct stat info;
    if (stat(path, &info) != 0)
        return error_set_errno(err, "cannot open %s", path);
    return check_mode(path, info.st_mode, err);
}

enum status file_read(const char *path, size_t limit_bytes, struct buffer *buffer,
                      struct error *err) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return error_set_errno(err, "cannot open %s", path);
    enum status status = STATUS_OK;
    size_t total = 0, count;
    char chunk[16384];
    while ((count = fread(chunk, 1, sizeof chunk, file)) > 0) {
        total += count;
        if (total > limit_bytes) {
            status = error_set(err, STATUS_TOO_LARGE, "%s is larger than %zu bytes", path,
                               limit_bytes);
            break;
        }
        if (!buffer_append(buffer, chunk, count)) {
            status = error_set(err, STATUS_NO_MEMORY, "no memory to read %s", path);
            break;
        }
    }
    if (status == STATUS_OK && ferror(file))
        status = error_set_errno(err, "cannot read %s", path);
    fclose(file);
    return status;
}

enum status file_map_open(struct file_map *map, const char *path, struct error *err) {
    *map = (struct file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* or a pipe would be waited for */
    if (fd < 0)
        return error_set_errno(err, "cannot open %s", path);
    enum status status = STATUS_OK;
    struct stat info;
    if (fstat(fd, &info) != 0) {
        status = error_set_errno(err, "cannot read %s", path);
    } else if ((status = check_mode(path, info.st_mode, err)) == STATUS_OK && info.st_size > 0) {
        /* mmap refuses length 0; an empty view needs none. */
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = error_set_errno(err, "cannot map %s", path);
        } else {
            map->data = data;
            map->size = (size_t)info.st_size;
        }
    }
    close(fd);
    return status;
}

void file_map_close(struct file_map *map) {
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->size);
    *map = (struct file_map){0};
}

enum status file_writer_open(struct file_writer *writer, const char *path, struct error *err) {
    *writer = (struct file_writer){0};
    enum status status = file_path_set(writer->path, path, err);
    if (status != STATUS_OK)
        return status;
    snprintf(writer->temporary, sizeof writer->temporary, "%s.%ld.tmp", path, (long)getpid());
    writer->stream = fopen(writer->temporary, "wb");
    if (!writer->stream)
        return error_set_errno(err, "cannot write %s", path);
    return STATUS_OK;
}

/* A rename is only durable once the folder that holds it is synced too. */
static void sync_folder_of(const char *path) {
    char folder[FILE_PATH_BYTES];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (slash && length == 0)
        length = 1; /* "/file" lies in "/" */
    memcpy(folder, path, length);
    folder[length] = '\0';
    int fd = open(length ? folder : ".", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

enum status file_writer_commit(struct file_writer *writer, struct error *err) {
    FILE *stream = writer->stream;
    bool written = fflush(stream) == 0 && !ferror(stream) && fsync(fileno(stream)) == 0;
    int code = errno;
    writer->stream = NULL;
    if (fclose(stream) != 0 && written) {
        written = false;
        code = errno;
    }
    if (written && rename(writer->temporary, writer->path) == 0) {
        sync_folder_of(writer->path);
        writer->temporary[0] = '\0';
        return STATUS_OK;
    }
    errno = written ? errno : code;
    enum status status = error_set_errno(err, "cannot write %s", writer->path);
    file_writer_abort(writer);
    return status;
}

enum status file_replace(const char *path, const void *bytes, size_t size, struct error *err) {
    struct file_writer writer;
    enum status status = file_writer_open(&writer, path, err);
    if (status != STATUS_OK)
        return status;
    if (size > 0)
        fwrite(bytes, 1, size, writer.stream);
    return file_writer_commit(&writer, err);
}

enum status file_copy(const char *from, const char *path, struct error *err) {
    struct file_map map;
    enum status status = file_map_open(&map, from, err);
    if (status == STATUS_OK)
        status = file_replace(path, map.data, map.size, err);
    file_map_close(&map);
    return status;
}

void file_writer_abort(struct file_writer *writer) {
    if (writer->stream) {
        fclose(writer->stream);
        writer->stream = NULL;
    }
    if (writer->temporary[0]) {
        unlink(writer->temporary);
        writer->temporary[0] = '\0';
    }
}

enum status file_make_folder(const char *path, struct error *err) {
    char part[FILE_PATH_BYTES];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part)
        return error_set(err, STATUS_INVALID, "not a usable folder name: \"%s\"", path);
    memcpy(part, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        char saved = part[i];
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return error_set_errno(err, "cannot create the folder %s", part);
        part[i] = saved;
    }
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return error_set(err, STATUS_IO, "%s is not a folder", path);
    return STATUS_OK;
}

bool file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

bool file_same(const char *path, const char *other) {
    struct stat a, b;
    return stat(path, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static bool to_parent(char *path) {
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = '\0';
    return slash;
}

_Static_assert(FILE_PATH_BYTES >= PATH_MAX, "realpath() writes as much as that");

bool file_program(char path[FILE_PATH_BYTES], bool *by_loader) {
    *by_loader = false;
#ifdef __APPLE__
    uint32_t size = FILE_PATH_BYTES;
    return _NSGetExecutablePath(path, &size) == 0;
#else
    /* For a program that is an interpreter the kernel loads none: /proc/self/exe is the loader. */
    *by_loader = getauxval(AT_BASE) == 0;
    ssize_t length = *by_loader ? 0 : readlink("/proc/self/exe", path, FILE_PATH_BYTES);
    if (length > 0 && length < FILE_PATH_BYTES) { /* as long as that it is cut */
        path[length] = '\0';
        return true;
    }
    const char *name = (const char *)(uintptr_t)getauxval(AT_EXECFN); /* as it was called */
    return name && realpath(name, path);
#endif
}

bool file_program_folder(char path[FILE_PATH_BYTES]) {
    bool by_loader;
    return file_program(path, &by_loader) && to_parent(path);
}

bool file_program_root(char path[FILE_PATH_BYTES], const char *name) {
    char inside[FILE_PATH_BYTES];
    for (bool more = file_program_folder(path); more; more = to_parent(path))
        if (file_join(inside, path, name, NULL) == STATUS_OK && file_exists(inside))
            return true;
    return false;
}
