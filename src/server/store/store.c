#include "server/store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* `state`: queued, running, done, failed, cancelled. `n` counts jobs, and pictures, in the order in which
 * they came. */
static const char schema[] =
    "CREATE TABLE IF NOT EXISTS jobs(n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL,"
    " source TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, started REAL, ended REAL,"
    " place REAL NOT NULL, priority INTEGER NOT NULL, request TEXT NOT NULL, asked TEXT, idempotency TEXT "
    "UNIQUE,"
    " init BLOB, error TEXT, status INTEGER, report TEXT, warnings TEXT);"
    "CREATE INDEX IF NOT EXISTS jobs_state ON jobs(state);"
    "CREATE TABLE IF NOT EXISTS pictures(n INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL,"
    " number INTEGER NOT NULL, seed TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,"
    " file TEXT NOT NULL, bytes INTEGER NOT NULL, parameters TEXT NOT NULL, created REAL NOT NULL,"
    " UNIQUE(job, number));"
    "CREATE TABLE IF NOT EXISTS settings(key TEXT PRIMARY KEY, value TEXT NOT NULL);";

static int store_add(void *self, const struct kept_job *j, struct problem *p) {
    struct store *s = self;
    pthread_mutex_lock(&s->lock);
    int status =
        sql_run(s, p,
                "INSERT INTO jobs(id, source, state, created, place, priority, request, asked, idempotency,"
                " init, warnings) VALUES(?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?)",
                "ttddittt"
                "bt",
                j->id, j->source, j->created, j->place, (int64_t)j->priority, j->request, j->asked,
                j->idempotency, j->init, j->init_bytes, j->warnings);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static int store_find_idempotency(void *self, const char *key, char id[JOB_ID], struct problem *p) {
    struct store *s = self;
    *id = 0;
    pthread_mutex_lock(&s->lock);
    sqlite3_stmt *q = sql_prepare(s, p, "SELECT id FROM jobs WHERE idempotency = ?", "t", key);
    int step = q ? sql_step(s, q, p) : -1;
    if (step > 0) {
        snprintf(id, JOB_ID, "%s", (const char *)sqlite3_column_text(q, 0));
    }
    sqlite3_finalize(q);
    pthread_mutex_unlock(&s->lock);
    return step < 0 ? 500 : 0;
}

static int store_start(void *self, const char *id, double started, struct problem *p) {
    struct store *s = self;
    pthread_mutex_lock(&s->lock);
    int status =
        sql_run(s, p, "UPDATE jobs SET state = 'running', started = ? WHERE id = ?", "dt", started, id);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static int store_end(void *self, const char *id, const struct kept_end *e, struct problem *p) {
    struct store *s = self;
    pthread_mutex_lock(&s->lock);
    int status =
        sql_run(s, p,
                "UPDATE jobs SET state = ?, ended = ?, error = ?, status = ?, report = ?,"
                " warnings = coalesce(?, warnings), init = NULL WHERE id = ?",
                "tdtittt", e->state, e->ended, e->error, (int64_t)e->status, e->report, e->warnings, id);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static int store_place(void *self, const char *id, double place, int priority, struct problem *p) {
    struct store *s = self;
    pthread_mutex_lock(&s->lock);
    int status = sql_run(s, p, "UPDATE jobs SET place = ?, priority = ? WHERE id = ?", "dit", place,
                         (int64_t)priority, id);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static int store_request(void *self, const char *id, json_t **request, char **init, size_t *init_bytes,
                         struct problem *p) {
    struct store *s = self;
    *request = NULL;
    *init = NULL;
    *init_bytes = 0;
    pthread_mutex_lock(&s->lock);
    sqlite3_stmt *q = sql_prepare(s, p, "SELECT request, init FROM jobs WHERE id = ?", "t", id);
    int step = q ? sql_step(s, q, p) : -1, status = step < 0 ? 500 : 0;
    if (!step) {
        status = problem_set(p, 404, NULL, "there is no job %s", id);
    } else if (step > 0) {
        int bytes = sqlite3_column_bytes(q, 1);
        *request = sql_json(q, 0, 'j');
        if (bytes > 0 && (*init = malloc((size_t)bytes))) {
            memcpy(*init, sqlite3_column_blob(q, 1), (size_t)bytes);
            *init_bytes = (size_t)bytes;
        }
        if (!*request || (bytes > 0 && !*init)) {
            status = problem_set(p, 500, NULL, "job %s cannot be read back", id);
        }
    }
    sqlite3_finalize(q);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static int store_waiting(void *self, json_t **list, struct problem *p) {
    struct store *s = self;
    json_t *out = json_array();
    *list = NULL;
    pthread_mutex_lock(&s->lock);
    int status =
        sql_run(s, p, "UPDATE jobs SET state = 'queued', started = NULL WHERE state = 'running'", "");
    sqlite3_stmt *q =
        status ? NULL
               : sql_prepare(s, p,
                             "SELECT id, place, priority, created, request FROM jobs WHERE state = 'queued'"
                             " ORDER BY priority DESC, place, n",
                             "");
    int step = q ? 1 : -1;
    while (q && (step = sql_step(s, q, p)) > 0) {
        json_array_append_new(out, json_pack("{s:o, s:o, s:o, s:o, s:o}", "id", sql_json(q, 0, 't'), "place",
                                             sql_json(q, 1, 'd'), "priority", sql_json(q, 2, 'i'), "created",
                                             sql_json(q, 3, 'd'), "request", sql_json(q, 4, 'j')));
    }
    sqlite3_finalize(q);
    pthread_mutex_unlock(&s->lock);
    if (step < 0) {
        json_decref(out);
        return status ? status : 500;
    }
    *list = out;
    return 0;
}

static int store_get_setting(void *self, const char *key, char **value, struct problem *p) {
    struct store *s = self;
    *value = NULL;
    pthread_mutex_lock(&s->lock);
    sqlite3_stmt *q = sql_prepare(s, p, "SELECT value FROM settings WHERE key = ?", "t", key);
    int step = q ? sql_step(s, q, p) : -1;
    if (step > 0) {
        *value = strdup((const char *)sqlite3_column_text(q, 0));
    }
    sqlite3_finalize(q);
    pthread_mutex_unlock(&s->lock);
    return step < 0 ? 500 : 0;
}

static int store_set_setting(void *self, const char *key, const char *value, struct problem *p) {
    struct store *s = self;
    pthread_mutex_lock(&s->lock);
    int status = sql_run(
        s, p, "INSERT INTO settings VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value", "tt",
        key, value);
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* The folders, and this process' lock on them. */
static int open_folder(struct store *s, const char *data, struct problem *p) {
    if (asprintf(&s->pictures, "%s/pictures", data) < 0) {
        s->pictures = NULL;
        return problem_set(p, 500, NULL, "out of memory");
    }
    if ((mkdir(data, 0700) && errno != EEXIST) || (mkdir(s->pictures, 0700) && errno != EEXIST)) {
        return problem_set(p, 400, "data", "%s: it cannot be made: %s", data, strerror(errno));
    }
    s->folder = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->folder < 0) {
        return problem_set(p, 400, "data", "%s: %s", data, strerror(errno));
    }
    if (flock(s->folder, LOCK_EX | LOCK_NB)) {
        return problem_set(p, 400, "data", "%s: another server uses it; give each a folder of its own", data);
    }
    return 0;
}

static int open_database(struct store *s, const char *data, struct problem *p) {
    char *path = NULL, *message = NULL;
    if (asprintf(&path, "%s/ballast.db", data) < 0) {
        return problem_set(p, 500, NULL, "out of memory");
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* nobody else's to read, whatever the umask */
    if (fd >= 0) {
        close(fd);
    }
    int rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                             NULL);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(s->db, 5000);
        rc = sqlite3_exec(s->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;", NULL, NULL,
                          &message);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(s->db, schema, NULL, NULL, &message);
    }
    int status = rc == SQLITE_OK
                     ? 0
                     : problem_set(p, 400, "data", "%s: %s", path, message ? message : sqlite3_errmsg(s->db));
    sqlite3_free(message);
    free(path);
    return status;
}

int store_open(struct store **out, const char *data, struct keeper *keeper, struct problem *p) {
    *out = NULL;
    struct store *s = calloc(1, sizeof *s);
    if (!s) {
        return problem_set(p, 500, NULL, "out of memory");
    }
    s->folder = -1;
    pthread_mutex_init(&s->lock, NULL);
    int status = open_folder(s, data, p);
    status = status ? status : open_database(s, data, p);
    if (status) {
        store_close(&s);
        return status;
    }
    store_sweep(s);
    *keeper = (struct keeper){.self = s,
                              .add = store_add,
                              .find_idempotency = store_find_idempotency,
                              .start = store_start,
                              .end = store_end,
                              .place = store_place,
                              .add_picture = store_add_picture,
                              .request = store_request,
                              .waiting = store_waiting,
                              .job = store_job,
                              .jobs = store_jobs,
                              .history = store_history,
                              .forget = store_forget,
                              .picture = store_picture,
                              .retain = store_retain,
                              .get_setting = store_get_setting,
                              .set_setting = store_set_setting};
    *out = s;
    return 0;
}

void store_close(struct store **store) {
    struct store *s = *store;
    if (s) {
        sqlite3_close(s->db);
        if (s->folder >= 0) {
            close(s->folder);
        }
        free(s->pictures);
        pthread_mutex_destroy(&s->lock);
        free(s);
    }
    *store = NULL;
}
