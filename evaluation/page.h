/* page.h - text with headings, tables and charts, as Markdown or as HTML.
 *
 * The tests write their results once, for both. Text of paragraphs may have `code`, **bold** and
 * [links](address); cells are shown as they are. Charts are for HTML only, as SVG inside of it.
 * Ownership: the page owns its text. When memory runs out, text.failed says so at the end.
 * Not thread-safe.
 */
#ifndef ALPACA_EVALUATION_PAGE_H
#define ALPACA_EVALUATION_PAGE_H

#include "base/buffer.h"

enum page_format { PAGE_MARKDOWN, PAGE_HTML };

/* Start from {.format = ...}, end with page_free(). */
struct page {
    enum page_format format;
    struct buffer text;
    int columns, cells; /* of the table that is being written */
};

void page_free(struct page *page);
/* Around everything else: what an HTML file needs, nothing in Markdown. It refers to no other
 * file. */
void page_begin(struct page *page, const char *title);
void page_end(struct page *page);
void page_heading(struct page *page, int level, const char *text);
void page_paragraph(struct page *page, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* First the columns, then cells: row after row, as many in each as there are columns. */
void page_table_begin(struct page *page);
void page_column(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
void page_cell(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
void page_table_end(struct page *page);
/* For HTML: text with & < > and " escaped. */
void page_append_escaped(struct buffer *out, const char *text);

#endif
