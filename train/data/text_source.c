#include "train/data/text_source.h"

#include "base/foreign.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { CHUNK_BYTES = 128 * 1024 };

const char *text_source_tool(const char *path) {
    static const struct {
        const char *suffix, *tool;
    } tools[] = {{".xz", "xz"}, {".gz", "gzip"}, {".zst", "zstd"}};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof tools / sizeof *tools; i++) {
        size_t suffix = strlen(tools[i].suffix);
        if (length > suffix && strcasecmp(path + length - suffix, tools[i].suffix) == 0)
            return tools[i].tool;
    }
    return NULL;
}

/* Runs `tool -dc` with the packed file as its input; source->fd becomes its output. */
static enum status start_tool(struct text_source *source, struct error *err) {
    int ends[2];
    if (pipe(ends) != 0)
        return error_set_errno(err, "cannot run %s for %s", source->tool, source->path);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);

    /* The tool must end when nobody reads on, even if we ignore SIGPIPE ourselves. */
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, source->fd, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);

    char name[16], option[] = "-dc";
    strcpy(name, source->tool);
    char *const argv[] = {name, option, NULL};
    int code = posix_spawnp(&source->child, name, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(ends[1]);
    close(source->fd);
    source->fd = ends[0];
    if (code == 0)
        return STATUS_OK;
    source->child = 0;
    return error_set(err, STATUS_IO, "cannot run %s, which %s needs: %s; install %s or unpack the "
                     "file first", source->tool, source->path, strerror(code), source->tool);
}

enum status text_source_open(struct text_source *source, const char *path, struct error *err) {
    *source = (struct text_source){.path = path, .fd = -1};
    if (strcmp(path, "-") == 0) {
        source->fd = STDIN_FILENO;
        return STATUS_OK;
    }
    source->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (source->fd < 0)
        return error_set_errno(err, "cannot open %s", path);
    source->tool = text_source_tool(path);
    char start[512]; /* of a packed file; nothing of a pipe, which cannot be read twice */
    ssize_t count = source->tool ? pread(source->fd, start, sizeof start, 0) : 0;
    const char *stub = count > 0 ? foreign_stub(start, (size_t)count) : NULL;
    if (stub)
        return error_set(err, STATUS_UNSUPPORTED, "%s is %s", path, stub);
    return source->tool ? start_tool(source, err) : STATUS_OK;
}

static int reap(struct text_source *source) {
    int state = 0;
    while (waitpid(source->child, &state, 0) < 0 && errno == EINTR)
        continue;
    source->child = 0;
    return state;
}

/* A tool that fails has written part of the text at most. */
static enum status finish(struct text_source *source, struct error *err) {
    source->at_end = true;
    if (!source->child)
        return STATUS_OK;
    int state = reap(source);
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0)
        return STATUS_OK;
    /* Some C libraries find out about a missing program only after forking. */
    if (WIFEXITED(state) && WEXITSTATUS(state) == 127)
        return error_set(err, STATUS_IO, "cannot run %s, which %s needs", source->tool,
                         source->path);
    if (WIFSIGNALED(state))
        return error_set(err, STATUS_IO, "%s -dc was ended by signal %d while unpacking %s",
                         source->tool, WTERMSIG(state), source->path);
    return error_set(err, STATUS_CORRUPT, "%s -dc failed on %s (exit status %d): is it damaged?",
                     source->tool, source->path, WEXITSTATUS(state));
}

enum status text_source_fill(struct text_source *source, struct error *err) {
    if (source->at_end)
        return STATUS_OK;
    struct buffer *window = &source->window;
    if (source->begin) { /* what is left is part of a record, so this moves little */
        window->size -= source->begin;
        memmove(window->data, window->data + source->begin, window->size);
        source->begin = 0;
    }
    if (!buffer_reserve(window, CHUNK_BYTES))
        return error_set(err, STATUS_NO_MEMORY, "no memory to read %s", source->path);
    ssize_t count;
    do
        count = read(source->fd, window->data + window->size, CHUNK_BYTES);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        return error_set_errno(err, "cannot read %s", source->path);
    if (count == 0)
        return finish(source, err);
    window->size += (size_t)count;
    return STATUS_OK;
}

enum status text_source_want(struct text_source *source, size_t bytes, struct error *err) {
    enum status status = STATUS_OK;
    while (status == STATUS_OK && !source->at_end && text_source_size(source) < bytes)
        status = text_source_fill(source, err);
    return status;
}

void text_source_close(struct text_source *source) {
    if (source->fd >= 0 && strcmp(source->path, "-") != 0)
        close(source->fd);
    if (source->child)
        reap(source); /* closing the pipe has ended it; why no longer matters */
    buffer_free(&source->window);
    *source = (struct text_source){.fd = -1};
}

const char *text_source_data(const struct text_source *source) {
    return source->window.data ? source->window.data + source->begin : "";
}

size_t text_source_size(const struct text_source *source) {
    return source->window.size - source->begin;
}

void text_source_skip(struct text_source *source, size_t bytes) {
    assert(bytes <= text_source_size(source));
    source->begin += bytes;
}
