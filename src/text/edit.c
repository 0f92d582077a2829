#include "text/edit.h"

#include "text/emphasis.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- AND */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A number as [+-]?[0-9]*.?[0-9]* with a digit in it: its length, 0: there is none. Not strtod: that follows
 * the locale and takes "inf". */
static size_t read_number(const char *p, size_t n, double *value, bool *point) {
    size_t i = n && (*p == '+' || *p == '-'), digits = 0;
    double mantissa = 0.0, scale = 1.0;
    *point = false;
    for (; i < n && (is_digit(p[i]) || (p[i] == '.' && !*point)); i++) {
        if (p[i] == '.') {
            *point = true;
            continue;
        }
        digits++;
        /* 15 digits and 10^22 are exact, so that the one division rounds correctly. */
        if (!*point || (mantissa < 1e14 && scale < 1e22)) {
            mantissa = mantissa * 10.0 + (p[i] - '0');
            scale *= *point ? 10.0 : 1.0;
        }
    }
    *value = (n && *p == '-' ? -mantissa : mantissa) / scale;
    return digits ? i : 0;
}

/* Takes ":1.2" and blanks off the end. */
static void take_weight(bl_subprompt *part) {
    const char *p = part->text;
    size_t n = part->length;
    while (n && is_blank(p[n - 1])) {
        n--;
    }
    part->length = n;
    size_t at = n;
    while (at && (is_digit(p[at - 1]) || p[at - 1] == '.')) {
        at--;
    }
    at -= at && (p[at - 1] == '+' || p[at - 1] == '-');
    double weight;
    bool point;
    if (at == n || read_number(p + at, n - at, &weight, &point) != n - at) {
        return;
    }
    while (at && is_blank(p[at - 1])) {
        at--;
    }
    if (!at || p[at - 1] != ':') {
        return;
    }
    at--;
    while (at && is_blank(p[at - 1])) {
        at--;
    }
    part->length = at;
    part->weight = weight;
}

int bl_subprompts_split(bl_subprompt **parts, int *count, const char *text, size_t bytes, bl_error *err) {
    static const char word[] = "AND";
    const size_t length = sizeof word - 1;
    int n = 1;
    for (size_t i = 0; i + length <= bytes; i++) {
        n += !memcmp(text + i, word, length);
    }
    bl_subprompt *list = malloc((size_t)n * sizeof *list);
    if (!list) {
        return bl_fail_memory(err, "the prompt's parts", (size_t)n * sizeof *list);
    }
    size_t begin = 0;
    n = 0;
    for (size_t i = 0; i <= bytes; i++) {
        bool here = i + length <= bytes && !memcmp(text + i, word, length) &&
                    !bl_word_beside(text, bytes, i, true) && !bl_word_beside(text, bytes, i + length, false);
        if (here || i == bytes) {
            list[n] = (bl_subprompt){text + begin, i - begin, 1.0};
            take_weight(&list[n]);
            if (!(fabs(list[n].weight) <= BL_EMPHASIS_MAX)) {
                free(list);
                return bl_fail(err, BL_E_ARGUMENT, "the weight of part %d is beyond +-%g", n + 1,
                               BL_EMPHASIS_MAX);
            }
            n++;
            begin = i + length;
            i += here ? length - 1 : 0;
        }
    }
    *parts = list;
    *count = n;
    return BL_OK;
}

/* ---- what changes: a tree, and its text at a step */

typedef enum kind { TEXT, GROUP, EDIT, ALTERNATE } kind;

typedef struct node {
    kind kind;
    int next;          /* in its group; -1: the last one */
    int first;         /* GROUP: of what is in it; EDIT, ALTERNATE: of groups; -1: empty */
    size_t at, length; /* TEXT: in the part */
    double when;       /* EDIT: as it is written, */
    bool fraction;     /* with a point */
    bool from;         /* there are two groups, and the first one holds until then */
} node;

#define UNKNOWN 0
#define NOTHING (-1) /* no bracket's text begins here */

typedef struct parser {
    const char *s;
    size_t n, at;
    node *nodes;
    int count, room;
    int *found;  /* [n] for each opening bracket the node that begins there + 1; so that each is read once */
    size_t *end; /* [n] what is behind it */
    int depth;
    bool no_memory;
} parser;

static int add_node(parser *p, node x) {
    if (p->count == p->room) {
        int room = p->room ? 2 * p->room : 64;
        node *more = realloc(p->nodes, (size_t)room * sizeof *more);
        if (!more) {
            p->no_memory = true;
            return -1;
        }
        p->nodes = more;
        p->room = room;
    }
    x.next = -1;
    p->nodes[p->count] = x;
    return p->count++;
}

static int add_text(parser *p, size_t at, size_t length) {
    return add_node(p, (node){.kind = TEXT, .at = at, .length = length});
}

/* A list that grows at its end. */
typedef struct chain {
    int first, last;
} chain;

static void append(parser *p, chain *c, int x) {
    if (x < 0) {
        return;
    }
    if (c->last >= 0) {
        p->nodes[c->last].next = x;
    } else {
        c->first = x;
    }
    c->last = x;
}

