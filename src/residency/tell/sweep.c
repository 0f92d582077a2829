#include "residency/tell/sweep.h"

#include "residency/plan/planner.h"
#include "residency/plan/replay.h"
#include "residency/problem/follow.h"

#include <errno.h>
#include <string.h>

int bl_plan_steady(bl_plan **out, const bl_problem *p, const bl_offload_settings *s, bl_error *err) {
    *out = NULL;
    bl_problem *copy;
    bl_plan *plan = NULL;
    int rc = bl_problem_copy(&copy, p, err);
    if (rc) {
        return rc;
    }
    bl_problem_clear_resident(copy);
    for (int i = 0; i < (bl_problem_repeats(p) ? 3 : 1) && !rc; i++) {
        bl_plan_free(&plan);
        rc = bl_plan_make(&plan, copy, s, err);
        if (!rc) {
            bl_replay_after(copy, plan);
        }
    }
    bl_problem_free(&copy);
    if (!rc) {
        *out = plan;
    }
    return rc;
}

int bl_sweep_plan(bl_sweep_row *out, const bl_problem *p, const bl_offload_settings *s, uint64_t budget_bytes,
                  bl_error *err) {
    bl_problem here = *p; /* shares the lists, which bl_plan_steady copies */
    here.budget_bytes = budget_bytes;
    bl_plan *plan;
    *out = (bl_sweep_row){.mode = s->mode, .fit_check = s->fit_check, .budget_bytes = budget_bytes};
    int rc = bl_plan_steady(&plan, &here, s, err);
    if (rc) {
        return rc == BL_E_BUDGET ? 0 : rc;
    }
    out->works = true;
    out->peak_bytes = plan->peak_bytes;
    out->moved_bytes = plan->moved_bytes;
    out->bound_moved_bytes = plan->bound_moved_bytes;
    out->seconds = plan->seconds;
    out->bound_seconds = plan->bound_seconds;
    bl_plan_free(&plan);
    return 0;
}

int bl_compare(bl_sweep_row *rows, const bl_problem *p, const bl_offload_settings *s, bl_error *err) {
    static const struct {
        bl_offload mode;
        bool fit_check;
    } kinds[BL_COMPARE_ROWS] = {{BL_OFFLOAD_NONE, true},       {BL_OFFLOAD_MODEL, true},
                                {BL_OFFLOAD_SEQUENTIAL, true}, {BL_OFFLOAD_BALANCED, false},
                                {BL_OFFLOAD_BALANCED, true},   {BL_OFFLOAD_AUTO, true}};
    int rc = 0;
    for (int i = 0; i < BL_COMPARE_ROWS && !rc; i++) {
        bl_offload_settings settings = *s;
        settings.mode = kinds[i].mode;
        settings.fit_check = kinds[i].fit_check;
        rc = bl_sweep_plan(&rows[i], p, &settings, p->budget_bytes, err);
    }
    return rc;
}

int bl_sweep(bl_sweep_row *rows, int count, const bl_problem *p, const bl_offload_settings *s, uint64_t low,
             uint64_t high, const bl_stop *stop, bl_error *err) {
    if (count < 2 || low >= high) {
        return bl_fail(err, BL_E_ARGUMENT, "a sweep needs two budgets or more, from low to high");
    }
    int rc = 0;
    for (int i = 0; i < count && !rc; i++) {
        uint64_t budget = low + (uint64_t)((double)(high - low) * i / (count - 1));
        rc = bl_stopping(stop) ? bl_fail(err, BL_E_CANCELLED, "stopped at budget %d of %d", i + 1, count)
                               : bl_sweep_plan(&rows[i], p, s, budget, err);
    }
    return rc;
}

static const char *label(const bl_sweep_row *r) {
    return r->mode == BL_OFFLOAD_BALANCED ? r->fit_check ? "balanced + fit check" : "balanced, reactive"
                                          : bl_offload_name(r->mode);
}

void bl_sweep_print(FILE *file, const bl_sweep_row *rows, int count) {
    fprintf(file, "%-22s %10s %10s %10s %10s %10s %10s\n", "mode", "budget GB", "peak GB", "seconds", "bound",
            "moved GB", "bound GB");
    for (int i = 0; i < count; i++) {
        const bl_sweep_row *r = &rows[i];
        if (r->works) {
            fprintf(file, "%-22s %10.2f %10.2f %10.2f %10.2f %10.2f %10.2f\n", label(r),
                    (double)r->budget_bytes / 1e9, (double)r->peak_bytes / 1e9, r->seconds, r->bound_seconds,
                    (double)r->moved_bytes / 1e9, (double)r->bound_moved_bytes / 1e9);
        } else {
            fprintf(file, "%-22s %10.2f %10s\n", label(r), (double)r->budget_bytes / 1e9, "too small");
        }
    }
}

