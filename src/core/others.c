#include "core/others.h"

#include "core/lines.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LEAST_SECONDS 0.5 /* of processors: fifty ticks, of which few are cut off */

bool bl_others_line(const char *line, int *processor, double *busy, double *all) {
    /* user nice system idle iowait irq softirq steal; guests are in user */
    double t[8] = {0};
    int n = strncmp(line, "cpu", 3) || line[3] < '0' || line[3] > '9' /* "cpu " is all of them */
                ? 0
                : sscanf(line, "cpu%d %lf %lf %lf %lf %lf %lf %lf %lf", processor, &t[0], &t[1], &t[2], &t[3],
                         &t[4], &t[5], &t[6], &t[7]);
    if (n < 5 || *processor < 0) {
        return false;
    }
    *busy = t[0] + t[1] + t[2] + t[5] + t[6] + t[7];
    *all = *busy + t[3] + t[4];
    return true;
}

bool bl_others_now(bl_others *out) {
    cpu_set_t allowed;
    struct timespec own;
    bl_lines l;
    char line[256];
    double busy, all, tick = (double)sysconf(_SC_CLK_TCK);
    int processor;
    *out = (bl_others){0};
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own) ||
        !bl_lines_open(&l, "/proc/stat")) {
        return false;
    }
    while (bl_lines_next(&l, line, sizeof line)) {
        if (bl_others_line(line, &processor, &busy, &all) && processor < CPU_SETSIZE &&
            CPU_ISSET(processor, &allowed)) {
            out->busy += busy / tick;
            out->all += all / tick;
        }
    }
    bl_lines_close(&l);
    out->own = (double)own.tv_sec + (double)own.tv_nsec * 1e-9;
    return out->all > 0;
}

double bl_others_between(const bl_others *from, const bl_others *to) {
    double all = to->all - from->all, share = (to->busy - from->busy - (to->own - from->own)) / all;
    return from->all > 0 && all > LEAST_SECONDS && share > 0 ? share < 1 ? share : 1 : 0;
}
