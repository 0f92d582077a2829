#include "device/cpu/internal.h"

#include "core/checked.h"
#include "core/host_memory.h"
#include "core/size_text.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE (2u << 20)

uint64_t bl_cpu_region_room(uint64_t free_bytes) {
    return free_bytes - free_bytes / 400; /* 8 bytes for each 4096, and the tables of tables */
}

int bl_cpu_region_open(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err) {
    *out = NULL;
    (void)d;
    uint64_t left, all, size = bl_align_up(bytes ? bytes : 1, BL_ALIGN);
    bl_host_memory(&left, &all);
    left = bl_cpu_region_room(left);
    /* The system would rather kill us later than refuse now, so what is known is asked first. */
    if (bytes > left || bytes > SIZE_MAX - HUGE_PAGE) {
        return bl_fail(err, BL_E_MEMORY, "%s of memory are needed, but only %s are free",
                       bl_size_of(bytes).text, bl_size_of(left).text);
    }
    bl_region *r = calloc(1, sizeof *r);
    if (!r) {
        return bl_fail_memory(err, "a region", sizeof *r);
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    r->bytes = bl_align_up(size, page);
    void *p = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        free(r);
        return bl_fail_memory(err, "weights and activations", bytes);
    }
    if (size >= HUGE_PAGE) {
        (void)madvise(p, r->bytes, MADV_HUGEPAGE); /* a wish: fewer TLB misses where it is granted */
    }
    r->base = p;
    r->host.region = r;
    *out = r;
    return 0;
}

void bl_cpu_region_used(bl_region *r, bl_region_use *out) {
    out->end = bl_align_up(r->used.end, BL_ALIGN);
    out->arena = bl_align_up(r->used.arena, BL_ALIGN);
    r->used = (bl_region_use){0};
}

bl_host *bl_cpu_region_host(bl_region *r) {
    return &r->host;
}

void bl_cpu_region_close(bl_region *r) {
    if (r) {
        munmap(r->base, r->bytes);
        free(r);
    }
}
