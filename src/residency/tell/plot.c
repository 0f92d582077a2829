#include "residency/tell/plot.h"

#include "core/utf8.h"

#include <math.h>
#include <string.h>

enum {
    width = 720,
    left = 64,
    right = 690,
    margin = 14,
    title_size = 15, /* pixels, as are all of these */
    title_line = 20,
    legend_line = 18,
    legend_columns = 3,
    legend_count = BL_COMPARE_ROWS + 2,
    seconds_height = 190,
    moved_height = 150,
    panel_head = 34, /* above a panel: what it shows */
    below = 48,      /* numbers and name of the budgets' axis */
    tick_room = 18
};

/* One quantity, from the bottom of its panel up. */
typedef struct panel {
    int top, bottom;
    double high; /* value at the top */
    bool root;   /* height by square root: small values are seen beside large ones */
} panel;

typedef struct canvas {
    FILE *file;
    const bl_plot *plot;
    double low_x, high_x; /* GB */
    panel seconds, moved;
} canvas;

/* A coordinate as SVG takes it, whatever the locale's decimal point. */
typedef struct coordinate {
    char text[16];
} coordinate;

/* Look of a curve. The widest is drawn first, so that those that lie on it are seen. */
static const struct look {
    const char *class;
    const char *width, *dashes;
} looks[legend_count] = {
    {"none", "3.5", "0.1 9"}, {"model", "2", "none"}, {"sequential", "2", "none"}, {"reactive", "2", "none"},
    {"fit", "2", "9 6"},      {"auto", "5", "none"},  {"bound", "1.5", "2 4"},     {"yours", "1.5", "7 4"},
};
enum { bound_look = BL_COMPARE_ROWS, budget_look };

static const char style[] =
    "<style>\n"
    "text{fill:#222}.ground{fill:#fff}.grid{stroke:#ddd}.axis{stroke:#888}\n"
    "path{fill:none;stroke-linecap:round;stroke-linejoin:round}\n"
    ".none{stroke:#222}.model{stroke:#c80}.sequential{stroke:#c5a}.reactive{stroke:#d40}.fit{stroke:#084}\n"
    ".auto{stroke:#6ae}.bound{stroke:#222}.yours{stroke:#888}\n"
    "@media (prefers-color-scheme:dark){\n"
    "text{fill:#ddd}.ground{fill:#161616}.grid{stroke:#383838}\n"
    ".none{stroke:#eee}.model{stroke:#fb4}.sequential{stroke:#e8c}.reactive{stroke:#f75}.fit{stroke:#3c8}\n"
    ".auto{stroke:#27b}.bound{stroke:#eee}\n"
    "}\n"
    "</style>\n";

/* ---- text */

/* The character at `p`; returns what is behind it. What XML has no place for is a blank or '?'. */
static const char *next_character(const char *p, uint32_t *c) {
    const char *end = bl_utf8_next(p, c);
    if (!end) {
        *c = '?';
        end = p + 1;
    } else if (*c < 0x20) {
        *c = ' ';
    } else if (*c == 0xfffe || *c == 0xffff) {
        *c = '?';
    }
    return end;
}

static void print_text(FILE *f, const char *text, const char *end) {
    while (text < end) {
        uint32_t c;
        const char *next = next_character(text, &c);
        if (c == '<' || c == '>' || c == '&') {
            fputs(c == '<' ? "&lt;" : c == '>' ? "&gt;" : "&amp;", f);
        } else if (c < 0x80) {
            fputc((int)c, f);
        } else {
            fwrite(text, 1, (size_t)(next - text), f);
        }
        text = next;
    }
}

/* Of its font size, rather too much: which font it will be is not known. */
static double character_width(uint32_t c) {
    if (c >= 0x80) {
        return 1.1;
    }
    return c == 'W' || c == 'M' || c == 'm' || c == '@' || c == '%' ? 1.05
           : (c >= 'A' && c <= 'Z') || c == 'w'                     ? 0.85
                                                                    : 0.67;
}

/* End of the line of the title that begins at `text`; *next is where the following one begins. */
static const char *title_line_end(const char *text, const char **next) {
    double room = (double)(width - 2 * margin) / title_size;
    const char *word = NULL, *p = text;
    while (*p) {
        uint32_t c;
        const char *after = next_character(p, &c);
        room -= character_width(c);
        if (room < 0 && p > text) {
            *next = word ? word + 1 : p;
            return word ? word : p;
        }
        word = c == ' ' ? p : word;
        p = after;
    }
    *next = p;
    return p;
}