static size_t plain_length(const parser *p) {
    size_t i = p->at;
    while (i < p->n && !memchr("()[]:|", p->s[i], 6)) {
        if (p->s[i] == '\\') {
            if (i + 1 >= p->n || p->s[i + 1] == '\n') {
                break;
            }
            i++;
        }
        i++;
    }
    return i - p->at;
}

static int read_bracket(parser *p);

/* Text and whole brackets from p->at on, as far as they go: a group. */
static int read_group(parser *p) {
    chain c = {-1, -1};
    for (;;) {
        size_t length = plain_length(p);
        int x;
        if (length) {
            x = add_text(p, p->at, length);
            p->at += length;
        } else {
            x = p->at < p->n && memchr("([", p->s[p->at], 2) ? read_bracket(p) : -1;
            if (x < 0) {
                break;
            }
            p->nodes[x].next = -1;
        }
        append(p, &c, x);
    }
    return add_node(p, (node){.kind = GROUP, .first = c.first});
}

static bool take(parser *p, char c) {
    bool there = p->at < p->n && p->s[p->at] == c;
    p->at += there;
    return there;
}

/* ": 0.5 ]" behind a group, which ends an edit. */
static bool read_when(parser *p, node *edit) {
    size_t at = p->at;
    if (!take(p, ':')) {
        return false;
    }
    while (p->at < p->n && is_blank(p->s[p->at])) {
        p->at++;
    }
    size_t length = read_number(p->s + p->at, p->n - p->at, &edit->when, &edit->fraction);
    p->at += length;
    if (length && p->at + 1 < p->n && (p->s[p->at] == 'e' || p->s[p->at] == 'E')) {
        double power;
        bool point;
        size_t sign = p->s[p->at + 1] == '+' || p->s[p->at + 1] == '-', i = p->at + 1 + sign, digits = i;
        while (i < p->n && is_digit(p->s[i])) {
            i++;
        }
        if (i > digits) {
            read_number(p->s + p->at + 1, i - p->at - 1, &power, &point);
            edit->when *= pow(10.0, power);
            p->at = i;
        }
    }
    while (p->at < p->n && is_blank(p->s[p->at])) {
        p->at++;
    }
    if (length && take(p, ']')) {
        return true;
    }
    p->at = at;
    return false;
}

/* The pieces of an emphasis, as text around groups: `from` is where it began. */
static int emphasis(parser *p, size_t from, int one, size_t colon, int two) {
    chain c = {-1, -1};
    append(p, &c, add_text(p, from, 1));
    append(p, &c, one);
    if (two >= 0) {
        append(p, &c, add_text(p, colon, 1));
        append(p, &c, two);
    }
    append(p, &c, add_text(p, p->at - 1, 1));
    return add_node(p, (node){.kind = GROUP, .first = c.first});
}

static int read_round(parser *p, size_t from) {
    int one = read_group(p);
    if (take(p, ')')) {
        return emphasis(p, from, one, 0, -1);
    }
    size_t colon = p->at;
    if (!take(p, ':')) {
        return -1;
    }
    int two = read_group(p);
    return take(p, ')') ? emphasis(p, from, one, colon, two) : -1;
}

static int read_square(parser *p, size_t from) {
    chain c = {-1, -1};
    node edit = {.kind = EDIT};
    append(p, &c, read_group(p));
    if (take(p, ']')) {
        return emphasis(p, from, c.first, 0, -1);
    }
    if (p->at < p->n && p->s[p->at] == '|') {
        while (take(p, '|')) {
            append(p, &c, read_group(p));
        }
        return take(p, ']') ? add_node(p, (node){.kind = ALTERNATE, .first = c.first}) : -1;
    }
    if (!read_when(p, &edit)) {
        if (!take(p, ':')) {
            return -1;
        }
        append(p, &c, read_group(p));
        edit.from = true;
        if (!read_when(p, &edit)) {
            return -1;
        }
    }
    edit.first = c.first;
    return add_node(p, edit);
}

/* What begins with the bracket at p->at; -1: nothing does, and p->at stays. */
static int read_bracket(parser *p) {
    size_t from = p->at;
    if (p->found[from] == UNKNOWN) {
        bool round = p->s[p->at++] == '(';
        int x = -1;
        if (p->depth < BL_EDIT_DEPTH) {
            p->depth++;
            x = round ? read_round(p, from) : read_square(p, from);
            p->depth--;
        }
        p->found[from] = x < 0 ? NOTHING : x + 1;
        p->end[from] = p->at;
    }
    bool found = p->found[from] != NOTHING && !p->no_memory;
    p->at = found ? p->end[from] : from;
    return found ? p->found[from] - 1 : -1;
}

/* The whole part as a group; -1: all of it is text. */
static int read_part(parser *p) {
    chain c = {-1, -1};
    while (p->at < p->n && !p->no_memory) {
        append(p, &c, read_group(p));
        if (p->at < p->n && (p->s[p->at] == '|' || p->s[p->at] == '\\')) {
            return -1;
        }
        if (p->at < p->n) {
            append(p, &c, add_text(p, p->at++, 1));
        }
    }
    return add_node(p, (node){.kind = GROUP, .first = c.first});
}

