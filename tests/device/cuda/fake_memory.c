/* The memory of the fake cards, and pinned memory: malloc's, with guard zones, full of NaN. */
#include "fake_state.h"

#include <string.h>

#define GUARD 512
#define ALIGN 256u
#define GUARD_BYTE 0xa7
#define PINNED_FILLED (4u << 20) /* of pinned memory, much of which is never used */

static uint64_t all_memory(void) {
    return fake.script.memory ? fake.script.memory : FAKE_MEMORY;
}

static bl_cu_result allocate(void **out, size_t bytes, int card) {
    fake_allocation *a = fake_new(sizeof *a);
    void *block = fake_memory(bytes + 2 * GUARD + ALIGN);
    if (!a || !block) {
        fake_free(a);
        fake_give_back(block);
        return BL_CU_NO_MEMORY;
    }
    unsigned char *p = (unsigned char *)block + (ALIGN - (uintptr_t)block % ALIGN) % ALIGN;
    memset(p, GUARD_BYTE, GUARD);
    /* NaN in every type */
    memset(p + GUARD, 0xff, card < 0 && bytes > PINNED_FILLED ? PINNED_FILLED : bytes);
    memset(p + GUARD + bytes, GUARD_BYTE, GUARD);
    *a = (fake_allocation){
        .next = fake.allocations, .block = block, .memory = p + GUARD, .bytes = bytes, .card = card};
    fake.allocations = a;
    *out = a->memory;
    return 0;
}

static void check_guards(const fake_allocation *a) {
    for (size_t i = 0; i < GUARD; i++) {
        if (a->memory[-1 - (ptrdiff_t)i] != GUARD_BYTE || a->memory[a->bytes + i] != GUARD_BYTE) {
            fake.fault = a->card < 0 ? "bytes beside pinned memory were written"
                                     : "bytes beside device memory were written";
        }
    }
}

const char *fake_end(void) {
    for (const fake_allocation *a = fake.allocations; a; a = a->next) {
        check_guards(a);
    }
    return fake.fault ? fake.fault : fake.open ? "something is still open" : NULL;
}

static bl_cu_result release(void *memory) {
    fake_outside_steps("memory is freed");
    fake_run_all();
    for (fake_allocation **p = &fake.allocations; *p; p = &(*p)->next) {
        fake_allocation *a = *p;
        if (a->memory == memory) {
            check_guards(a);
            if (a->card >= 0) {
                fake.used[a->card] -= a->bytes;
            }
            *p = a->next;
            fake_give_back(a->block);
            fake_free(a);
            return 0;
        }
    }
    fake.fault = "memory was freed that was not allocated";
    return 1;
}

/* Whether the bytes lie in memory of this card, -1: in pinned memory; notes where a card's own do not. */
static bool lies_in(const void *p, size_t bytes, int card) {
    const unsigned char *b = p;
    for (const fake_allocation *a = fake.allocations; a; a = a->next) {
        if (a->card == card && b >= a->memory && b + bytes <= a->memory + a->bytes) {
            return true;
        }
    }
    fake.fault = card < 0 ? fake.fault : "a copy leaves the card's memory";
    return false;
}

typedef struct copying {
    void *to;
    const void *from;
    size_t bytes;
} copying;

static void copy(void *payload) {
    const copying *c = payload;
    memcpy(c->to, c->from, c->bytes);
}

/* What is not pinned is copied at once, behind all that lies before it. */
static bl_cu_result put_copy(struct CUstream_st *s, copying c, const void *host) {
    if (lies_in(host, c.bytes, -1)) {
        return fake_put(s, copy, &c, sizeof c);
    }
    if (!fake.script.refuse_pinned) {
        fake_outside_steps("a copy makes the caller wait");
    }
    fake_run_until_empty(s);
    if (!fake.dead[fake.current]) {
        copy(&c);
    }
    return fake.dead[fake.current] ? BL_CU_BAD_ADDRESS : 0;
}

static bl_cu_result mem_alloc(bl_cu_pointer *out, size_t bytes) {
    bl_cu_result r = fake_enter();
    void *p = NULL;
    fake_outside_steps("memory is allocated");
    r = r                                                ? r
        : bytes > all_memory() - fake.used[fake.current] ? BL_CU_NO_MEMORY
                                                         : allocate(&p, bytes, fake.current);
    fake.used[fake.current] += r ? 0 : bytes;
    *out = (bl_cu_pointer)(uintptr_t)p;
    return r;
}

static bl_cu_result mem_free(bl_cu_pointer p) {
    return release((void *)(uintptr_t)p);
}

static bl_cu_result mem_host_alloc(void **out, size_t bytes, unsigned flags) {
    (void)flags;
    bl_cu_result r = fake_enter();
    uint64_t most = fake.script.pinned_most ? fake.script.pinned_most : 4096;
    fake_outside_steps("memory is pinned");
    return r ? r : fake.script.refuse_pinned && bytes > most ? BL_CU_NO_MEMORY : allocate(out, bytes, -1);
}

static bl_cu_result mem_get_info(size_t *left, size_t *all) {
    bl_cu_result r = fake_enter();
    *all = all_memory();
    *left = *all - fake.used[fake.current];
    return r;
}

void fake_take_own(uint64_t bytes) {
    uint64_t left = all_memory() - fake.used[fake.current];
    bytes = bytes < left ? bytes : left;
    fake.used[fake.current] += bytes;
    fake.own[fake.current] += bytes;
}

static bl_cu_result copy_to_card(bl_cu_pointer to, const void *from, size_t bytes, bl_cu_stream s) {
    bl_cu_result r = fake_enter();
    void *p = (void *)(uintptr_t)to;
    r = r ? r : lies_in(p, bytes, fake.current) ? 0 : 1;
    return r ? r : put_copy(s, (copying){p, from, bytes}, from);
}

static bl_cu_result copy_to_host(void *to, bl_cu_pointer from, size_t bytes, bl_cu_stream s) {
    bl_cu_result r = fake_enter();
    const void *p = (const void *)(uintptr_t)from;
    r = r ? r : lies_in(p, bytes, fake.current) ? 0 : 1;
    return r ? r : put_copy(s, (copying){to, p, bytes}, to);
}

void fake_memory_entries(bl_cuda_driver *cu) {
    cu->cuMemGetInfo = mem_get_info;
    cu->cuMemAlloc = mem_alloc;
    cu->cuMemFree = mem_free;
    cu->cuMemHostAlloc = mem_host_alloc;
    cu->cuMemFreeHost = release;
    cu->cuMemcpyHtoDAsync = copy_to_card;
    cu->cuMemcpyDtoHAsync = copy_to_host;
}
