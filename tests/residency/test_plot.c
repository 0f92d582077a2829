/* The picture of a sweep: an XML reader takes it, all text lies in it, all modes are there. */
#include "described.h"

#include "core/utf8.h"
#include "residency/tell/plot.h"

#include <ctype.h>
#include <locale.h>

#define BUDGETS 9

static bl_sweep_row rows[BL_COMPARE_ROWS * BUDGETS];

/* Sweeps SD1.5 from `low` to `high` bytes, all modes. */
static void sweep(uint64_t low, uint64_t high) {
    bl_sim_card card = described_card();
    bl_problem *p = described_model("sd15", &card);
    bl_offload_settings s = bl_offload_defaults();
    CHECK(bl_sweep_modes(rows, BUDGETS, p, &s, low, high, NULL, &described_error));
    bl_problem_free(&p);
}

static char *plotted(const char *title, uint64_t budget_bytes) {
    bl_plot plot = {rows, BUDGETS, budget_bytes, title};
    char *svg = NULL;
    size_t size;
    FILE *f = open_memstream(&svg, &size);
    CHECK(bl_plot_svg(f, &plot, &described_error));
    fclose(f);
    return svg;
}

/* ---- XML: elements closed in their order, attributes quoted and once, entities known, characters allowed */

typedef struct element {
    char name[16], attributes[400];
} element;

static void check_characters(const char *text, const char *end) {
    while (text < end) {
        uint32_t c;
        const char *next = bl_utf8_next(text, &c);
        if (!next || (c < 0x20 && c != '\n') || c == 0xfffe || c == 0xffff || c == '<') {
            fail_msg("not a character of XML: %.20s", text);
        }
        if (c == '&' && strncmp(text, "&lt;", 4) != 0 && strncmp(text, "&gt;", 4) != 0 &&
            strncmp(text, "&amp;", 5) != 0) {
            fail_msg("not an entity: %.20s", text);
        }
        text = next;
    }
}

/* The value of an attribute, a static buffer; NULL: it has none. */
static const char *attribute(const element *e, const char *name) {
    static char value[400];
    char begin[32];
    snprintf(begin, sizeof begin, " %s=\"", name);
    const char *at = strstr(e->attributes, begin);
    if (!at) {
        return NULL;
    }
    assert_null(strstr(at + 1, begin));
    at += strlen(begin);
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\""), at);
    return value;
}

static void check_attributes(const char *p, const char *end) {
    while (p < end) {
        assert_int_equal(*p++, ' ');
        size_t name = strspn(p, "abcdefghijklmnopqrstuvwxyzB-");
        assert_true(name > 0 && p[name] == '=' && p[name + 1] == '"');
        p += name + 2;
        size_t value = strcspn(p, "\"");
        assert_true(p + value < end);
        check_characters(p, p + value);
        p += value + 1;
    }
}

/* Calls `text` for each piece of text with the element that it stands in. */
static void read_xml(const char *svg, void (*text)(void *, const element *, const char *, size_t),
                     void *payload) {
    static element stack[8];
    int depth = 0;
    for (const char *p = svg; *p;) {
        if (*p != '<') {
            size_t length = strcspn(p, "<");
            check_characters(p, p + length);
            assert_true(depth > 0 || (length == 1 && *p == '\n'));
            if (depth) {
                text(payload, &stack[depth - 1], p, length);
            }
            p += length;
            continue;
        }
        const char *end = strchr(p, '>');
        assert_non_null(end);
        if (p[1] == '/') {
            assert_true(depth > 0 && (size_t)(end - p - 2) == strlen(stack[depth - 1].name) &&
                        strncmp(p + 2, stack[depth - 1].name, (size_t)(end - p - 2)) == 0);
            depth--;
        } else {
            size_t name = strcspn(p + 1, " />");
            const char *behind = end[-1] == '/' ? end - 1 : end;
            check_attributes(p + 1 + name, behind);
            if (behind == end) {
                element *e = &stack[depth++];
                assert_true(depth < 8);
                snprintf(e->name, sizeof e->name, "%.*s", (int)name, p + 1);
                snprintf(e->attributes, sizeof e->attributes, "%.*s", (int)(end - p - 1 - (long)name),
                         p + 1 + name);
            }
        }
        p = end + 1;
    }
    assert_int_equal(depth, 0);
}

/* ---- what is in it */

typedef struct seen {
    double width, height;
    int texts, lines; /* lines: of the title */
    char all[4000];   /* all texts, a line each */
} seen;

/* Roughly what a wide font (DejaVu, Verdana) takes; CJK a square. */
static double width_of(const char *text, size_t length, double size) {
    double sum = 0;
    for (const char *p = text, *next; p < text + length; p = next) {
        uint32_t c;
        next = bl_utf8_next(p, &c);
        next = c == '&' ? strchr(p, ';') + 1 : next;
        sum += c >= 0x80 ? 1 : strchr("MW@%m", (int)c) ? 1 : isupper((int)c) ? 0.75 : 0.64;
    }
    return sum * size;
}

static void check_text(void *payload, const element *e, const char *text, size_t length) {
    seen *s = payload;
    if (strcmp(e->name, "text") != 0) {
        return;
    }
    const char *given = attribute(e, "font-size");
    double size = given ? atof(given) : 12;
    double x = atof(attribute(e, "x")), y = atof(attribute(e, "y")), w = width_of(text, length, size);
    const char *anchor = attribute(e, "text-anchor");
    x -= !anchor ? 0 : strcmp(anchor, "end") == 0 ? w : w / 2;
    if (x < 0 || x + w > s->width || y < size || y + 0.3 * size > s->height) {
        fail_msg("%.*s: from %.0f, %.0f, %.0f wide, out of %.0f x %.0f", (int)length, text, x, y, w, s->width,
                 s->height);
    }
    s->texts++;
    s->lines += size > 12;
    size_t used = strlen(s->all);
    snprintf(s->all + used, sizeof s->all - used, "%.*s\n", (int)length, text);
}

