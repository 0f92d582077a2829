#include "core/host_memory.h"

#include "core/cgroup.h"
#include "core/lines.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Value of a "Name:  123 kB" line of /proc/meminfo in bytes, or `otherwise`. */
static uint64_t meminfo(const char *name, uint64_t otherwise) {
    bl_lines l;
    char line[256];
    unsigned long long kib;
    size_t length = strlen(name);
    if (!bl_lines_open(&l, "/proc/meminfo")) {
        return otherwise;
    }
    while (bl_lines_next(&l, line, sizeof line)) {
        if (!strncmp(line, name, length) && line[length] == ':' &&
            sscanf(line + length + 1, "%llu", &kib) == 1) {
            otherwise = (uint64_t)kib * 1024;
            break;
        }
    }
    bl_lines_close(&l);
    return otherwise;
}

/* What a limit on the size of the process, or of its data, leaves. */
static void limited(int resource, uint64_t *left, uint64_t *all) {
    struct rlimit r;
    unsigned long long size = 0, data = 0;
    char line[256];
    if (getrlimit(resource, &r) || r.rlim_cur == RLIM_INFINITY) {
        return;
    }
    if (bl_first_line("/proc/self/statm", line, sizeof line)) {
        sscanf(line, "%llu %*u %*u %*u %*u %llu", &size, &data);
    }
    uint64_t taken = (resource == RLIMIT_AS ? size : data) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t rest = r.rlim_cur > taken ? r.rlim_cur - taken : 0;
    *all = r.rlim_cur < *all ? r.rlim_cur : *all;
    *left = rest < *left ? rest : *left;
}

void bl_host_memory(uint64_t *free_bytes, uint64_t *all_bytes) {
    uint64_t all = meminfo("MemTotal", UINT64_MAX), left = meminfo("MemAvailable", all);
    bl_cgroup_memory group = bl_cgroup_memory_of("");
    all = group.limit < all ? group.limit : all;
    left = group.left < left ? group.left : left;
    limited(RLIMIT_AS, &left, &all);
    limited(RLIMIT_DATA, &left, &all);
    *free_bytes = left;
    *all_bytes = all;
}