static int title_lines(const char *title) {
    int lines = 0;
    do {
        title_line_end(title, &title);
        lines++;
    } while (*title);
    return lines;
}

/* ---- axes */

static coordinate tenths(double value) {
    int n = (int)lround(value * 10);
    coordinate c;
    snprintf(c.text, sizeof c.text, "%d.%d", n / 10, n % 10);
    return c;
}

static double x_at(const canvas *g, double gb) {
    return left + (gb - g->low_x) / (g->high_x - g->low_x) * (right - left);
}

static double y_at(const panel *p, double value) {
    double share = value / p->high;
    return p->bottom - (p->root ? sqrt(share) : share) * (p->bottom - p->top);
}

/* 1, 2 or 5 times a power of ten, at least `least`. */
static double round_step(double least) {
    double step = 1e-9;
    for (int i = 0; step < least; i++) {
        step *= i % 3 == 1 ? 2.5 : 2;
    }
    return step;
}

static void level(const canvas *g, const panel *p, double value) {
    double y = y_at(p, value);
    fprintf(g->file,
            "<path class=\"%s\" d=\"M%d %sH%d\"/><text x=\"%d\" y=\"%s\" "
            "text-anchor=\"end\">%.4g</text>\n",
            value > 0 ? "grid" : "axis", left, tenths(y).text, right, left - 8, tenths(y + 4).text, value);
}

static void levels(const canvas *g, const panel *p) {
    level(g, p, 0);
    if (!p->root) {
        double step = round_step(p->high / 8);
        for (int i = 1; i * step <= p->high; i++) {
            level(g, p, i * step);
        }
        return;
    }
    double below_last = p->top - tick_room;
    for (double power = pow(10, ceil(log10(p->high))); p->bottom - y_at(p, power) > tick_room / 2;
         power /= 10) {
        for (int i = 0; i < 3; i++) {
            double value = power * (i == 0 ? 1 : i == 1 ? 0.5 : 0.2), y = y_at(p, value);
            if (value <= p->high && y - below_last >= tick_room && p->bottom - y >= tick_room) {
                level(g, p, value);
                below_last = y;
            }
        }
    }
}

static void head_of(const canvas *g, const panel *p, const char *text) {
    fprintf(g->file, "<text x=\"%d\" y=\"%d\" font-weight=\"bold\">%s</text>\n", left, p->top - 10, text);
}

static void axes(const canvas *g) {
    head_of(g, &g->seconds, "seconds a generation");
    head_of(g, &g->moved, "GB moved to the device a generation (height by square root)");
    levels(g, &g->seconds);
    levels(g, &g->moved);
    double step = round_step((g->high_x - g->low_x) / 7);
    for (double i = ceil(g->low_x / step - 1e-9); i * step <= g->high_x * (1 + 1e-9); i++) {
        coordinate x = tenths(x_at(g, i * step));
        fprintf(g->file,
                "<path class=\"axis\" d=\"M%s %dv5\"/>"
                "<text x=\"%s\" y=\"%d\" text-anchor=\"middle\">%.7g</text>\n",
                x.text, g->moved.bottom, x.text, g->moved.bottom + 20, i * step);
    }
    fprintf(g->file, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">budget, GB</text>\n", (left + right) / 2,
            g->moved.bottom + below - 8);
}

/* ---- curves */

static void open_path(FILE *f, int look) {
    fprintf(f, "<path class=\"%s\" stroke-width=\"%s\" stroke-dasharray=\"%s\" d=\"", looks[look].class,
            looks[look].width, looks[look].dashes);
}

/* Both quantities of one mode. No curve goes where the mode refuses; a budget by itself is a dot. */
static void curve(const canvas *g, const bl_sweep_row *rows, int look) {
    bool bound = look == bound_look, pen = false;
    for (int moved = 0; moved < 2; moved++, pen = false) {
        open_path(g->file, look);
        for (int i = 0; i < g->plot->count; i++) {
            const bl_sweep_row *r = &rows[i];
            if (r->works) {
                double value = moved ? (double)(bound ? r->bound_moved_bytes : r->moved_bytes) / 1e9
                                     : (bound ? r->bound_seconds : r->seconds);
                fprintf(g->file, "%c%s %s%s", pen ? 'L' : 'M',
                        tenths(x_at(g, (double)r->budget_bytes / 1e9)).text,
                        tenths(y_at(moved ? &g->moved : &g->seconds, value)).text, pen ? "" : "h0");
            }
            pen = r->works;
        }
        fputs("\"/>\n", g->file);
    }
}