/* ---- at a step */

typedef struct one_pass {
    int steps, before;
} one_pass;

static int end_of(const node *edit, one_pass pass) {
    double when = edit->when;
    if (edit->fraction) {
        when = (when - (pass.before >= 0 ? 1.0 : 0.0)) * pass.steps;
    } else {
        when -= pass.before >= 0 ? pass.before : 0;
    }
    return when >= pass.steps ? pass.steps : when > INT_MIN ? (int)when : INT_MIN;
}

static int nth(const parser *p, int first, int n) {
    while (n--) {
        first = p->nodes[first].next;
    }
    return first;
}

static int length_of(const parser *p, int first) {
    int n = 0;
    for (; first >= 0; first = p->nodes[first].next) {
        n++;
    }
    return n;
}

/* Writes the node's text at this step; returns the end. */
static char *write_node(const parser *p, int x, int step, one_pass pass, char *out) {
    const node *n = &p->nodes[x];
    switch (n->kind) {
    case TEXT:
        memcpy(out, p->s + n->at, n->length);
        return out + n->length;
    case ALTERNATE:
        return write_node(p, nth(p, n->first, (step - 1) % length_of(p, n->first)), step, pass, out);
    case EDIT:
        if (step <= end_of(n, pass)) {
            return n->from ? write_node(p, n->first, step, pass, out) : out;
        }
        return write_node(p, nth(p, n->first, n->from), step, pass, out);
    default:
        for (int i = n->first; i >= 0; i = p->nodes[i].next) {
            out = write_node(p, i, step, pass, out);
        }
        return out;
    }
}

static int by_end(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* The ends of all texts, in order: [*count] of at most p->count + pass.steps + 1. */
static void find_ends(int *ends, int *count, const parser *p, one_pass pass) {
    int n = 0;
    bool alternates = false;
    ends[n++] = pass.steps;
    for (int i = 0; i < p->count; i++) {
        alternates = alternates || p->nodes[i].kind == ALTERNATE;
        int end = p->nodes[i].kind == EDIT ? end_of(&p->nodes[i], pass) : 0;
        if (end >= 1) {
            ends[n++] = end;
        }
    }
    for (int i = 1; alternates && i <= pass.steps; i++) {
        ends[n++] = i;
    }
    qsort(ends, (size_t)n, sizeof *ends, by_end);
    *count = 0;
    for (int i = 0; i < n; i++) {
        if (!*count || ends[*count - 1] != ends[i]) {
            ends[(*count)++] = ends[i];
        }
    }
}

static int write_edits(bl_edits *out, const parser *p, int root, one_pass pass, bl_error *err) {
    size_t most = (size_t)p->count + (size_t)pass.steps + 1;
    int *ends = malloc(most * sizeof *ends), count = 1;
    if (!ends) {
        return bl_fail_memory(err, "the prompt's texts", most * sizeof *ends);
    }
    ends[0] = pass.steps;
    if (root >= 0) {
        find_ends(ends, &count, p, pass);
    }
    *out = (bl_edits){.list = malloc((size_t)count * sizeof *out->list),
                      .text = malloc((size_t)count * p->n + 1)};
    if (!out->list || !out->text) {
        bl_edits_clear(out);
        free(ends);
        return bl_fail_memory(err, "the prompt's texts", (size_t)count * p->n);
    }
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        char *to = out->text + at;
        size_t length = p->n;
        if (root >= 0) {
            length = (size_t)(write_node(p, root, ends[i], pass, to) - to);
        } else {
            memcpy(to, p->s, p->n);
        }
        bl_edit *last = out->count ? &out->list[out->count - 1] : NULL;
        if (last && last->length == length && !memcmp(out->text + last->start, to, length)) {
            last->end = ends[i];
            continue;
        }
        out->list[out->count++] = (bl_edit){ends[i], at, length};
        at += length;
    }
    free(ends);
    return BL_OK;
}

int bl_edits_read(bl_edits *out, const bl_subprompt *part, int steps, int before, bl_error *err) {
    parser p = {.s = part->text,
                .n = part->length,
                .found = calloc(part->length + 1, sizeof(int)),
                .end = malloc((part->length + 1) * sizeof(size_t))};
    int root = p.found && p.end ? read_part(&p) : -1;
    int rc = p.found && p.end && !p.no_memory ? write_edits(out, &p, root, (one_pass){steps, before}, err)
                                              : bl_fail_memory(err, "the prompt's texts", part->length);
    free(p.nodes);
    free(p.found);
    free(p.end);
    return rc;
}

void bl_edits_clear(bl_edits *edits) {
    free(edits->list);
    free(edits->text);
    *edits = (bl_edits){0};
}

int bl_edits_at(const int *ends, int count, int call) {
    for (int i = 0; i < count; i++) {
        if (call <= ends[i]) {
            return i;
        }
    }
    return 0;
}
