#include "evaluation/page.h"

#include <stdarg.h>
#include <string.h>

static const char style[] =
    "body { font: 16px/1.5 sans-serif; color: #222; max-width: 75rem; margin: 2rem auto; "
    "padding: 0 1rem; }\n"
    "table { border-collapse: collapse; font-size: 14px; margin: 1rem 0; display: block; "
    "overflow-x: auto; }\n"
    "th, td { border: 1px solid #ccc; padding: 4px 8px; text-align: left; vertical-align: top; }\n"
    "th { background: #f3f3f3; }\n"
    "svg { font: 12px sans-serif; max-width: 100%; height: auto; }\n"
    "figure { margin: 1rem 0; }\n"
    "figcaption { font-size: 14px; color: #555; }\n";

void page_free(struct page *page) {
    buffer_free(&page->text);
}

static void append_character(struct buffer *out, char c) {
    switch (c) {
    case '&':
        buffer_append_text(out, "&amp;");
        break;
    case '<':
        buffer_append_text(out, "&lt;");
        break;
    case '>':
        buffer_append_text(out, "&gt;");
        break;
    case '"':
        buffer_append_text(out, "&quot;");
        break;
    default:
        buffer_append(out, &c, 1);
    }
}

void page_append_escaped(struct buffer *out, const char *text) {
    for (; *text; text++)
        append_character(out, *text);
}

static void append_range(struct buffer *out, const char *begin, const char *end) {
    for (; begin < end; begin++)
        append_character(out, *begin);
}

/* What `mark` encloses at text, as an element; how many bytes that were, 0 for none. */
static size_t append_marked(struct buffer *out, const char *text, const char *mark,
                            const char *element) {
    size_t length = strlen(mark);
    if (strncmp(text, mark, length) != 0)
        return 0;
    const char *end = strstr(text + length, mark);
    if (!end)
        return 0;
    buffer_printf(out, "<%s>", element);
    append_range(out, text + length, end);
    buffer_printf(out, "</%s>", element);
    return (size_t)(end - text) + length;
}

static size_t append_link(struct buffer *out, const char *text) {
    const char *middle = *text == '[' ? strstr(text, "](") : NULL;
    const char *end = middle ? strchr(middle, ')') : NULL;
    if (!end)
        return 0;
    buffer_append_text(out, "<a href=\"");
    append_range(out, middle + 2, end);
    buffer_append_text(out, "\">");
    append_range(out, text + 1, middle);
    buffer_append_text(out, "</a>");
    return (size_t)(end - text) + 1;
}

static void append_inline_html(struct buffer *out, const char *text) {
    while (*text) {
        size_t taken = append_marked(out, text, "`", "code");
        taken = taken ? taken : append_marked(out, text, "**", "strong");
        taken = taken ? taken : append_link(out, text);
        if (!taken)
            append_character(out, *text);
        text += taken ? taken : 1;
    }
}

/* A cell of a Markdown table must not hold what ends a cell or a row, nor begin markup. */
static void append_cell_markdown(struct buffer *out, const char *text) {
    for (; *text; text++) {
        if (strchr("|*_`<[\\", *text))
            buffer_append(out, "\\", 1);
        buffer_append(out, *text == '\n' ? " " : text, 1);
    }
}

void page_begin(struct page *page, const char *title) {
    if (page->format == PAGE_HTML) {
        buffer_append_text(&page->text, "<!doctype html>\n<html lang=\"en\">\n<head>\n"
                                        "<meta charset=\"utf-8\">\n<title>");
        page_append_escaped(&page->text, title);
        buffer_printf(&page->text, "</title>\n<style>\n%s</style>\n</head>\n<body>\n", style);
    }
    page_heading(page, 1, title);
}

void page_end(struct page *page) {
    if (page->format == PAGE_HTML)
        buffer_append_text(&page->text, "</body>\n</html>\n");
}

void page_heading(struct page *page, int level, const char *text) {
    if (page->format == PAGE_HTML) {
        buffer_printf(&page->text, "<h%d>", level);
        append_inline_html(&page->text, text);
        buffer_printf(&page->text, "</h%d>\n", level);
        return;
    }
    if (page->text.size > 0)
        buffer_append_text(&page->text, "\n");
    buffer_printf(&page->text, "%.*s %s\n", level, "######", text);
}

void page_paragraph(struct page *page, const char *format, ...) {
    struct buffer text = {0};
    va_list arguments;
    va_start(arguments, format);
    buffer_vprintf(&text, format, arguments);
    va_end(arguments);
    if (text.failed) {
        page->text.failed = true;
    } else if (page->format == PAGE_HTML) {
        buffer_append_text(&page->text, "<p>");
        append_inline_html(&page->text, text.data);
        buffer_append_text(&page->text, "</p>\n");
    } else {
        buffer_printf(&page->text, "%s%s\n", page->text.size > 0 ? "\n" : "", text.data);
    }
    buffer_free(&text);
}

void page_table_begin(struct page *page) {
    page->columns = page->cells = 0;
    if (page->format == PAGE_HTML)
        buffer_append_text(&page->text, "<table>\n<thead><tr>");
    else
        buffer_append_text(&page->text, page->text.size > 0 ? "\n|" : "|");
}

/* What a cell holds, between what its format puts around it. */
static void append_cell(struct page *page, const char *format, va_list arguments) {
    struct buffer text = {0};
    buffer_vprintf(&text, format, arguments);
    if (text.failed)
        page->text.failed = true;
    else if (page->format == PAGE_HTML)
        page_append_escaped(&page->text, text.data);
    else
        append_cell_markdown(&page->text, text.data);
    buffer_free(&text);
}

void page_column(struct page *page, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    buffer_append_text(&page->text, page->format == PAGE_HTML ? "<th>" : " ");
    append_cell(page, format, arguments);
    buffer_append_text(&page->text, page->format == PAGE_HTML ? "</th>" : " |");
    va_end(arguments);
    page->columns++;
}

static void end_head(struct page *page) {
    if (page->format == PAGE_HTML) {
        buffer_append_text(&page->text, "</tr></thead>\n<tbody>\n");
        return;
    }
    buffer_append_text(&page->text, "\n|");
    for (int i = 0; i < page->columns; i++)
        buffer_append_text(&page->text, "---|");
    buffer_append_text(&page->text, "\n");
}

void page_cell(struct page *page, const char *format, ...) {
    bool html = page->format == PAGE_HTML;
    va_list arguments;
    va_start(arguments, format);
    if (page->cells == 0)
        end_head(page);
    if (page->cells++ % page->columns == 0)
        buffer_append_text(&page->text, html ? "<tr>" : "|");
    buffer_append_text(&page->text, html ? "<td>" : " ");
    append_cell(page, format, arguments);
    buffer_append_text(&page->text, html ? "</td>" : " |");
    if (page->cells % page->columns == 0)
        buffer_append_text(&page->text, html ? "</tr>\n" : "\n");
    va_end(arguments);
}

void page_table_end(struct page *page) {
    if (page->cells == 0)
        end_head(page);
    if (page->format == PAGE_HTML)
        buffer_append_text(&page->text, "</tbody>\n</table>\n");
}
