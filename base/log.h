/* log.h - one line per event on standard error: "time level message".
 *
 * A standard error that nobody reads holds nobody up: lines are lost then, and counted in a line of
 * their own once there is a reader again.
 * Ownership: nothing is kept. Thread-safe: lines come one after another;
 * the settings are for the start, before there are other threads.
 */
#ifndef ALPACA_BASE_LOG_H
#define ALPACA_BASE_LOG_H

#include "base/buffer.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level); /* lines above it are dropped; LOG_INFO at start */
/* Appends a line, with its end, in another form than the text above. */
typedef void log_formatter(struct buffer *line, enum log_level level, const char *message);
void log_set_formatter(log_formatter *format);
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For lines of a form of one's own. A line whose memory ran out is dropped. */
void log_write(const struct buffer *line);
void log_append_time(struct buffer *line); /* "2026-01-31T23:59:59.123Z" */
const char *log_level_name(enum log_level level);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