static bool works_somewhere(const bl_sweep_row *rows, int count) {
    for (int i = 0; i < count; i++) {
        if (rows[i].works) {
            return true;
        }
    }
    return false;
}

static void legend(const canvas *g, int top) {
    double budget = (double)g->plot->budget_bytes / 1e9;
    bool shown = budget >= g->low_x && budget <= g->high_x;
    for (int i = 0; i < legend_count; i++) {
        int x = left + i % legend_columns * (right - left) / legend_columns;
        int y = top + i / legend_columns * legend_line;
        open_path(g->file, i);
        fprintf(g->file, "M%d %dh28\"/><text x=\"%d\" y=\"%d\">", x, y, x + 36, y + 4);
        if (i == bound_look) {
            fputs("no schedule does better", g->file);
        } else if (i == budget_look) {
            fprintf(g->file, "your budget, %.4g GB%s", budget, shown ? "" : " (outside)");
        } else {
            const bl_sweep_row *rows = &g->plot->rows[i * g->plot->count];
            fprintf(g->file, "%s%s", bl_sweep_label(rows),
                    works_somewhere(rows, g->plot->count) ? "" : " (too small)");
        }
        fputs("</text>\n", g->file);
    }
    if (shown) {
        coordinate x = tenths(x_at(g, budget));
        open_path(g->file, budget_look);
        fprintf(g->file, "M%s %dV%dM%s %dV%d\"/>\n", x.text, g->seconds.top, g->seconds.bottom, x.text,
                g->moved.top, g->moved.bottom);
    }
}

/* The axes' ends; false: nothing works. */
static bool measure(canvas *g) {
    const bl_plot *plot = g->plot;
    bool any = false;
    for (int i = 0; i < BL_COMPARE_ROWS * plot->count; i++) {
        const bl_sweep_row *r = &plot->rows[i];
        if (r->works) {
            any = true;
            g->seconds.high = fmax(g->seconds.high, r->seconds);
            g->moved.high = fmax(g->moved.high, (double)r->moved_bytes / 1e9);
        }
    }
    g->low_x = (double)plot->rows[0].budget_bytes / 1e9;
    g->high_x = (double)plot->rows[plot->count - 1].budget_bytes / 1e9;
    g->seconds.high *= 1.05;
    g->moved.high = g->moved.high > 0 ? g->moved.high * 1.05 : 1;
    return any && g->seconds.high > 0 && g->high_x > g->low_x;
}

int bl_plot_svg(FILE *file, const bl_plot *plot, bl_error *err) {
    canvas g = {.file = file, .plot = plot, .moved = {.root = true}};
    if (!measure(&g)) {
        return bl_fail(err, BL_E_ARGUMENT, "none of these budgets works: there is nothing to plot");
    }
    int title_bottom = margin + title_lines(plot->title) * title_line;
    int legend_rows = (legend_count + legend_columns - 1) / legend_columns;
    g.seconds.top = title_bottom + legend_rows * legend_line + panel_head + 8;
    g.seconds.bottom = g.seconds.top + seconds_height;
    g.moved.top = g.seconds.bottom + panel_head;
    g.moved.bottom = g.moved.top + moved_height;
    int height = g.moved.bottom + below;
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
            "role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n<title>",
            width, height, width, height);
    print_text(file, plot->title, plot->title + strlen(plot->title));
    fprintf(file, "</title>\n%s<rect class=\"ground\" width=\"%d\" height=\"%d\"/>\n", style, width, height);
    const char *line = plot->title;
    for (int y = margin + title_size; *line; y += title_line) {
        const char *next, *end = title_line_end(line, &next);
        fprintf(file, "<text x=\"%d\" y=\"%d\" font-size=\"%d\">", margin, y, title_size);
        print_text(file, line, end);
        fputs("</text>\n", file);
        line = next;
    }
    legend(&g, title_bottom + legend_line);
    axes(&g);
    static const int order[] = {5, 2, 1, 3, 4, 0}; /* auto below all */
    for (int i = 0; i < BL_COMPARE_ROWS; i++) {
        curve(&g, &plot->rows[order[i] * plot->count], order[i]);
    }
    curve(&g, &plot->rows[5 * plot->count], bound_look);
    fputs("</svg>\n", file);
    return 0;
}
