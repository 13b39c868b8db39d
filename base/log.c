#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

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

void log_write(const struct buffer *line) {
    if (line->failed)
        return;
    ssize_t ignored = write(STDERR_FILENO, line->data, line->size);
    (void)ignored; /* nowhere left to report to */
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
