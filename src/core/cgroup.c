#include "core/cgroup.h"

#include "core/lines.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LINE 4096

typedef struct hierarchy {
    bool unified;     /* version 2 */
    char mount[LINE]; /* where it is seen */
    char root[LINE];  /* the group that is seen there: not always the topmost */
    char group[LINE]; /* this process's, from the topmost */
} hierarchy;

/* Asks one group, a folder; the limits are lowered by what it says. */
typedef void ask_fn(void *limits, const char *folder, bool unified);

static bool open_in(bl_lines *l, const char *folder, const char *name) {
    char path[4 * LINE];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n < (int)sizeof path && bl_lines_open(l, path);
}

/* "\040" is a blank. */
static void unescape(char *text) {
    char *to = text;
    for (const char *p = text; *p; to++) {
        bool octal = *p == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' && p[3] >= '0' &&
                     p[3] <= '7';
        *to = octal ? (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + p[3] - '0') : *p;
        p += octal ? 4 : 1;
    }
    *to = 0;
}

/* Is `name` one of the words of a list with commas? */
static bool lists(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *p = list; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (!strncmp(p, name, n) && (!p[n] || p[n] == ',')) {
            return true;
        }
    }
    return false;
}

/* The process's group: "0::/a/b" of version 2, "4:cpu,cpuacct:/a/b" of version 1. */
static bool find_group(char *group, const char *root, const char *controller, bool unified) {
    char line[LINE];
    bool found = false;
    bl_lines l;
    if (!open_in(&l, root, "proc/self/cgroup")) {
        return false;
    }
    while (!found && bl_lines_next(&l, line, sizeof line)) {
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (path) {
            *path++ = 0;
            found = unified ? !strcmp(line, "0:") : lists(list + 1, controller);
            memmove(group, path, strlen(path) + 1);
        }
    }
    bl_lines_close(&l);
    return found;
}

/* "29 23 0:26 /root /mount rw,nosuid - cgroup cgroup rw,memory": is that where the controller is seen? */
static bool read_mount(hierarchy *h, char *line, const char *controller) {
    char *tail = strstr(line, " - "), type[16], options[LINE], root[LINE], mount[LINE];
    if (!tail || sscanf(line, "%*s %*s %*s %4095s %4095s", root, mount) != 2 ||
        sscanf(tail, " - %15s %*s %4095s", type, options) != 2) {
        return false;
    }
    h->unified = !strcmp(type, "cgroup2");
    if (!h->unified && (strcmp(type, "cgroup") != 0 || !lists(options, controller))) {
        return false;
    }
    unescape(root);
    unescape(mount);
    memcpy(h->root, root, sizeof root);
    memcpy(h->mount, mount, sizeof mount);
    return true;
}

/* The group's path below the one that is seen at the mount; "" where it is not below it, as of a process that
 * was moved out of a container's namespace: then the mount itself is all that can be asked. */
static const char *below_mount(const hierarchy *h) {
    size_t n = strcmp(h->root, "/") ? strlen(h->root) : 0;
    bool inside = !strncmp(h->group, h->root, n) && h->group[n] == '/' && !strstr(h->group, "/..");
    return inside ? h->group + n : "";
}

/* From the process's own group up to the highest that is seen. */
static void ask_parents(const hierarchy *h, const char *root, ask_fn *ask, void *limits) {
    char folder[3 * LINE];
    size_t top = strlen(root) + strlen(h->mount);
    if (snprintf(folder, sizeof folder, "%s%s%s", root, h->mount, below_mount(h)) >= (int)sizeof folder) {
        return;
    }
    for (char *end = folder + strlen(folder);; end = strrchr(folder, '/')) {
        if (!end || end < folder + top) {
            break;
        }
        *end = 0;
        ask(limits, folder, h->unified);
    }
}

static void ask_all(const char *root, const char *controller, ask_fn *ask, void *limits) {
    char line[LINE];
    hierarchy h;
    bl_lines l;
    if (!open_in(&l, root, "proc/self/mountinfo")) {
        return;
    }
    while (bl_lines_next(&l, line, sizeof line)) {
        if (read_mount(&h, line, controller) && find_group(h.group, root, controller, h.unified)) {
            ask_parents(&h, root, ask, limits);
        }
    }
    bl_lines_close(&l);
}

/* ---- memory */

static bool line_in(const char *folder, const char *name, char *line, size_t room) {
    bl_lines l;
    bool found = open_in(&l, folder, name);
    if (found) {
        found = bl_lines_next(&l, line, room);
        bl_lines_close(&l);
    }
    return found;
}

static uint64_t number_in(const char *folder, const char *name, uint64_t otherwise) {
    char line[64];
    unsigned long long v;
    bool found =
        line_in(folder, name, line, sizeof line) && sscanf(line, "%llu", &v) == 1; /* "max" is none */
    return found ? v : otherwise;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Pages of files, of the group and those below it; *limit is lowered to what version 1 says of groups that
 * cannot be seen from here. */
static uint64_t read_stat(uint64_t *limit, const char *folder, bool unified) {
    char line[128], name[64];
    unsigned long long v;
    uint64_t files = 0;
    bl_lines l;
    if (!open_in(&l, folder, "memory.stat")) {
        return 0;
    }
    while (bl_lines_next(&l, line, sizeof line)) {
        if (sscanf(line, "%63s %llu", name, &v) != 2) {
            continue;
        }
        const char *plain = unified ? name : strncmp(name, "total_", 6) ? "" : name + 6;
        if (!strcmp(plain, "inactive_file") || !strcmp(plain, "active_file")) {
            files += v;
        } else if (!strcmp(name, "hierarchical_memory_limit")) {
            *limit = least(*limit, v);
        }
    }
    bl_lines_close(&l);
    return files;
}

static void ask_memory(void *limits, const char *folder, bool unified) {
    bl_cgroup_memory *m = limits;
    uint64_t limit = number_in(folder, unified ? "memory.max" : "memory.limit_in_bytes", UINT64_MAX), used;
    if (unified) { /* above memory.high a process is not killed, but stands still */
        limit = least(limit, number_in(folder, "memory.high", UINT64_MAX));
    }
    uint64_t files = read_stat(&limit, folder, unified);
    if (limit >= 1ull << 62) { /* what version 1 says where there is none */
        return;
    }
    used = number_in(folder, unified ? "memory.current" : "memory.usage_in_bytes", 0);
    used = used > files ? used - files : 0;
    m->limit = least(m->limit, limit);
    m->left = least(m->left, limit > used ? limit - used : 0);
}

bl_cgroup_memory bl_cgroup_memory_of(const char *root) {
    bl_cgroup_memory m = {UINT64_MAX, UINT64_MAX};
    ask_all(root, "memory", ask_memory, &m);
    return m;
}

/* ---- processors */

static void ask_cores(void *limits, const char *folder, bool unified) {
    double *cores = limits, quota = 0, period = 0;
    char line[128];
    if (line_in(folder, unified ? "cpu.max" : "cpu.cfs_quota_us", line, sizeof line) &&
        sscanf(line, "%lf %lf", &quota, &period) < 1) { /* "max 100000" */
        quota = 0;
    }
    if (!unified) {
        period = (double)number_in(folder, "cpu.cfs_period_us", 0);
    }
    if (quota > 0 && period > 0) { /* -1: version 1 has none */
        *cores = fmin(*cores, quota / period);
    }
}

double bl_cgroup_cores_of(const char *root) {
    double cores = INFINITY;
    ask_all(root, "cpu", ask_cores, &cores);
    return cores;
}
