/* The fake cards themselves, and the table of their driver. */
#include "fake_state.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

_Thread_local long long fake_block;
unsigned fake_order;
fake_state fake;

uint64_t fake_draw(void) {
    fake.random ^= fake.random << 13;
    fake.random ^= fake.random >> 7;
    fake.random ^= fake.random << 17;
    return fake.random;
}

bool fake_fails(void) {
    return ++fake.calls == fake.script.fail;
}

/* The system's own functions, beside what a test has put before them. */
static union {
    void *symbol;
    void *(*take)(size_t, size_t);
} take;

static union {
    void *symbol;
    void (*give)(void *);
} give;

__attribute__((constructor)) static void find_memory(void) {
    take.symbol = dlsym(RTLD_DEFAULT, "calloc");
    give.symbol = dlsym(RTLD_DEFAULT, "free");
}

void *fake_memory(size_t bytes) {
    return take.take(1, bytes);
}

void fake_give_back(void *p) {
    give.give(p);
}

void *fake_new(size_t bytes) {
    void *p = fake_memory(bytes);
    fake.open += p != NULL;
    return p;
}

void fake_free(void *p) {
    fake.open -= p != NULL;
    fake_give_back(p);
}

/* For calls into the context. */
bl_cu_result fake_enter(void) {
    return fake_fails() ? BL_CU_UNKNOWN - 1 : fake.dead[fake.current] ? BL_CU_BAD_ADDRESS : 0;
}

bl_cu_result fake_card_fails(void) {
    return fake_fails() ? 3 : 0;
}

bool fake_is_stepping(void) {
    return fake.stepping;
}

void fake_outside_steps(const char *what) {
    bool failed = fake.script.fail && fake.calls >= fake.script.fail;
    if (fake.stepping && !failed && !fake.dead[fake.current]) {
        static char fault[96];
        snprintf(fault, sizeof fault, "%s between the first step and the last", what);
        fake.fault = fault;
    }
}

static bl_cu_result init(unsigned flags) {
    (void)flags;
    return fake_card_fails();
}

static bl_cu_result driver_version(int *version) {
    *version = fake.script.driver ? fake.script.driver : 13000;
    return 0;
}

static bl_cu_result device_count(int *count) {
    *count = FAKE_CARDS;
    return fake_card_fails();
}

static bl_cu_result device_get(bl_cu_device *out, int number) {
    *out = number;
    return fake_card_fails();
}

static bl_cu_result device_name(char *name, int bytes, bl_cu_device d) {
    snprintf(name, (size_t)bytes, "Fake card %d", d);
    return fake_card_fails();
}

static bl_cu_result device_attribute(int *value, bl_cu_attribute which, bl_cu_device d) {
    int sm = d ? fake.script.second_sm : fake.script.sm;
    sm = sm ? sm : d ? 75 : 90;
    switch ((int)which) {
    case BL_CU_MAJOR:
        *value = sm / 10;
        break;
    case BL_CU_MINOR:
        *value = sm % 10;
        break;
    case BL_CU_CLOCK: /* kHz */
    case BL_CU_MEMORY_CLOCK:
        *value = 1000000;
        break;
    case BL_CU_BUS_WIDTH:
        *value = 256;
        break;
    default:
        *value = 4;
    }
    return fake_card_fails();
}

static bl_cu_result device_memory(size_t *bytes, bl_cu_device d) {
    (void)d;
    *bytes = fake.script.memory ? fake.script.memory : FAKE_MEMORY;
    return fake_card_fails();
}

/* A card's one context is an address of its own. */
static bl_cu_result context_retain(bl_cu_context *out, bl_cu_device d) {
    *out = (bl_cu_context)(void *)&fake.retained[d];
    if (fake_fails()) {
        return BL_CU_NO_MEMORY;
    }
    fake.open++;
    fake.retained[d]++;
    return 0;
}

static bl_cu_result context_release(bl_cu_device d) {
    fake.open--;
    if (!--fake.retained[d]) {
        fake.used[d] -= fake.own[d];
        fake.own[d] = 0;
    }
    return 0;
}

static bl_cu_result context_reset(bl_cu_device d) {
    if (fake.retained[d]) {
        fake.fault = "a context is reset that somebody has";
    }
    fake.dead[d] = false;
    return 0;
}

static bl_cu_result context_set(bl_cu_context c) {
    for (int i = 0; i < FAKE_CARDS; i++) {
        fake.current = (void *)c == (void *)&fake.retained[i] ? i : fake.current;
    }
    return fake_card_fails();
}

static bl_cu_result priorities(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return fake_card_fails();
}

static bl_cu_result error_name(bl_cu_result r, const char **name) {
    *name = r == BL_CU_BAD_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_SCRIPTED";
    return 0;
}

/* ---- the tables */

static bl_cuda_libs libs = {
    .cu = {.cuInit = init,
           .cuDriverGetVersion = driver_version,
           .cuDeviceGetCount = device_count,
           .cuDeviceGet = device_get,
           .cuDeviceGetName = device_name,
           .cuDeviceGetAttribute = device_attribute,
           .cuDeviceTotalMem = device_memory,
           .cuDevicePrimaryCtxRetain = context_retain,
           .cuDevicePrimaryCtxRelease = context_release,
           .cuDevicePrimaryCtxReset = context_reset,
           .cuCtxSetCurrent = context_set,
           .cuCtxGetStreamPriorityRange = priorities,
           .cuLaunchKernel = fake_launch_kernel,
           .cuModuleLoadData = fake_module_load,
           .cuModuleUnload = fake_module_unload,
           .cuModuleGetFunction = fake_module_function,
           .cuGetErrorName = error_name},
    .driver = 13000,
    .cudnn = 91900,
    .cublaslt = 130100,
    .nvrtc = 1300,
};

bool fake_is_open(void) {
    return fake.open > 0;
}

const bl_cuda_libs *fake_libs(void) {
    return &libs;
}

const bl_cuda_libs *fake_begin(const fake_script *script) {
    memset(&fake, 0, sizeof fake);
    fake.script = *script;
    fake.random = script->seed * 0x9e3779b97f4a7c15u + 0x853c49e6748fea9bu;
    fake_memory_entries(&libs.cu);
    fake_stream_entries(&libs.cu);
    libs.dnn = fake_cudnn;
    libs.lt = fake_cublaslt;
    libs.rtc = script->no_nvrtc ? (bl_nvrtc){0} : fake_nvrtc;
    libs.nvrtc = script->no_nvrtc ? 0 : 1300;
    return &libs;
}

int fake_calls(void) {
    return fake.calls;
}

int fake_works(void) {
    return fake.works;
}

int fake_waits(void) {
    return fake.waits;
}

int fake_graphs(void) {
    return fake.graphs;
}
