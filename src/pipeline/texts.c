#include "pipeline/texts.h"

#include "text/edit.h"
#include "text/emphasis.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEARLY 1e-9 /* of sums of weights that are written in decimals */

void bl_texts_clear(bl_texts *t) {
    for (int i = 0; i < t->count; i++) {
        free(t->text[i]);
    }
    free(t->text);
    for (int pass = 0; pass < 2; pass++) {
        for (int row = 0; t->row[pass] && row < t->rows; row++) {
            free(t->row[pass][row].ends);
        }
        free(t->row[pass]);
    }
    *t = (bl_texts){0};
}

/* Whether two texts differ in the blanks around them alone, of which no token comes. */
static bool same_text(const char *a, size_t a_length, const char *b, size_t b_length) {
    while (a_length && isspace((unsigned char)*a)) {
        a++;
        a_length--;
    }
    while (b_length && isspace((unsigned char)*b)) {
        b++;
        b_length--;
    }
    while (a_length && isspace((unsigned char)a[a_length - 1])) {
        a_length--;
    }
    while (b_length && isspace((unsigned char)b[b_length - 1])) {
        b_length--;
    }
    return a_length == b_length && !memcmp(a, b, a_length);
}

/* The text's number, which it may have already; -1: no memory. */
static int number_of(bl_texts *t, const char *text, size_t length) {
    for (int i = t->negative; i < t->count; i++) {
        if (same_text(t->text[i], strlen(t->text[i]), text, length)) {
            return i;
        }
    }
    char **more = realloc(t->text, ((size_t)t->count + 1) * sizeof *more);
    t->text = more ? more : t->text;
    char *own = more ? strndup(text, length) : NULL;
    if (!own) {
        return -1;
    }
    t->text[t->count] = own;
    return t->count++;
}

static int add_edits(bl_texts *t, bl_text_row *row, const bl_edits *e, bl_error *err) {
    size_t n = (size_t)e->count;
    row->ends = malloc(2 * n * sizeof *row->ends);
    if (!row->ends) {
        return bl_fail_memory(err, "the prompt's texts", 2 * n * sizeof *row->ends);
    }
    row->texts = row->ends + n;
    row->count = e->count;
    for (int i = 0; i < e->count; i++) {
        row->ends[i] = e->list[i].end;
        row->texts[i] = number_of(t, e->text + e->list[i].start, e->list[i].length);
        if (row->texts[i] < 0) {
            return bl_fail_memory(err, "the prompt's texts", e->list[i].length);
        }
    }
    return 0;
}

/* One part, in both passes. Only A1111 edits: elsewhere the part is one text. A1111 counts twice as many
 * steps for samplers that evaluate the denoiser twice in each. */
static int read_part(bl_texts *t, int row, const bl_subprompt *part, const bl_request *r, bl_error *err) {
    const ballast_generate_options *o = r->o;
    int twice = bl_sampler_evaluations(r->sampler, 10) == 19 ? 2 : 1;
    int base = o->steps * twice, second = (o->hires_steps ? o->hires_steps : o->steps) * twice;
    int result = 0;
    for (int pass = 0; pass < 2 && !result; pass++) {
        bl_text_row *x = &t->row[pass][row];
        x->weight = part->weight;
        if (r->compat != BL_COMPAT_A1111 || r->plain) {
            bl_edit whole = {.end = base, .start = 0, .length = part->length};
            bl_edits one = {.count = 1, .list = &whole, .text = (char *)(uintptr_t)part->text};
            result = add_edits(t, x, &one, err);
            continue;
        }
        bool later = pass && r->second;
        bl_edits edits = {0};
        result = bl_edits_read(&edits, part, later ? second : base, later ? base : -1, err);
        result = result ? result : add_edits(t, x, &edits, err);
        bl_edits_clear(&edits);
    }
    return result;
}

/* Guidance weighs the negative prompt with 1 - cfg times the sum of the others' weights: with 0 it is not
 * run. */
