#include "core/ask.h"

#include <sys/mman.h>

/* Not by malloc: it may have kept what was freed, while kernels' code and threads' stacks are mapped. */
int bl_ask_memory(size_t bytes, const char *for_what, bl_error *err) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return bl_fail_memory(err, for_what, bytes);
    }
    munmap(p, bytes);
    return 0;
}
