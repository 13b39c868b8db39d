/* Pages: the same content as Markdown and as HTML, and charts in the latter. */
#include "evaluation/chart.h"
#include "evaluation/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void write_all(struct page *page) {
    page_begin(page, "Two & more");
    page_paragraph(page, "See `a < b`, **c** and [d](e.md?f&g): %d %%.", 5);
    page_table_begin(page);
    page_column(page, "name");
    page_column(page, "text|s");
    page_cell(page, "one");
    page_cell(page, "<b>*a* | b\n`c`");
    page_cell(page, "two");
    page_cell(page, "\"%s\"", "&");
    page_table_end(page);
    page_end(page);
}

static void markdown_cells_hold_what_they_are_given(void **state) {
    (void)state;
    struct page page = {.format = PAGE_MARKDOWN};
    write_all(&page);
    assert_string_equal(page.text.data, "# Two & more\n"
                                        "\n"
                                        "See `a < b`, **c** and [d](e.md?f&g): 5 %.\n"
                                        "\n"
                                        "| name | text\\|s |\n"
                                        "|---|---|\n"
                                        "| one | \\<b>\\*a\\* \\| b \\`c\\` |\n"
                                        "| two | \"&\" |\n");
    page_free(&page);
}

static void html_escapes_what_it_is_given(void **state) {
    (void)state;
    struct page page = {.format = PAGE_HTML};
    write_all(&page);
    static const char *const parts[] = {
        "<title>Two &amp; more</title>",
        "<h1>Two &amp; more</h1>",
        ("<p>See <code>a &lt; b</code>, <strong>c</strong> and "
         "<a href=\"e.md?f&amp;g\">d</a>: 5 %.</p>"),
        "<thead><tr><th>name</th><th>text|s</th></tr></thead>",
        "<tr><td>one</td><td>&lt;b&gt;*a* | b\n`c`</td></tr>",
        "<tr><td>two</td><td>&quot;&amp;&quot;</td></tr>\n</tbody>\n</table>",
    };
    const char *at = page.text.data;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const char *found = strstr(at, parts[i]);
        if (!found)
            fail_msg("no <%s> after: %.200s", parts[i], at);
        at = found;
    }
    page_free(&page);
}

static void draw(struct page *page) {
    struct chart chart = {.page = page, .most = 100};
    const struct bar bars[] = {{"a<b", 50, 40, 60, 0}, {"c", 25, 25, 25, 1}};
    chart_group(&chart, "group", bars, 2, 25);
    chart_end(&chart, "title & all");
}

static void charts_are_for_html_only(void **state) {
    (void)state;
    struct page html = {.format = PAGE_HTML}, markdown = {.format = PAGE_MARKDOWN};
    draw(&html);
    draw(&markdown);
    assert_int_equal(markdown.text.size, 0);
    assert_non_null(strstr(html.text.data, "a&lt;b"));
    assert_non_null(strstr(html.text.data, "width=\"210.0\"")); /* half of the full width */
    assert_non_null(strstr(html.text.data, "width=\"105.0\""));
    assert_non_null(strstr(html.text.data, "<figcaption>title &amp; all</figcaption>"));
    page_free(&html);
    page_free(&markdown);
}

static void broken_markup_stays_text(void **state) {
    (void)state;
    struct page page = {.format = PAGE_HTML};
    page_paragraph(&page, "a ` b ** c [d] (e");
    assert_string_equal(page.text.data, "<p>a ` b ** c [d] (e</p>\n");
    page_free(&page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(markdown_cells_hold_what_they_are_given),
        cmocka_unit_test(html_escapes_what_it_is_given),
        cmocka_unit_test(charts_are_for_html_only),
        cmocka_unit_test(broken_markup_stays_text),
    };
    return cmocka_run_group_tests_name("page", tests, NULL, NULL);
}
