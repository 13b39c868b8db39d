#include "evaluation/chart.h"

enum { LEFT = 150, WIDTH = 420, RIGHT = 90, LINE = 16, GAP = 10 };

static double place(const struct chart *chart, double value) {
    return LEFT + WIDTH * value / chart->most;
}

static void draw_bar(struct chart *chart, const struct bar *bar) {
    static const char *const colors[] = {"#c6dbef", "#9ecae1", "#6baed6", "#fdae6b", "#bdbdbd"};
    struct buffer *out = &chart->body;
    int top = chart->height, middle = top + LINE / 2;
    double right = place(chart, bar->value);
    buffer_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", LEFT - 6, top + 12);
    page_append_escaped(out, bar->label);
    buffer_printf(out,
                  "</text><rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n",
                  LEFT, top + 1, right - LEFT, LINE - 3,
                  colors[(size_t)bar->color % (sizeof colors / sizeof *colors)]);
    if (bar->high > bar->low) {
        right = place(chart, bar->high);
        buffer_printf(out, "<path d=\"M%.1f %dH%.1fM%.1f %dv6M%.1f %dv6\" stroke=\"#222\"/>\n",
                      place(chart, bar->low), middle, right, place(chart, bar->low), middle - 3,
                      right, middle - 3);
    }
    buffer_printf(out, "<text x=\"%.1f\" y=\"%d\">%.3g</text>\n", right + 5, top + 12, bar->value);
    chart->height += LINE;
}

void chart_group(struct chart *chart, const char *label, const struct bar *bars, int count,
                 double mark) {
    if (chart->page->format != PAGE_HTML)
        return;
    chart->height += GAP + LINE;
    buffer_printf(&chart->body, "<text x=\"%d\" y=\"%d\" font-weight=\"bold\">", LEFT,
                  chart->height - 4);
    page_append_escaped(&chart->body, label);
    buffer_append_text(&chart->body, "</text>\n");
    int top = chart->height;
    for (int i = 0; i < count; i++)
        draw_bar(chart, &bars[i]);
    if (mark >= 0)
        buffer_printf(&chart->body,
                      "<path d=\"M%.1f %dV%d\" stroke=\"#c00\" stroke-dasharray=\"3 2\"/>\n",
                      place(chart, mark), top, chart->height);
}

void chart_end(struct chart *chart, const char *title) {
    struct buffer *out = &chart->page->text;
    if (chart->page->format == PAGE_HTML) {
        buffer_printf(out, "<figure>\n<svg role=\"img\" viewBox=\"0 0 %d %d\" width=\"%d\">\n",
                      LEFT + WIDTH + RIGHT, chart->height + GAP, LEFT + WIDTH + RIGHT);
        buffer_append(out, chart->body.data ? chart->body.data : "", chart->body.size);
        buffer_append_text(out, "</svg>\n<figcaption>");
        page_append_escaped(out, title);
        buffer_append_text(out, "</figcaption>\n</figure>\n");
    }
    out->failed = out->failed || chart->body.failed;
    buffer_free(&chart->body);
}
