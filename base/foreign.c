#include "base/foreign.h"

#include <string.h>
#include <strings.h>

struct magic {
    const char *bytes;
    size_t at, count;
    const char *name;
};

static const struct magic stubs[] = {
    {"version https://git-lfs.", 0, 24, "a Git LFS pointer, not the file itself; get that with "
                                        "`git lfs pull`"},
    {"<!doctype html", 0, 14, "a web page; download the file itself"},
    {"<html", 0, 5, "a web page; download the file itself"},
};

static const struct magic magics[] = {
    {"\xFD" "7zXZ", 0, 5, "packed with xz; unpack it first"},
    {"\x1F\x8B", 0, 2, "packed with gzip; unpack it first"},
    {"\x28\xB5\x2F\xFD", 0, 4, "packed with zstd; unpack it first"},
    {"PK\x03\x04", 0, 4, "a zip archive, as torch.save() writes them too; take the files in it, "
                         "or for weights a model.safetensors"},
    {"PAR1", 0, 4, "a Parquet file; take the text or JSON files instead"},
    {"GGUF", 0, 4, "a GGUF file; take a model.safetensors instead"},
    {"ustar", 257, 5, "a tar archive; unpack it and give the folder"},
    {"\xFF\xFE", 0, 2, "UTF-16; convert it to UTF-8"},
    {"\xFE\xFF", 0, 2, "UTF-16; convert it to UTF-8"},
};

const char *foreign_stub(const char *bytes, size_t size) {
    for (size_t i = 0; i < sizeof stubs / sizeof *stubs; i++)
        if (size >= stubs[i].count && strncasecmp(bytes, stubs[i].bytes, stubs[i].count) == 0)
            return stubs[i].name;
    return NULL;
}

static const char *find_magic(const char *bytes, size_t size) {
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        const struct magic *magic = &magics[i];
        if (size >= magic->at + magic->count &&
            memcmp(bytes + magic->at, magic->bytes, magic->count) == 0)
            return magic->name;
    }
    return NULL;
}

/* Text in most alphabets has a zero in every other byte of UTF-16, from the first character on. */
static const char *find_utf16(const char *bytes, size_t size) {
    size_t zeros[2] = {0}, count = size < 512 ? size & ~(size_t)1 : 512;
    for (size_t i = 0; i < count; i++)
        zeros[i % 2] += bytes[i] == '\0';
    for (int i = 0; i < 2 && count; i++)
        if (bytes[i] == '\0' && zeros[i] >= count / 4 && zeros[1 - i] == 0)
            return "UTF-16 without a byte order mark; convert it to UTF-8";
    return NULL;
}

const char *foreign_name(const char *bytes, size_t size) {
    const char *name = foreign_stub(bytes, size);
    if (!name)
        name = find_magic(bytes, size);
    return name ? name : find_utf16(bytes, size);
}

size_t utf8_mark(const char *bytes, size_t size) {
    return size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
}