static void check(seen *s, const char *svg) {
    *s = (seen){0};
    const char *box = strstr(svg, "viewBox=\"0 0 ");
    assert_non_null(box);
    char *end;
    s->width = strtod(box + 13, &end);
    s->height = strtod(end, &end);
    assert_true(*end == '"' && s->width > 0 && s->height > 0);
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf"));
    read_xml(svg, check_text, s);
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (; (text = strstr(text, what)); text++) {
        n++;
    }
    return n;
}

/* A curve of each mode in both panels, with a name; axes with units; the budget. */
static void all_modes_are_there(void **state) {
    (void)state;
    static const char *const classes[] = {"none", "model", "sequential", "reactive", "fit", "auto", "bound"};
    static const char *const names[] = {"none\n",
                                        "model\n",
                                        "sequential\n",
                                        "balanced, reactive\n",
                                        "balanced + fit check\n",
                                        "auto\n",
                                        "no schedule does better\n",
                                        "your budget, 2 GB\n",
                                        "seconds a generation\n",
                                        "GB moved to the device",
                                        "budget, GB\n"};
    sweep(300000000, 2900000000);
    assert_false(rows[5 * BUDGETS].works); /* nothing is drawn there */
    char *svg = plotted("SD1.5 on a card", 2000000000);
    seen s;
    check(&s, svg);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        char class[32];
        snprintf(class, sizeof class, "class=\"%s\"", classes[i]);
        assert_int_equal(count(svg, class), 3); /* seconds, bytes, legend */
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strstr(s.all, names[i])) {
            fail_msg("%s is missing in\n%s", names[i], s.all);
        }
    }
    assert_int_equal(count(svg, "class=\"yours\""), 2); /* mark, legend */
    assert_int_equal(s.lines, 1);
    assert_non_null(strstr(svg, "prefers-color-scheme:dark"));
    free(svg);
}

/* A mode that refuses every budget says so; so does a budget that is not in the range. */
static void what_is_not_drawn_is_told(void **state) {
    (void)state;
    sweep(300000000, 1200000000);
    char *svg = plotted("", 34000000000);
    seen s;
    check(&s, svg);
    assert_non_null(strstr(s.all, "none (too small)\n"));
    assert_non_null(strstr(s.all, "your budget, 34 GB (outside)\n"));
    assert_int_equal(count(svg, "class=\"yours\""), 1);
    free(svg);
    for (int i = 0; i < BL_COMPARE_ROWS * BUDGETS; i++) {
        rows[i].works = false;
    }
    bl_error err;
    size_t size;
    bl_plot plot = {rows, BUDGETS, 1, ""};
    FILE *f = open_memstream(&svg, &size);
    assert_int_equal(bl_plot_svg(f, &plot, &err), BL_E_ARGUMENT);
    fclose(f);
    free(svg);
}

/* Titles are broken into lines, however long; what XML cannot hold is replaced. */
static void any_title_fits(void **state) {
    (void)state;
    static const char *const pieces[] = {"W",
                                         "a <title> & more ",
                                         "\xe6\xa8\xa1\xe5\x9e\x8b",
                                         "\xff\x80 ",
                                         "\x01\t\n",
                                         "\xef\xbf\xbe",
                                         "]]>",
                                         "i",
                                         "NVIDIA GeForce RTX 5090 "};
    static char title[3000];
    sweep(300000000, 2900000000);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        for (size_t length = 1; length < sizeof title - 40; length = length * 3 + 1) {
            title[0] = '\0';
            while (strlen(title) < length) {
                strcat(title, pieces[i]);
            }
            char *svg = plotted(title, 2000000000);
            seen s;
            check(&s, svg);
            assert_true(s.lines >= 1);
            assert_true(length < 400 || s.lines > 1);
            free(svg);
        }
    }
    char *svg = plotted("a <title> & more", 2000000000);
    assert_int_equal(count(svg, "a &lt;title&gt; &amp; more"), 2);
    free(svg);
}

/* Ranges of any size: numbers of axes do not leave the picture, and a curve of one budget is a dot. */
static void any_range_has_numbers(void **state) {
    (void)state;
    static const uint64_t ranges[][2] = {
        {300000000, 2900000000}, {2000000000, 2000000100}, {0, 34190917632}, {1, 3400000000000}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        sweep(ranges[i][0], ranges[i][1]);
        char *svg = plotted("a range", 2000000000);
        seen s;
        check(&s, svg);
        assert_true(s.texts > 14);
        free(svg);
    }
}

/* A program whose numbers have a comma gets the same picture. */
static void the_locale_changes_no_coordinate(void **state) {
    (void)state;
    sweep(300000000, 2900000000);
    char *svg = plotted("a", 2000000000);
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8")) {
        print_message("there is no locale with a comma\n");
        free(svg);
        skip();
    }
    char *other = plotted("a", 2000000000);
    setlocale(LC_NUMERIC, "C");
    assert_int_equal(count(other, "d=\"M"), count(svg, "d=\"M"));
    for (const char *p = svg, *q = other; (p = strstr(p, "d=\"M")) && (q = strstr(q, "d=\"M")); p++, q++) {
        size_t length = strcspn(p + 3, "\"");
        assert_int_equal(strncmp(p, q, length + 4), 0);
    }
    free(other);
    free(svg);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_modes_are_there),
        cmocka_unit_test(what_is_not_drawn_is_told),
        cmocka_unit_test(any_title_fits),
        cmocka_unit_test(any_range_has_numbers),
        cmocka_unit_test(the_locale_changes_no_coordinate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