json_t *bl_sweep_json(const bl_sweep_row *rows, int count) {
    json_t *list = json_array();
    for (int i = 0; i < count && list; i++) {
        const bl_sweep_row *r = &rows[i];
        json_t *row = json_pack("{s:s, s:b, s:I, s:b}", "mode", bl_offload_name(r->mode), "fit_check",
                                r->fit_check, "budget_bytes", (json_int_t)r->budget_bytes, "works", r->works);
        if (r->works && row) {
            json_t *figures =
                json_pack("{s:I, s:I, s:I, s:f, s:f}", "peak_bytes", (json_int_t)r->peak_bytes, "moved_bytes",
                          (json_int_t)r->moved_bytes, "bound_moved_bytes", (json_int_t)r->bound_moved_bytes,
                          "seconds", r->seconds, "bound_seconds", r->bound_seconds);
            if (json_object_update(row, figures)) { /* also where there are none */
                json_decref(row);
                row = NULL;
            }
            json_decref(figures);
        }
        if (json_array_append_new(list, row)) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* ---- the plot */

enum {
    plot_width = 720,
    plot_height = 400,
    plot_left = 70,
    plot_top = 40,
    plot_right = 20,
    plot_bottom = 50
};

typedef struct plot {
    FILE *file;
    double low_x, high_x, high_y; /* GB, GB, seconds; the y axis begins at 0 */
} plot;

static double x_at(const plot *g, double gb) {
    return plot_left + (gb - g->low_x) / (g->high_x - g->low_x) * (plot_width - plot_left - plot_right);
}

static double y_at(const plot *g, double seconds) {
    return plot_height - plot_bottom - seconds / g->high_y * (plot_height - plot_top - plot_bottom);
}

static void print_text(FILE *f, const char *text) {
    for (const char *c = text; *c; c++) {
        const char *entity = *c == '<' ? "&lt;" : *c == '>' ? "&gt;" : *c == '&' ? "&amp;" : NULL;
        if (entity) {
            fputs(entity, f);
        } else {
            fputc((unsigned char)*c < 0x20 ? ' ' : *c, f);
        }
    }
}

/* 1, 2 or 5 times a power of ten, at least `least`. */
static double round_step(double least) {
    double step = 1e-3;
    for (int i = 0; step < least; i++) {
        step *= i % 3 == 1 ? 2.5 : 2;
    }
    return step;
}

static void axes(const plot *g, const char *title) {
    fprintf(
        g->file,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
        "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n<text x=\"%d\" y=\"22\" "
        "font-size=\"15\">",
        plot_width, plot_height, plot_left);
    print_text(g->file, title);
    fputs("</text>\n", g->file);
    double step = round_step((g->high_x - g->low_x) / 8);
    for (int i = (int)(g->low_x / step); i * step <= g->high_x * (1 + 1e-9); i++) {
        if (i * step >= g->low_x) {
            fprintf(g->file, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n",
                    x_at(g, i * step), plot_height - plot_bottom + 18, i * step);
        }
    }
    step = round_step(g->high_y / 8);
    for (int i = 0; i * step <= g->high_y; i++) {
        fprintf(g->file,
                "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" "
                "text-anchor=\"end\">%g</text>\n",
                plot_left, y_at(g, i * step), plot_width - plot_right, plot_left - 8, y_at(g, i * step) + 4,
                i * step);
    }
    fprintf(g->file,
            "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">budget, GB</text>\n<text x=\"16\" y=\"%d\" "
            "text-anchor=\"middle\" transform=\"rotate(-90 16 %d)\">seconds a generation</text>\n",
            (plot_left + plot_width - plot_right) / 2, plot_height - 12, plot_height / 2, plot_height / 2);
}

static void curve(const plot *g, const bl_sweep_row *rows, int count, bool bound) {
    fputs("<path fill=\"none\" d=\"", g->file);
    bool pen = false;
    for (int i = 0; i < count; i++) {
        if (rows[i].works) {
            fprintf(g->file, "%c%.1f %.1f", pen ? 'L' : 'M', x_at(g, (double)rows[i].budget_bytes / 1e9),
                    y_at(g, bound ? rows[i].bound_seconds : rows[i].seconds));
            pen = true;
        }
    }
    fputs(bound ? "\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>\n"
                : "\" stroke=\"#06c\" stroke-width=\"2\"/>\n",
          g->file);
}

int bl_sweep_svg(FILE *file, const bl_sweep_row *rows, int count, const char *title, bl_error *err) {
    plot g = {.file = file,
              .low_x = (double)rows[0].budget_bytes / 1e9,
              .high_x = (double)rows[count - 1].budget_bytes / 1e9};
    for (int i = 0; i < count; i++) {
        g.high_y = rows[i].works && rows[i].seconds > g.high_y ? rows[i].seconds : g.high_y;
    }
    if (!(g.high_y > 0) || !(g.high_x > g.low_x)) {
        return bl_fail(err, BL_E_ARGUMENT, "none of these budgets works: there is nothing to plot");
    }
    g.high_y *= 1.08;
    axes(&g, title);
    curve(&g, rows, count, true);
    curve(&g, rows, count, false);
    fprintf(
        file,
        "<path d=\"M%d 310h24\" stroke=\"#06c\" stroke-width=\"2\"/><text x=\"%d\" y=\"314\">planned</text>\n"
        "<path d=\"M%d 330h24\" stroke=\"#888\" stroke-dasharray=\"4 3\"/><text x=\"%d\" y=\"334\">no "
        "schedule is faster</text>\n",
        plot_left + 12, plot_left + 42, plot_left + 12, plot_left + 42);
    fputs("</svg>\n", file);
    if (fflush(file) || ferror(file)) {
        return bl_fail(err, BL_E_IO, "writing the plot failed: %s", strerror(errno));
    }
    return 0;
}
