#include "base/buffer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool buffer_reserve(struct buffer *buffer, size_t extra_bytes) {
    if (buffer->failed)
        return false;
    if (extra_bytes < buffer->capacity - buffer->size) /* strict: room for the NUL */
        return true;
    size_t capacity = buffer->capacity ? buffer->capacity : 64;
    while (capacity - buffer->size <= extra_bytes) {
        if (capacity > SIZE_MAX / 2) {
            buffer->failed = true;
            return false;
        }
        capacity *= 2;
    }
    char *data = realloc(buffer->data, capacity);
    if (!data) {
        buffer->failed = true;
        return false;
    }
    data[buffer->size] = '\0';
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

bool buffer_append(struct buffer *buffer, const void *bytes, size_t count) {
    if (!buffer_reserve(buffer, count))
        return false;
    if (count)
        memcpy(buffer->data + buffer->size, bytes, count);
    buffer->size += count;
    buffer->data[buffer->size] = '\0';
    return true;
}

bool buffer_append_text(struct buffer *buffer, const char *text) {
    return buffer_append(buffer, text, strlen(text));
}

bool buffer_vprintf(struct buffer *buffer, const char *format, va_list arguments) {
    va_list measured;
    va_copy(measured, arguments);
    int count = vsnprintf(NULL, 0, format, measured);
    va_end(measured);
    if (count < 0 || !buffer_reserve(buffer, (size_t)count))
        return false;
    vsnprintf(buffer->data + buffer->size, (size_t)count + 1, format, arguments);
    buffer->size += (size_t)count;
    return true;
}

bool buffer_printf(struct buffer *buffer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    bool appended = buffer_vprintf(buffer, format, arguments);
    va_end(arguments);
    return appended;
}

void buffer_clear(struct buffer *buffer) {
    buffer->size = 0;
    buffer->failed = false;
    if (buffer->data)
        buffer->data[0] = '\0';
}

void buffer_free(struct buffer *buffer) {
    free(buffer->data);
    *buffer = (struct buffer){0};
}

char *buffer_release(struct buffer *buffer) {
    char *data = buffer->data;
    *buffer = (struct buffer){0};
    return data;
}
