/* Every form of input, and what is wrong with input, through story_reader. */
#include "tests/support/scratch.h"
#include "train/data/story_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* All stories, each followed by '|', until the end or an error. */
static enum status read_joined(const char *path, struct buffer *joined, struct error *err) {
    struct story_reader *reader = NULL;
    struct buffer story = {0};
    enum status status = story_reader_open(&reader, path, err);
    for (bool got = true; status == STATUS_OK && got;) {
        status = story_reader_next(reader, &story, &got, err);
        if (status == STATUS_OK && got) {
            buffer_append(joined, story.data, story.size);
            buffer_append_text(joined, "|");
        }
    }
    buffer_free(&story);
    story_reader_close(reader);
    return status;
}

static void assert_reads(const char *path, const char *expected) {
    struct buffer joined = {0};
    struct error err = {0};
    enum status status = read_joined(path, &joined, &err);
    if (status != STATUS_OK)
        fail_msg("%s", err.message);
    assert_string_equal(joined.data ? joined.data : "", expected);
    buffer_free(&joined);
}

static void assert_fails(const char *path, enum status expected, const char *words) {
    struct buffer joined = {0};
    struct error err = {0};
    assert_int_equal(read_joined(path, &joined, &err), expected);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    buffer_free(&joined);
}

static void separated_text(void **state) {
    (void)state;
    assert_reads(scratch_write_text(&scratch, "v2.txt",
                                    "\nOne.\nMore of one.\n<|endoftext|>\nTwo.\n\n<|endoftext|>\n"),
                 "\nOne.\nMore of one.\n|\nTwo.\n\n|");
    assert_reads(scratch_write_text(&scratch, "last.txt", "a<|endoftext|><|endoftext|>b"),
                 "a||b|");
}

static void lines(void **state) {
    (void)state;
    assert_reads(scratch_write_text(&scratch, "a.txt", "One.\nTwo. {\"text\": 1}\n[Three]"),
                 "One.|Two. {\"text\": 1}|[Three]|");
    assert_reads(scratch_write_text(&scratch, "bracket.txt", "[Three]\nfour\n"), "[Three]|four|");
    assert_reads(scratch_write_text(&scratch, "mark.txt", "\xEF\xBB\xBFOne.\n"), "One.|");
    assert_reads(scratch_write_text(&scratch, "mac.txt", "One.\rTwo.\r"), "One.|Two.|");
    assert_reads(scratch_write_text(&scratch, "windows.txt", "One.\r\nTwo.\r\n"), "One.\r|Two.\r|");
    assert_reads(scratch_write_text(&scratch, "alone.txt", "One."), "One.|");
    assert_reads(scratch_write_text(&scratch, "empty.txt", ""), "");
    assert_reads(scratch_write_text(&scratch, "blank.txt", "\n \n"), "| |");
}

static void json_objects(void **state) {
    (void)state;
    assert_reads(scratch_write_text(&scratch, "a.jsonl",
                                    "{\"text\": \"A\\nb {\\\"c\\\"} \\u00e9\", "
                                    "\"version\": \"V1\"}\n\n{\"story\":\"D ]} \\\\\"}\r\n"
                                    "{\"story\":\"no\",\"text\":\"yes\"}"),
                 "A\nb {\"c\"} \xC3\xA9|D ]} \\|yes|");
    assert_reads(scratch_write_text(&scratch, "spread.json",
                                    "\n{\n  \"words\": [1, {}],\n  \"text\": \"spread out\"\n}\n"),
                 "spread out|");
}

