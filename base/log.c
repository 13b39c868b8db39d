#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* How long a reader may hold up everybody who logs before lines are lost instead, once. */
enum { PATIENCE_MS = 250 };

static atomic_int threshold = LOG_INFO;

static void format_text(struct buffer *line, enum log_level level, const char *message) {
    log_append_time(line);
    buffer_printf(line, " %s %s\n", log_level_name(level), message);
}

static log_formatter *formatter = format_text;

void log_set_level(enum log_level level) {
    atomic_store(&threshold, (int)level);
}

void log_set_formatter(log_formatter *format) {
    formatter = format;
}

const char *log_level_name(enum log_level level) {
    static const char *const names[] = {"error", "warn", "info", "debug"};
    return names[level];
}

void log_append_time(struct buffer *line) {
    char second[32];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(second, sizeof second, "%Y-%m-%dT%H:%M:%S", &utc);
    buffer_printf(line, "%s.%03ldZ", second, now.tv_nsec / 1000000);
}

/* Where standard error takes no more, as a full pipe that nobody reads does, says so after
 * `patience_ms`. What poll() calls writable takes PIPE_BUF bytes without waiting. */
static bool write_line(const struct buffer *line, int patience_ms) {
    static bool cut; /* the last line ends in its middle */
    struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};
    size_t done = 0;
    while (done < line->size) {
        int ready = poll(&writable, 1, patience_ms);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready == 0) {
            cut = cut || done > 0;
            return false;
        }
        if (cut && done == 0)
            (void)!write(STDERR_FILENO, "\n", 1);
        cut = false;
        size_t count = line->size - done < PIPE_BUF ? line->size - done : PIPE_BUF;
        ssize_t written = write(STDERR_FILENO, line->data + done, count);
        if (written < 0 && errno != EINTR)
            break; /* nowhere left to report to */
        done += written > 0 ? (size_t)written : 0;
    }
    return true;
}

void log_write(const struct buffer *line) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static unsigned long long lost;
    if (line->failed)
        return;
    pthread_mutex_lock(&lock);
    if (lost > 0) {
        char message[64];
        struct buffer note = {0};
        snprintf(message, sizeof message, "%llu lines were lost here: nobody read them", lost);
        formatter(&note, LOG_WARN, message);
        if (write_line(&note, 0))
            lost = 0;
        buffer_free(&note);
    }
    if (lost > 0 || !write_line(line, PATIENCE_MS))
        lost++;
    pthread_mutex_unlock(&lock);
}

void log_line(enum log_level level, const char *format, ...) {
    if ((int)level > atomic_load(&threshold))
        return;
    char message[1024]; /* a longer one is cut */
    struct buffer line = {0};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    formatter(&line, level, message);
    log_write(&line);
    buffer_free(&line);
}
