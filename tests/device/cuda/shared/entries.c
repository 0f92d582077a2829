/* The fake as one shared object with the entries' own names: under the names of NVIDIA's four libraries it is
 * what the plugin looks for and opens. BALLAST_FAKE_DRIVER: the CUDA version that its driver is for. */
#include "fake.h"

#include <stdlib.h>
#include <string.h>

/* Each entry jumps through a pointer of its own to what the table has. */
#define ENTRY(name, result, parameters)                                                      \
    extern void *fake_entry_##name;                                                          \
    __attribute__((visibility("hidden"))) void *fake_entry_##name;                           \
    __asm__(".pushsection .text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" \
            "jmp *fake_entry_" #name "(%rip)\n.popsection");
BL_CUDA_DRIVER(ENTRY)
BL_CUDNN(ENTRY)
BL_CUBLASLT(ENTRY)
BL_NVRTC(ENTRY)
#undef ENTRY

__attribute__((constructor)) static void begin(void) {
    const char *driver = getenv("BALLAST_FAKE_DRIVER");
    fake_script script = {.seed = 1, .driver = driver ? atoi(driver) : 0};
    const bl_cuda_libs *l = fake_begin(&script);
#define FROM(table, name) memcpy(&fake_entry_##name, &l->table.name, sizeof(void *));
#define ENTRY(name, result, parameters) FROM(cu, name)
    BL_CUDA_DRIVER(ENTRY)
#undef ENTRY
#define ENTRY(name, result, parameters) FROM(dnn, name)
    BL_CUDNN(ENTRY)
#undef ENTRY
#define ENTRY(name, result, parameters) FROM(lt, name)
    BL_CUBLASLT(ENTRY)
#undef ENTRY
#define ENTRY(name, result, parameters) FROM(rtc, name)
    BL_NVRTC(ENTRY)
#undef ENTRY
}

__attribute__((visibility("default"))) bl_cu_get_entry cuGetProcAddress_v2;

bl_cu_result cuGetProcAddress_v2(const char *name, void **entry, int version, uint64_t flags,
                                 bl_cu_symbol *found) {
    (void)flags, (void)found;
    *entry = NULL;
#define ENTRY(entry_name, result, parameters) \
    *entry = strcmp(name, #entry_name) ? *entry : fake_entry_##entry_name;
    BL_CUDA_DRIVER(ENTRY)
#undef ENTRY
    return *entry && version == BL_CU_VERSION ? 0 : BL_CU_NOT_FOUND;
}