static void json_strings(void **state) {
    (void)state;
    const char *expected = "A \"cat\".|Two\nlines|";
    static const char *const texts[] = {
        "[\"A \\\"cat\\\".\", \"Two\\nlines\"]", "[\n \"A \\\"cat\\\".\",\n \"Two\\nlines\"\n]\n",
        "\"A \\\"cat\\\".\"\n\"Two\\nlines\"\n", "\"A \\\"cat\\\".\"\r\n\r\n\"Two\\nlines\"",
        "\xEF\xBB\xBF[\"A \\\"cat\\\".\", {\"text\": \"Two\\nlines\"}]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_reads(scratch_write_text(&scratch, i % 2 ? "a.json" : "a.txt", texts[i]), expected);
    /* Text that only looks like it stays text. */
    assert_reads(scratch_write_text(&scratch, "said.txt", "\"Go!\" said Tom.\n\"Yes.\"\n"),
                 "\"Go!\" said Tom.|\"Yes.\"|");
    assert_reads(scratch_write_text(&scratch, "title.txt", "[\"Tom\" is a title]\nOne.\n"),
                 "[\"Tom\" is a title]|One.|");
    assert_reads(scratch_write_text(&scratch, "half.txt", "\"Yes.\"\n\"No.\n"), "\"Yes.\"|\"No.|");
    assert_fails(scratch_write_text(&scratch, "a.json", "[[\"One.\"]]"), STATUS_UNSUPPORTED,
                 "a.json holds no JSON of stories");
    assert_fails(scratch_write_text(&scratch, "a.jsonl", "One.\nTwo.\n"), STATUS_UNSUPPORTED,
                 "no JSON of stories");
    assert_fails(scratch_write_text(&scratch, "b.json", "[\"One.\", 2]"), STATUS_CORRUPT,
                 "record 2: expected the {");
    assert_fails(scratch_write_text(&scratch, "c.json", "[\"One.\", \"\\q\"]"), STATUS_CORRUPT,
                 "record 2: not valid JSON");
}

static void csv_with_a_header(void **state) {
    (void)state;
    assert_reads(scratch_write_text(&scratch, "kaggle.csv",
                                    "text\n\"One day, Tom said \"\"hi\"\".\n\nThe end.\"\nTwo\n"),
                 "One day, Tom said \"hi\".\n\nThe end.|Two|");
    assert_reads(scratch_write_text(&scratch, "typed.txt",
                                    ",\"story\",title\r\n0,\"a,b\",\"t\nu\"\r\n\r\n1,c,d"),
                 "a,b|c|");
    assert_reads(scratch_write_text(&scratch, "both.csv", "story,text\nno,yes\n"), "yes|");
    assert_reads(scratch_write_text(&scratch, "old.csv", "\xEF\xBB\xBFtext,n\rOne.,1\rTwo.,2\r"),
                 "One.|Two.|");
    assert_reads(scratch_write_text(&scratch, "header.csv", "text\n"), "");
    static const struct {
        const char *text;
        const char *words;
    } cases[] = {
        {"title,body\na,b\n", "hostile.csv is CSV without a column \"text\" or \"story\""},
        {"One story.\n", "is CSV without a column"},
        {"n,text\n1,a\n2\n", "record 2: a CSV record with too few columns"},
        {"text\na\n\"b\n", "record 2: not valid CSV: a quote without its end"},
        {"text\n\"b\" c\n", "record 1: not valid CSV: text after a closing quote"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(scratch_write_text(&scratch, "hostile.csv", cases[i].text),
                     i < 2 ? STATUS_UNSUPPORTED : STATUS_CORRUPT, cases[i].words);
}

static void json_array(void **state) {
    (void)state;
    assert_reads(scratch_write_text(
                     &scratch, "data00.json",
                     " [\n{\"story\": \"One, \\\"[{\\\"\", \"instruction\": {\"prompt:\": \"}]\", "
                     "\"words\": [\"a\", \"b\"]}, \"summary\": \"s\"},\n{\"story\":\"Two\"} ]\n"),
                 "One, \"[{\"|Two|");
    assert_reads(scratch_write_text(&scratch, "none.json", "[]"), "");
    assert_reads(scratch_write_text(&scratch, "blank.json", " [ \n ] \n"), "");
}

static void json_escapes_that_are_no_text(void **state) {
    (void)state;
    /* \\u0000 is a backslash and text; a pair of surrogates is one character. */
    assert_reads(scratch_write_text(&scratch, "a.jsonl",
                                    "{\"text\": \"a\\u0000b \\\\u0000 \\ud83d\\ude00\"}\n"
                                    "{\"te\\u0078t\": \"c\\ud83d d\\ude00 e\\ud83d\\u0041\"}"),
                 "a b \\u0000 \xF0\x9F\x98\x80|"
                 "c\xEF\xBF\xBD d\xEF\xBF\xBD e\xEF\xBF\xBD" "A|");
}

static void hostile_json(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum status status;
        const char *words;
    } cases[] = {
        {"{\"text\": \"a\"}\n{\"text\": \"b\n\"}", STATUS_CORRUPT, "record 2: not valid JSON: a"},
        {"{\"text\": \"a\"}\n{\"text\": b}", STATUS_CORRUPT, "record 2: not valid JSON"},
        {"{\"text\": \"a\"}\n{\"text\": \"b\"", STATUS_CORRUPT, "record 2: the file ends inside"},
        {"{\"text\": \"a", STATUS_CORRUPT, "record 1: the file ends inside"},
        {"{\"text\": \"a\"]", STATUS_CORRUPT, "record 1: not valid JSON"},
        {"{\"text\": \"a\"} x", STATUS_CORRUPT, "record 2: expected the {"},
        {"{\"text\": \"a\"}, {\"text\": \"a\"}", STATUS_CORRUPT, "record 2: expected the {"},
        {"{\"text\": \"\\u12\"}", STATUS_CORRUPT, "record 1: not valid JSON"},
        {"{\"text\": \"\\q\"}", STATUS_CORRUPT, "record 1: not valid JSON"},
        {"{\"text\": 7}", STATUS_INVALID, "record 1: \"text\" is not a string"},
        {"{\"story\": null}", STATUS_INVALID, "record 1: \"story\" is not a string"},
        {"{}", STATUS_INVALID, "record 1: neither \"text\" nor \"story\""},
        {"{\"Text\": \"a\"}", STATUS_INVALID, "record 1: neither \"text\" nor \"story\""},
        {"[{\"text\": \"a\"}", STATUS_CORRUPT, "record 1: the file ends inside the array"},
        {"[{\"text\": \"a\"} {\"text\": \"b\"}]", STATUS_CORRUPT, "record 1: expected , or ]"},
        {"[{\"text\": \"a\"},]", STATUS_CORRUPT, "record 2: expected the {"},
        {"[{\"text\": \"a\"}, 3]", STATUS_CORRUPT, "record 2: expected the {"},
        {"[{\"text\": \"a\"},", STATUS_CORRUPT, "record 2: expected the {"},
        {"[{\"text\": \"a\"}] []", STATUS_CORRUPT, "record 1: more text after the array"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = scratch_write_text(&scratch, "hostile.json", cases[i].text);
        assert_fails(path, cases[i].status, cases[i].words);
        assert_fails(path, cases[i].status, "hostile.json");
    }
    static const char raw_nul[] = "{\"text\": \"a\0b\"}";
    assert_fails(scratch_write(&scratch, "nul.json", raw_nul, sizeof raw_nul - 1), STATUS_CORRUPT,
                 "NUL");
}

static void deep_json_is_an_error(void **state) {
    (void)state;
    enum { DEPTH = 100000 };
    struct buffer text = {0};
    buffer_append_text(&text, "{\"text\":");
    for (int i = 0; i < DEPTH; i++)
        buffer_append_text(&text, "[");
    for (int i = 0; i < DEPTH; i++)
        buffer_append_text(&text, "]");
    buffer_append_text(&text, "}");
    assert_fails(scratch_write(&scratch, "deep.json", text.data, text.size), STATUS_CORRUPT,
                 "record 1: not valid JSON");
    buffer_free(&text);
}

static void records_have_a_limit(void **state) {
    (void)state;
    struct buffer text = {0};
    const char *names[] = {"long.json", "long.txt"};
    const char *heads[] = {"{\"text\": \"", "short\n"};
    for (int i = 0; i < 2; i++) {
        buffer_clear(&text);
        buffer_append_text(&text, heads[i]);
        buffer_reserve(&text, STORY_LIMIT_BYTES + 1);
        memset(text.data + text.size, 'a', STORY_LIMIT_BYTES + 1);
        text.size += STORY_LIMIT_BYTES + 1;
        assert_fails(scratch_write(&scratch, names[i], text.data, text.size), STATUS_TOO_LARGE,
                     i ? "record 2 is longer" : "record 1 is longer");
    }
    buffer_free(&text);
}

/* Records at every position of the reads that the file is taken in. */
static void records_over_the_ends_of_reads(void **state) {
    (void)state;
    enum { STORIES = 4000 };
    static const struct {
        const char *name, *first, *before, *after, *last;
    } formats[] = {
        {"big.json", "[", "{\"story\":\"", "\"},", "{\"story\":\"end\"}]"},
        {"big.jsonl", "", "{\"text\":\"", "\"}\n", "{\"text\":\"end\"}"},
        {"big.txt", "", "", "\n", "end"},
        {"mac.txt", "", "", "\r", "end"},
        {"strings.json", "[", "\"", "\",", "\"end\"]"},
        {"big.csv", "text,n\n", "\"", "\",\"1\n\"\n", "end,1"},
        {"separated.txt", "", "", STORY_SEPARATOR, "end"},
    };
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        struct buffer text = {0}, expected = {0};
        buffer_append_text(&text, formats[f].first);
        for (int i = 0; i < STORIES; i++) {
            buffer_append_text(&text, formats[f].before);
            for (int j = 0; j < i % 97 + 1; j++) {
                buffer_printf(&text, "%d ", i * 31 + j);
                buffer_printf(&expected, "%d ", i * 31 + j);
            }
            buffer_append_text(&text, formats[f].after);
            buffer_append_text(&expected, "|");
        }
        buffer_append_text(&text, formats[f].last);
        buffer_append_text(&expected, "end|");
        assert_true(text.size > 3 * 128 * 1024);
        assert_reads(scratch_write(&scratch, formats[f].name, text.data, text.size),
                     expected.data);
        buffer_free(&text);
        buffer_free(&expected);
    }
}

static void folder_in_order(void **state) {
    (void)state;
    scratch_write_text(&scratch, "set/b.txt", "b1\nb2");
    scratch_write_text(&scratch, "set/a.json", "[{\"story\":\"a\"}]");
    scratch_write_text(&scratch, "set/c.JSONL", "{\"text\":\"c\"}");
    scratch_write_text(&scratch, "set/README.md", "not a story");
    scratch_write_text(&scratch, "set/d.csv", "text\nd\n");
    scratch_write_text(&scratch, "set/.hidden.txt", "nor this");
    scratch_write_text(&scratch, "set/inner.txt/x.txt", "nor this");
    assert_reads(scratch_path(&scratch, "set"), "a|b1|b2|c|d|");
    scratch_write_text(&scratch, "bare/README.md", "nothing");
    assert_fails(scratch_path(&scratch, "bare"), STATUS_NOT_FOUND, "no story files");
    assert_fails(scratch_path(&scratch, "missing"), STATUS_NOT_FOUND, "missing");
}

static void standard_input(void **state) {
    (void)state;
    const char *path = scratch_write_text(&scratch, "in.txt", "one\ntwo\n");
    int saved = dup(STDIN_FILENO);
    assert_non_null(freopen(path, "rb", stdin));
    assert_reads("-", "one|two|");
    assert_true(dup2(saved, STDIN_FILENO) >= 0); /* the reader has left it open */
    close(saved);
}

static int run(const char *format, const char *a, const char *b) {
    char command[4096];
    snprintf(command, sizeof command, format, a, b);
    return system(command);
}

static void packed_with(const char *tool, const char *suffix) {
    char name[64];
    if (run("command -v %s >/dev/null%s", tool, "") != 0)
        skip();
    struct buffer text = {0}, expected = {0};
    for (int i = 0; i < 60000; i++) {
        buffer_printf(&text, "story %d\n", i);
        buffer_printf(&expected, "story %d|", i);
    }
    const char *plain = scratch_write(&scratch, "plain.txt", text.data, text.size);
    snprintf(name, sizeof name, "-packed.txt%s", suffix);
    const char *packed = scratch_path(&scratch, name);
    char command[64];
    snprintf(command, sizeof command, "%s -c <'%%s' >'%%s'", tool);
    assert_int_equal(run(command, plain, packed), 0);
    assert_reads(packed, expected.data);

    /* Left after one story: the tool must end too, or this never returns. */
    struct story_reader *reader;
    struct buffer story = {0};
    bool got;
    assert_int_equal(story_reader_open(&reader, packed, NULL), STATUS_OK);
    assert_int_equal(story_reader_next(reader, &story, &got, NULL), STATUS_OK);
    assert_string_equal(story.data, "story 0");
    story_reader_close(reader);
    buffer_free(&story);

    /* A file that ends too early is an error, not a shorter text. */
    char *all = scratch_read(&scratch, name);
    FILE *file = fopen(packed, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size_t size = (size_t)ftell(file);
    fclose(file);
    assert_fails(scratch_write(&scratch, name, all, size / 2), STATUS_CORRUPT, tool);
    free(all);
    buffer_free(&text);
    buffer_free(&expected);
}

static void packed_xz(void **state) {
    (void)state;
    packed_with("xz", ".xz");
}

static void packed_gzip(void **state) {
    (void)state;
    packed_with("gzip", ".gz");
}

static void packed_zstd(void **state) {
    (void)state;
    packed_with("zstd", ".zst");
}

static void missing_tool(void **state) {
    (void)state;
    const char *path = scratch_write_text(&scratch, "a.txt.xz", "no matter");
    char *saved = strdup(getenv("PATH"));
    assert_int_equal(setenv("PATH", scratch.folder, 1), 0);
    assert_fails(path, STATUS_IO, "cannot run xz");
    assert_int_equal(setenv("PATH", saved, 1), 0);
    free(saved);
}

static void foreign_files_are_named(void **state) {
    (void)state;
    char tar[512] = "data00.json";
    memcpy(tar + 257, "ustar", 5);
    assert_fails(scratch_write(&scratch, "a.txt", "\x1F\x8B\x08\x00", 4), STATUS_UNSUPPORTED,
                 "gzip");
    assert_fails(scratch_write(&scratch, "a.json", tar, sizeof tar), STATUS_UNSUPPORTED, "tar");
    assert_fails(scratch_write(&scratch, "b.txt", "\xFF\xFE" "a\0", 4), STATUS_UNSUPPORTED,
                 "UTF-16");
    assert_fails(scratch_write(&scratch, "b.txt", "O\0n\0e\0.\0\r\0\n\0", 12), STATUS_UNSUPPORTED,
                 "UTF-16 without");
    assert_fails(scratch_write(&scratch, "b.json", "\0[\0\"\0a\0\"\0]", 10), STATUS_UNSUPPORTED,
                 "UTF-16 without");
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n";
    assert_fails(scratch_write_text(&scratch, "a.txt", pointer), STATUS_UNSUPPORTED, "Git LFS");
    assert_fails(scratch_write_text(&scratch, "a.jsonl.xz", pointer), STATUS_UNSUPPORTED,
                 "a.jsonl.xz is a Git LFS pointer");
    assert_fails(scratch_write_text(&scratch, "a.json", "<!DOCTYPE html><html>"),
                 STATUS_UNSUPPORTED, "a web page");
    assert_fails(scratch_write_text(&scratch, "c.txt", "PAR1...."), STATUS_UNSUPPORTED, "Parquet");
}

/* A first story longer than what is looked at hides the separators. */
static void late_separator_is_an_error(void **state) {
    (void)state;
    struct buffer text = {0};
    while (text.size <= STORY_SNIFF_BYTES)
        buffer_append_text(&text, "a long line\n");
    buffer_append_text(&text, STORY_SEPARATOR "\nmore\n");
    assert_fails(scratch_write(&scratch, "late.txt", text.data, text.size), STATUS_CORRUPT,
                 "one story a line");
    buffer_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(separated_text),
        SCRATCH_TEST(lines),
        SCRATCH_TEST(json_objects),
        SCRATCH_TEST(json_array),
        SCRATCH_TEST(json_strings),
        SCRATCH_TEST(csv_with_a_header),
        SCRATCH_TEST(json_escapes_that_are_no_text),
        SCRATCH_TEST(hostile_json),
        SCRATCH_TEST(deep_json_is_an_error),
        SCRATCH_TEST(records_have_a_limit),
        SCRATCH_TEST(records_over_the_ends_of_reads),
        SCRATCH_TEST(folder_in_order),
        SCRATCH_TEST(standard_input),
        SCRATCH_TEST(packed_xz),
        SCRATCH_TEST(packed_gzip),
        SCRATCH_TEST(packed_zstd),
        SCRATCH_TEST(missing_tool),
        SCRATCH_TEST(foreign_files_are_named),
        SCRATCH_TEST(late_separator_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
