#include "residency/run/calibration_blocks.h"

#include "core/spans.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Of what copies take of compute's time: more than this is a mistake. And what is not learned from: runs
 * whose seconds beside copies differ by less than a tenth of their length. */
static const double most_drag = 0.9, least_contrast = 0.1;

/* A block's runs in one generation: but for the first, which touches memory that is new, so that it counts
 * only where it is the only one. */
typedef struct runs {
    int count;                                /* all of them */
    double first, first_beside;               /* of the first */
    double seconds, beside, squares, product; /* sums over the others; of beside², and of beside x seconds */
} runs;

bool bl_block_figures_open(bl_block_figures *f, sqlite3 *db, bool write) {
    static const char *const tables[] = {"blocks", "beside"};
    char text[256];
    bool fine = true;
    *f = (bl_block_figures){.shape = ""};
    for (int i = 0; i < 2 && fine; i++) {
        snprintf(text, sizeof text,
                 "SELECT block, seconds FROM %s WHERE device = ?1 AND model = ?2 AND dtype = ?3 AND"
                 " shape = ?4 AND module = ?5 ORDER BY block",
                 tables[i]);
        fine = sqlite3_prepare_v2(db, text, -1, &f->read[i], NULL) == SQLITE_OK;
        snprintf(text, sizeof text, "INSERT OR REPLACE INTO %s VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                 tables[i]);
        fine = fine && (!write || sqlite3_prepare_v2(db, text, -1, &f->write[i], NULL) == SQLITE_OK);
    }
    return fine;
}

void bl_block_figures_close(bl_block_figures *f) {
    for (int i = 0; i < 2; i++) {
        sqlite3_finalize(f->read[i]);
        sqlite3_finalize(f->write[i]);
    }
    *f = (bl_block_figures){.shape = ""};
}

/* Parameters 1 to 5 of both statements about the blocks of a phase at a level; the kernels of levels differ.
 */
static void bind(bl_block_figures *f, sqlite3_stmt **s, const bl_calibration_key *key, const bl_problem *p,
                 int phase, int level) {
    const bl_problem_module *m = &p->modules[p->phases[phase].module];
    snprintf(f->shape, sizeof f->shape, "%s@%d", key->shapes[phase], level);
    const char *const values[] = {key->device, key->models[phase], m->dtype, f->shape, m->name};
    for (int i = 0; i < 10; i++) {
        if (i % 5 == 0) {
            sqlite3_reset(s[i / 5]);
        }
        sqlite3_bind_text(s[i / 5], i % 5 + 1, values[i % 5], -1, SQLITE_STATIC);
    }
}

/* Figures that cannot be are none: they are not averaged with, or they would never go. */
static bool good(double x, double most) {
    return isfinite(x) && x >= 0 && x <= most;
}

/* Fills [block_count] of both; -1 where nothing is known. How many are. */
static int read_known(bl_block_figures *f, const bl_calibration_key *key, const bl_problem *p, int phase,
                      int level, double *seconds, double *beside) {
    const int count = p->modules[p->phases[phase].module].block_count;
    double *const out[] = {seconds, beside};
    int known = 0;
    for (int b = 0; b < count; b++) {
        seconds[b] = -1;
        beside[b] = 0;
    }
    bind(f, f->read, key, p, phase, level);
    for (int i = 0; i < 2; i++) {
        while (sqlite3_step(f->read[i]) == SQLITE_ROW) {
            int b = sqlite3_column_int(f->read[i], 0);
            double x = sqlite3_column_double(f->read[i], 1);
            if (b >= 0 && b < count && sqlite3_column_type(f->read[i], 1) == SQLITE_FLOAT &&
                good(x, i ? seconds[b] * (1 + 1e-9) : 1e6)) {
                known += !i && seconds[b] < 0; /* "3x" is 3, too */
                out[i][b] = x;
            }
        }
    }
    return known;
}

bool bl_block_figures_read(bl_block_figures *f, const bl_calibration_key *key, const bl_problem *p, int phase,
                           int level, double *seconds, double *beside) {
    return read_known(f, key, p, phase, level, seconds, beside) ==
           p->modules[p->phases[phase].module].block_count;
}

/* Seconds of each run beside copies: [l->count], 0 of entries that are no runs. */
static int find_beside(double *out, const bl_ledger *l, bl_error *err) {
    bl_spans copies = {0};
    int rc = 0;
    for (int i = 0; i < l->count && !rc && l->async_copy; i++) {
        const bl_ledger_entry *e = &l->entries[i];
        rc = e->work == BL_WORK_ONLOAD ? bl_spans_add(&copies, e->start, e->start + e->seconds, err) : 0;
    }
    for (int i = 0; i < l->count && !rc; i++) {
        const bl_ledger_entry *e = &l->entries[i];
        out[i] = e->work == BL_WORK_COMPUTE ? bl_spans_inside(&copies, e->start, e->start + e->seconds) : 0;
    }
    bl_spans_free(&copies);
    return rc;
}

/* [block_count], zero at first. */
static void find_runs(runs *out, const bl_ledger *l, const double *beside, int phase) {
    for (int i = 0; i < l->count; i++) {
        const bl_ledger_entry *e = &l->entries[i];
        if (e->work != BL_WORK_COMPUTE || e->phase != phase) {
            continue;
        }
        runs *r = &out[e->block];
        if (!r->count++) {
            r->first = e->seconds;
            r->first_beside = beside[i];
        } else {
            r->seconds += e->seconds;
            r->beside += beside[i];
            r->squares += beside[i] * beside[i];
            r->product += beside[i] * e->seconds;
        }
    }
}

/* What is found of compute's loss: least squares of a line through each block's points, all of one slope. */
typedef struct slope {
    double squares, product, lengths;
} slope;

/* What was known counts as much as this generation's runs. */
static void add_block(slope *s, const runs *r, double seconds, double beside) {
    double n = r->count - 1, weight = seconds >= 0 ? n : 0;
    if (n < 1) {
        return;
    }
    double x = r->beside + weight * beside, y = r->seconds + weight * seconds, all = n + weight;
    s->squares += r->squares + weight * beside * beside - x * x / all;
    s->product += r->product + weight * beside * seconds - x * y / all;
    s->lengths += y * y / all;
}

/* Keeps a block's new figures: of what was known three quarters, half of it if the new one is the faster
 * without copies, because whatever disturbs a measurement makes it longer. */
static bool keep_block(bl_block_figures *f, int block, const runs *r, double seconds, double beside,
                       double drag) {
    double n = r->count - 1, now = n < 1 ? r->first : r->seconds / n,
           now_beside = n < 1 ? r->first_beside : r->beside / n;
    if (seconds >= 0) {
        double part = now - drag * now_beside < seconds - drag * beside ? 0.5 : 0.25;
        now = seconds + part * (now - seconds);
        now_beside = beside + part * (now_beside - beside);
    }
    const double values[] = {now, now_beside};
    bool fine = true;
    for (int i = 0; i < 2 && fine; i++) {
        if (i && now_beside <= 0 && beside <= 0) {
            continue; /* nothing stands there, nor need it */
        }
        sqlite3_reset(f->write[i]);
        sqlite3_bind_int(f->write[i], 6, block);
        sqlite3_bind_double(f->write[i], 7, values[i]);
        fine = sqlite3_step(f->write[i]) == SQLITE_DONE;
    }
    return fine;
}

/* One phase: adds to the slope, or, `s` NULL, keeps its figures. */
static int learn_phase(slope *s, bl_block_figures *f, const bl_calibration_key *key, const bl_problem *p,
                       const bl_plan *plan, const bl_ledger *l, const double *beside, int phase, double drag,
                       bl_error *err) {
    const size_t count = (size_t)p->modules[p->phases[phase].module].block_count;
    const int level = plan->phases[phase].level;
    runs *r = calloc(count, sizeof *r);
    double *known = calloc(count, sizeof *known), *known_beside = calloc(count, sizeof *known_beside);
    int rc = r && known && known_beside ? 0 : bl_fail_memory(err, "measured times", count * sizeof *r);
    if (!rc) {
        find_runs(r, l, beside, phase);
        read_known(f, key, p, phase, level, known, known_beside);
        if (!s) {
            bind(f, f->write, key, p, phase, level);
        }
    }
    for (size_t b = 0; b < count && !rc; b++) {
        if (s) {
            add_block(s, &r[b], known[b], known_beside[b]);
        } else if (r[b].count && !keep_block(f, (int)b, &r[b], known[b], known_beside[b], drag)) {
            rc = bl_fail(err, BL_E_IO, "measured times were not taken");
        }
    }
    free(r);
    free(known);
    free(known_beside);
    return rc;
}

int bl_block_figures_learn(double *slowdown, bool *told, bl_block_figures *f, const bl_calibration_key *key,
                           const bl_problem *p, const bl_plan *plan, const bl_ledger *l, bl_error *err) {
    double *beside = calloc((size_t)l->count + 1, sizeof *beside);
    slope s = {0};
    *told = false;
    int rc = beside ? find_beside(beside, l, err)
                    : bl_fail_memory(err, "measured times", (size_t)l->count * sizeof *beside);
    for (int i = 0; i < p->phase_count && !rc && l->async_copy; i++) {
        rc = key->shapes[i] ? learn_phase(&s, f, key, p, plan, l, beside, i, 0, err) : 0;
    }
    if (!rc && s.squares > least_contrast * least_contrast / 2 * s.lengths) {
        double drag = fmin(fmax(s.product / s.squares, 0), most_drag);
        *slowdown = drag / (1 - drag);
        *told = true;
    }
    double drag = *slowdown / (1 + *slowdown);
    for (int i = 0; i < p->phase_count && !rc; i++) {
        rc = key->shapes[i] ? learn_phase(NULL, f, key, p, plan, l, beside, i, drag, err) : 0;
    }
    for (int i = 0; i < 2; i++) {
        sqlite3_reset(f->read[i]);
        sqlite3_reset(f->write[i]);
    }
    free(beside);
    return rc;
}
