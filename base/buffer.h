/* buffer.h - a growable run of bytes, always followed by a NUL.
 *
 * Ownership: the buffer owns `data`; start from `{0}` and end with
 * buffer_free(). Appending fails only when memory runs out; the first failure
 * is remembered in `failed`, later appends do nothing, so a caller may check
 * once at the end. Not thread-safe.
 */
#ifndef ALPACA_BASE_BUFFER_H
#define ALPACA_BASE_BUFFER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buffer {
    char *data;
    size_t size;     /* bytes in use, without the NUL */
    size_t capacity; /* bytes allocated */
    bool failed;     /* memory ran out on some append */
};

bool buffer_reserve(struct buffer *buffer, size_t extra_bytes);
bool buffer_append(struct buffer *buffer, const void *bytes, size_t count);
bool buffer_append_text(struct buffer *buffer, const char *text);
bool buffer_printf(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool buffer_vprintf(struct buffer *buffer, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
void buffer_clear(struct buffer *buffer); /* empties, keeps the memory */
void buffer_free(struct buffer *buffer);
/* Hands `data` to the caller, who frees it; the buffer is empty afterwards. */
char *buffer_release(struct buffer *buffer);

#endif