static bool is_guided(const bl_subprompt *parts, int count, double cfg) {
    double sum = 0;
    for (int i = 0; i < count; i++) {
        sum += parts[i].weight;
    }
    return fabs(cfg * sum - 1) > NEARLY;
}

static int read_all(bl_texts *t, const bl_request *r, const char *negative, const bl_subprompt *parts,
                    int count, bl_error *err) {
    int result = 0;
    t->guided = is_guided(parts, count, r->cfg);
    t->rows = t->guided + count;
    for (int pass = 0; pass < 2; pass++) {
        t->row[pass] = calloc((size_t)t->rows, sizeof *t->row[pass]);
        if (!t->row[pass]) {
            return bl_fail_memory(err, "the prompt's texts", (size_t)t->rows * sizeof *t->row[pass]);
        }
    }
    if (t->guided) {
        bl_subprompt all = {negative, strlen(negative), 1.0};
        result = read_part(t, 0, &all, r, err);
        t->negative = t->count;
    }
    for (int i = 0; i < count && !result; i++) {
        result = read_part(t, t->guided + i, &parts[i], r, err);
    }
    return result;
}

/* The prompt's parts, of which there is one but in A1111. */
static int read_parts(bl_texts *t, const bl_request *r, const char *negative, const char *prompt,
                      bl_error *err) {
    bl_subprompt whole = {prompt, strlen(prompt), 1.0}, *parts;
    int count;
    if (r->compat != BL_COMPAT_A1111 || r->plain) {
        return read_all(t, r, negative, &whole, 1, err);
    }
    int result = bl_subprompts_split(&parts, &count, prompt, strlen(prompt), err);
    if (!result && count > BL_MOST_SUBPROMPTS) {
        result = bl_fail(err, BL_E_ARGUMENT, "prompt: AND joins %d prompts, at most %d can be", count,
                         BL_MOST_SUBPROMPTS);
        free(parts);
    } else if (!result) {
        result = read_all(t, r, negative, parts, count, err);
        free(parts);
    }
    return result;
}

/* A copy without comments, in A1111's syntax. */
static char *to_read(const bl_request *r, const char *text) {
    size_t n = strlen(text);
    char *out = malloc(n + 1);
    if (out) {
        bool comments = r->compat == BL_COMPAT_A1111 && !r->plain;
        memcpy(out, text, n);
        out[comments ? bl_leave_out_comments(out, text, n) : n] = 0;
    }
    return out;
}

int bl_texts_read(bl_texts *out, const bl_request *r, const char *negative, const char *prompt,
                  bl_error *err) {
    bl_texts t = {0};
    char *own_negative = to_read(r, negative), *own_prompt = to_read(r, prompt);
    int result = own_negative && own_prompt ? read_parts(&t, r, own_negative, own_prompt, err)
                                            : bl_fail_memory(err, "the prompt", strlen(prompt));
    free(own_negative);
    free(own_prompt);
    if (result) {
        bl_texts_clear(&t);
        return result;
    }
    *out = t;
    return 0;
}

int bl_texts_at(const bl_texts *t, int pass, int row, int call) {
    const bl_text_row *x = &t->row[pass][row];
    return x->texts[bl_edits_at(x->ends, x->count, call)];
}

bool bl_texts_constant(const bl_texts *t) {
    bool constant = true;
    for (int row = 0; row < t->rows; row++) {
        const bl_text_row *one = &t->row[0][row], *two = &t->row[1][row];
        constant = constant && one->count == 1 && two->count == 1 && one->texts[0] == two->texts[0];
    }
    return constant;
}

int bl_texts_calls(const bl_texts *t, int pass) {
    int most = 0;
    for (int row = 0; row < t->rows; row++) {
        const bl_text_row *x = &t->row[pass][row];
        most = x->ends[x->count - 1] > most ? x->ends[x->count - 1] : most;
    }
    return most + 2; /* the call behind the last end is told the first text */
}
