#include "residency/run/calibration.h"

#include "residency/run/calibration_blocks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bl_calibration {
    sqlite3 *db;
};

sqlite3 *bl_calibration_database(const bl_calibration *c) {
    return c->db;
}

int bl_calibration_open(bl_calibration **out, const char *path, const bl_log *log, bl_error *err) {
    *out = NULL;
    bl_calibration *c = calloc(1, sizeof *c);
    if (!c) {
        return bl_fail_memory(err, "the calibration", sizeof *c);
    }
    int rc = bl_calibration_file_open(&c->db, path, log, err);
    if (rc) {
        free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void bl_calibration_close(bl_calibration **c) {
    if (*c) {
        sqlite3_close((*c)->db);
        free(*c);
        *c = NULL;
    }
}

static bool no_memory(const bl_calibration *c) {
    return (sqlite3_errcode(c->db) & 0xff) == SQLITE_NOMEM;
}

static bool good_seconds(double x) {
    return isfinite(x) && x >= 0 && x < 1e6;
}

/* The same of what is stored: figures that cannot be are not averaged with, or they would never go. */
#define GOOD_SECONDS "typeof(seconds) = 'real' AND seconds >= 0 AND seconds < 1e6"

/* What `copies` has figures of: copies by the dtype alone; loads, in bytes of the file; of whichever of the
 * two reads files those that came for the first time, by themselves; widening, in values; and by what share
 * compute is slower beside copies, in seconds of 1. */
typedef enum kind { COPIES, LOADS, FIRST, WIDENING, SLOWDOWN } kind;

typedef struct kind_text {
    char text[48];
} kind_text;

static kind_text kind_of(const bl_calibration_key *key, kind k) {
    static const char *const behind[] = {[COPIES] = "",
                                         [LOADS] = ", load",
                                         [FIRST] = ", first",
                                         [WIDENING] = ", widen",
                                         [SLOWDOWN] = ", slowdown"};
    kind_text t;
    snprintf(t.text, sizeof t.text, "%.31s%s", key->dtype, behind[k]);
    return t;
}

/* The same of a module's passes, in work. */
static kind_text passes_of(const char *module, const char *dtype) {
    kind_text t;
    snprintf(t.text, sizeof t.text, "%.15s, passes of %.20s", dtype, module);
    return t;
}

/* Seconds = latency + bytes / rate through the measured sizes: least squares, weighted so that each size
 * counts the same relative to its length. False unless any size is known. */
static bool fit(const bl_calibration *c, const bl_calibration_key *key, kind_text text, double *latency,
                double *rate) {
    sqlite3_stmt *s = NULL;
    double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0, all_bytes = 0, all_seconds = 0;
    int rows = 0;
    if (sqlite3_prepare_v2(c->db, "SELECT bytes, seconds FROM copies WHERE device = ?1 AND dtype = ?2", -1,
                           &s, NULL) == SQLITE_OK) {
        sqlite3_bind_text(s, 1, key->device, -1, SQLITE_STATIC);
        sqlite3_bind_text(s, 2, text.text, -1, SQLITE_STATIC);
        while (sqlite3_step(s) == SQLITE_ROW) {
            double x = sqlite3_column_double(s, 0), y = sqlite3_column_double(s, 1);
            if (!(x > 0) || !(y > 0) || !good_seconds(y) || !isfinite(x)) {
                continue;
            }
            double w = 1 / (y * y);
            n += w;
            sx += w * x;
            sy += w * y;
            sxx += w * x * x;
            sxy += w * x * y;
            all_bytes += x;
            all_seconds += y;
            rows++;
        }
    }
    sqlite3_finalize(s);
    if (rows == 0) {
        return false;
    }
    double determinant = n * sxx - sx * sx, slope = all_seconds / all_bytes, offset = 0;
    if (rows > 1 && determinant > 1e-9 * n * sxx) {
        slope = (n * sxy - sx * sy) / determinant;
        offset = (sy - slope * sx) / n;
    }
    if (!(slope > 0)) {
        slope = all_seconds / all_bytes;
        offset = 0;
    }
    *rate = 1 / slope;
    *latency = offset > 0 ? offset : 0;
    return isfinite(*rate) && isfinite(*latency);
}

static bool fit_copies(const bl_calibration *c, const bl_calibration_key *key, kind what, double *latency,
                       double *rate) {
    return fit(c, key, kind_of(key, what), latency, rate);
}

/* By what share compute was measured to take longer beside copies. False: it is not known. */
static bool find_slowdown(const bl_calibration *c, const bl_calibration_key *key, double *slowdown) {
    sqlite3_stmt *s = NULL;
    kind_text text = kind_of(key, SLOWDOWN);
    bool found = false;
    if (sqlite3_prepare_v2(c->db, "SELECT seconds FROM copies WHERE device = ?1 AND dtype = ?2 AND class = 0",
                           -1, &s, NULL) == SQLITE_OK) {
        sqlite3_bind_text(s, 1, key->device, -1, SQLITE_STATIC);
        sqlite3_bind_text(s, 2, text.text, -1, SQLITE_STATIC);
        if (sqlite3_step(s) == SQLITE_ROW) {
            double x = sqlite3_column_double(s, 0);
            found = sqlite3_column_type(s, 0) == SQLITE_FLOAT && x >= 0 && x <= BL_PROBLEM_SLOWDOWN;
            *slowdown = found ? x : *slowdown;
        }
    }
    sqlite3_finalize(s);
    return found;
}

static int nearest_level(unsigned measured, int level) {
    for (int away = 0;; away++) {
        if (level >= away && measured >> (level - away) & 1) {
            return level - away;
        }
        if (measured >> (level + away) & 1) {
            return level + away;
        }
    }
}

/* A level that was never run takes about as long as its nearest neighbour that was: better than a guess
 * beside measured figures. */
static void fill_levels(bl_problem_phase *f, unsigned measured, size_t bytes) {
    for (int l = 0; l < f->level_count && measured; l++) {
        int from = nearest_level(measured, l);
        if (from != l) {
            memcpy(f->levels[l].block_seconds, f->levels[from].block_seconds, bytes);
        }
    }
}

/* Of copies, or of loads: bl_problem_finish takes them from the rates again. */
static void forget_seconds(bl_problem *p, bool loads) {
    for (int m = 0; m < p->module_count; m++) {
        for (int b = 0; b < p->modules[m].block_count; b++) {
            *(loads ? &p->modules[m].blocks[b].load_seconds : &p->modules[m].blocks[b].copy_seconds) = -1;
        }
    }
}

/* Where only first ones are known of what reads files, these count for all. */
static bool find_rate(double *latency, double *rate, const bl_calibration *c, const bl_calibration_key *key,
                      kind what, bool reads_files) {
    return fit_copies(c, key, what, latency, rate) ||
           (reads_files && fit_copies(c, key, FIRST, latency, rate));
}

/* Beside compute nothing is known of when a first copy is waited for. */
static void set_first_seconds(const bl_calibration *c, const bl_calibration_key *key, bl_problem *p) {
    double latency, rate;
    bool known = !p->async_copy && fit_copies(c, key, FIRST, &latency, &rate);
    for (int m = 0; m < p->module_count; m++) {
        for (int b = 0; b < p->modules[m].block_count; b++) {
            bl_problem_block *k = &p->modules[m].blocks[b];
            double later = p->copy_latency + (double)k->bytes / p->copy_rate;
            k->first_seconds = known ? fmax(latency + (double)k->bytes / rate - later, 0) : 0;
        }
    }
}

/* Block seconds of a phase, at the levels that were measured, without what copies beside them took. */
static int apply_phase(bool *measured_any, bl_block_figures *figures, const bl_calibration *c,
                       const bl_calibration_key *key, bl_problem *p, int phase, bool *lacking,
                       bl_error *err) {
    bl_problem_phase *f = &p->phases[phase];
    const size_t count = (size_t)p->modules[f->module].block_count;
    const double drag = bl_problem_drag(p);
    unsigned measured = 0; /* bits of levels */
    double *seconds = malloc(2 * count * sizeof *seconds), *beside = seconds + count;
    if (!seconds) {
        return bl_fail_memory(err, "measured times", 2 * count * sizeof *seconds);
    }
    for (int l = 0; l < f->level_count && key->shapes[phase]; l++) {
        if (bl_block_figures_read(figures, key, p, phase, l, seconds, beside)) {
            for (size_t b = 0; b < count; b++) {
                f->levels[l].block_seconds[b] = seconds[b] - drag * beside[b];
            }
            measured |= 1u << l;
        }
        *lacking = *lacking || no_memory(c);
    }
    fill_levels(f, measured, count * sizeof *seconds);
    *measured_any = measured != 0;
    free(seconds);
    return 0;
}

int bl_calibration_apply(const bl_calibration *c, const bl_calibration_key *key, bl_problem *p, int *phases,
                         bl_error *err) {
    bl_block_figures figures;
    int known = 0, rc = 0;
    bool lacking = false; /* memory, within SQLite */
    double latency, rate;
    if (p->async_copy) {
        find_slowdown(c, key, &p->copy_slowdown);
    }
    if (bl_block_figures_open(&figures, c->db, false)) {
        for (int i = 0; i < p->listed_phases && !rc; i++) {
            bool measured = false;
            rc = apply_phase(&measured, &figures, c, key, p, i, &lacking, err);
            known += measured;
        }
    }
    lacking = lacking || no_memory(c);
    bl_block_figures_close(&figures);
    if (rc) {
        return rc;
    }
    if (find_rate(&latency, &rate, c, key, COPIES, !p->has_store)) {
        p->copy_latency = latency;
        p->copy_rate = rate;
        forget_seconds(p, false);
        set_first_seconds(c, key, p);
    }
    if (p->has_store && find_rate(&latency, &rate, c, key, LOADS, true)) {
        p->load_latency = latency;
        p->load_rate = rate;
        forget_seconds(p, true);
    }
    if (lacking || no_memory(c)) {
        return bl_fail(err, BL_E_MEMORY, "out of memory: measured times");
    }
    if (phases) {
        *phases = known;
    }
    return bl_problem_finish(p, err);
}

double bl_calibration_widen_rate(const bl_calibration *c, const bl_calibration_key *key) {
    double latency, rate;
    return fit_copies(c, key, WIDENING, &latency, &rate) ? rate : 0;
}

bool bl_calibration_pass(double *seconds, const bl_calibration *c, const bl_calibration_key *key,
                         const char *module, const char *dtype, double work) {
    double latency, rate;
    bool known = fit(c, key, passes_of(module, dtype), &latency, &rate);
    *seconds = known ? latency + work / rate : 0;
    return known;
}

/* Bytes that were brought in: of a load those of the file, which it is read from. */
static uint64_t brought(const bl_problem *p, const bl_ledger_entry *e, bl_work work) {
    bool packs = work == BL_WORK_LOAD || !p->has_store;
    if (e->work != work || !e->bytes || !(e->seconds > 0) ||
        (packs && p->modules[e->module].blocks[e->block].merge_seconds > 0)) {
        return 0; /* what adapters took is no rate of the disk's */
    }
    uint64_t source = work == BL_WORK_LOAD ? p->modules[e->module].blocks[e->block].source_bytes : 0;
    return source ? source : e->bytes;
}

static bool learn_text(sqlite3_stmt *s, const bl_calibration_key *key, kind_text text, int class,
                       double amount, double seconds) {
    sqlite3_reset(s);
    sqlite3_bind_text(s, 1, key->device, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, text.text, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 3, class);
    sqlite3_bind_double(s, 4, amount);
    sqlite3_bind_double(s, 5, seconds);
    return sqlite3_step(s) == SQLITE_DONE;
}

static bool learn_rate(sqlite3_stmt *s, const bl_calibration_key *key, kind what, int class, double amount,
                       double seconds) {
    return learn_text(s, key, kind_of(key, what), class, amount, seconds);
}

/* What a pass took, but for widening, by its work. */
static bool learn_passes(sqlite3_stmt *s, const bl_calibration_key *key, const bl_problem *p,
                         const bl_plan *plan, const bl_ledger *l) {
    bool fine = true;
    for (int i = 0; i < p->phase_count && fine; i++) {
        const bl_problem_module *m = &p->modules[p->phases[i].module];
        const bl_problem_level *level = &p->phases[i].levels[plan->phases[i].level];
        double seconds = 0;
        int runs = 0;
        for (int k = 0; k < l->count && level->work > 0; k++) {
            const bl_ledger_entry *e = &l->entries[k];
            if (e->work == BL_WORK_COMPUTE && e->phase == i) {
                seconds += e->seconds;
                runs++;
            }
        }
        seconds = runs ? seconds * m->block_count / runs - level->widen_seconds : 0;
        fine = !(seconds > 0) ||
               learn_text(s, key, passes_of(m->name, m->dtype), ilogb(level->work), level->work, seconds);
    }
    return fine;
}

/* One figure for all, whatever the matrices' sizes: widening has no latency worth the name. */
static bool learn_widening(sqlite3_stmt *s, const bl_calibration_key *key, const bl_ledger *l) {
    bool any = l->widened > 0 && l->widen_seconds > 0;
    return !any || learn_rate(s, key, WIDENING, 0, l->widened, l->widen_seconds);
}

/* One piece of reading or copying. */
typedef struct piece {
    double bytes, seconds;
    int class;
} piece;

/* By class, and in a class from the fastest to the slowest. */
static int faster(const void *a, const void *b) {
    const piece *x = a, *y = b;
    const double one = x->seconds * y->bytes, other = y->seconds * x->bytes;
    return x->class != y->class ? x->class - y->class : one < other ? -1 : one > other;
}

/* Of each class the faster half counts: whatever disturbs a piece, as memory that nobody has touched does,
 * makes it longer. */
static bool learn_pieces(sqlite3_stmt *s, const bl_calibration_key *key, kind what, piece *pieces,
                         int count) {
    bool fine = true;
    if (count) {
        qsort(pieces, (size_t)count, sizeof *pieces, faster);
    }
    for (int from = 0, to; from < count && fine; from = to) {
        double bytes = 0, seconds = 0;
        for (to = from; to < count && pieces[to].class == pieces[from].class; to++) {
        }
        const int half = (to - from + 1) / 2;
        for (int i = from; i < from + half; i++) {
            bytes += pieces[i].bytes;
            seconds += pieces[i].seconds;
        }
        fine = learn_rate(s, key, what, pieces[from].class, bytes / half, seconds / half);
    }
    return fine;
}

/* `first`: of those that came for the first time, or of the others. */
static bool learn_copies(sqlite3_stmt *s, const bl_calibration_key *key, const bl_problem *p,
                         const bl_ledger *l, bl_work work, bool first) {
    const bool reads_files = work == BL_WORK_LOAD || !p->has_store;
    piece *pieces = first && !reads_files ? NULL : malloc(((size_t)l->count + 1) * sizeof *pieces);
    int count = 0;
    for (int i = 0; i < l->count && pieces; i++) {
        const bl_ledger_entry *e = &l->entries[i];
        const uint64_t came = brought(p, e, work);
        if (came && (!reads_files || (e->share == BL_SHARE_FIRST_LOAD) == first)) {
            pieces[count++] = (piece){(double)came, e->seconds, 63 - __builtin_clzll(came)};
        }
    }
    bool fine = learn_pieces(s, key, first ? FIRST : work == BL_WORK_LOAD ? LOADS : COPIES, pieces, count);
    free(pieces);
    return fine;
}

/* The old figure and the new one: a quarter of the new, half of it if it is the faster, because whatever
 * disturbs a measurement makes it longer. */
#define FADED(x, faster) "(" x " + (excluded." x " - " x ") * CASE WHEN " faster " THEN 0.5 ELSE 0.25 END)"
#define FASTER_COPY "excluded.seconds * bytes < seconds * excluded.bytes"

int bl_calibration_learn(bl_calibration *c, const bl_calibration_key *key, const bl_problem *p,
                         const bl_plan *plan, const bl_ledger *l, bl_error *err) {
    bl_block_figures figures;
    sqlite3_stmt *copies = NULL;
    double slowdown = p->copy_slowdown;
    int rc = 0;
    bool told = false;
    bool fine =
        bl_block_figures_open(&figures, c->db, true) &&
        sqlite3_prepare_v2(
            c->db,
            "INSERT INTO copies VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET "
            "bytes = CASE WHEN bytes > 0 AND " GOOD_SECONDS " THEN " FADED(
                "bytes", FASTER_COPY) " ELSE excluded.bytes END, "
                                      "seconds = CASE WHEN bytes > 0 AND " GOOD_SECONDS
                                      " THEN " FADED("seconds", FASTER_COPY) " ELSE excluded.seconds END",
            -1, &copies, NULL) == SQLITE_OK &&
        sqlite3_exec(c->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
    if (fine) {
        rc = bl_block_figures_learn(&slowdown, &told, &figures, key, p, plan, l, NULL);
        fine = !rc && (!told || learn_rate(copies, key, SLOWDOWN, 0, 1, slowdown));
        fine = fine && learn_copies(copies, key, p, l, BL_WORK_ONLOAD, false);
        fine = fine && learn_copies(copies, key, p, l, BL_WORK_LOAD, false);
        fine = fine && learn_copies(copies, key, p, l, p->has_store ? BL_WORK_LOAD : BL_WORK_ONLOAD, true);
        fine = fine && learn_widening(copies, key, l);
        fine = fine && learn_passes(copies, key, p, plan, l);
        sqlite3_reset(copies);
        fine = sqlite3_exec(c->db, fine ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK && fine;
    }
    bl_block_figures_close(&figures);
    sqlite3_finalize(copies);
    return fine ? 0
                : bl_fail(err, rc == BL_E_MEMORY || no_memory(c) ? BL_E_MEMORY : BL_E_IO,
                          "the calibration could not be kept: %s",
                          rc == BL_E_MEMORY ? "out of memory" : sqlite3_errmsg(c->db));
}
