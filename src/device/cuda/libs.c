#include "device/cuda/libs.h"

#include "device/cuda/kernels_text.h"

#include <dlfcn.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_CUDNN 91501 /* before it attention over lengths that are no multiple of 128 was wrong */
#define LEAST_CUDA 12     /* of cuBLASLt and NVRTC */
#define NEWEST_CUDA 13
#define INSTALL "run `make cuda-libs`, or point BALLAST_CUDA_LIBS at a folder that has them"

typedef struct entry {
    const char *name;
    size_t at; /* in its table */
} entry;

#define ENTRY(entry_name, result, parameters) {#entry_name, offsetof(TABLE, entry_name)},
#define TABLE bl_cuda_driver
static const entry driver_entries[] = {BL_CUDA_DRIVER(ENTRY)};
#undef TABLE
#define TABLE bl_cudnn
static const entry cudnn_entries[] = {BL_CUDNN(ENTRY)};
#undef TABLE
#define TABLE bl_cublaslt
static const entry cublaslt_entries[] = {BL_CUBLASLT(ENTRY)};
#undef TABLE
#define TABLE bl_nvrtc
static const entry nvrtc_entries[] = {BL_NVRTC(ENTRY)};
#undef TABLE
#define COUNT(list) (sizeof(list) / sizeof *(list))

static int fill(void *table, void *library, const entry *entries, size_t count, bl_error *err) {
    for (size_t i = 0; i < count; i++) {
        void *symbol = dlsym(library, entries[i].name);
        if (!symbol) {
            return bl_fail(err, BL_E_UNSUPPORTED, "cuda: a library is too old, it has no %s: %s",
                           entries[i].name, INSTALL);
        }
        memcpy((char *)table + entries[i].at, &symbol, sizeof symbol);
    }
    return 0;
}

/* The driver's own version decides which libraries it can run: those for CUDA 13 want one for CUDA 13. */
static int open_driver(bl_cuda_libs *l, bl_error *err) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    library = library ? library : dlopen("/usr/lib/wsl/lib/libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        return bl_fail(err, BL_E_NOT_FOUND,
                       "cuda: there is no NVIDIA driver here (libcuda.so.1): install the one for your card");
    }
    void *symbol = dlsym(library, "cuGetProcAddress_v2");
    bl_cu_get_entry *get = NULL;
    memcpy(&get, &symbol, sizeof get); /* ISO C has no cast from data to functions */
    for (size_t i = 0; get && i < COUNT(driver_entries); i++) {
        bl_cu_symbol found = 0;
        symbol = NULL;
        if (get(driver_entries[i].name, &symbol, BL_CU_VERSION, 0, &found) || !symbol) {
            get = NULL;
        }
        memcpy((char *)&l->cu + driver_entries[i].at, &symbol, sizeof symbol);
    }
    if (get) {
        l->cu.cuDriverGetVersion(&l->driver);
    }
    return get ? 0
               : bl_fail(err, BL_E_UNSUPPORTED,
                         "cuda: the NVIDIA driver is too old: install 560 or newer, which knows CUDA 12.6");
}

bool bl_cuda_stub_open(void) {
    static const char *const stubs[] = {"libcuda.so.1", "/usr/local/cuda/lib64/stubs/libcuda.so",
                                        "/usr/lib/x86_64-linux-gnu/stubs/libcuda.so"};
    const char *cuda = getenv("CUDA_PATH");
    char path[PATH_MAX] = "";
    void *library = NULL;
    for (size_t i = 0; !library && i < COUNT(stubs); i++) {
        library = dlopen(stubs[i], RTLD_NOW | RTLD_GLOBAL);
    }
    if (!library && cuda && snprintf(path, sizeof path, "%s/lib64/stubs/libcuda.so", cuda) < PATH_MAX) {
        library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    }
    return library;
}

/* The first file that one of the patterns finds. */
static bool find_file(char out[PATH_MAX], const char *root, const char *name) {
    for (int i = 0; i < 3; i++) {
        char pattern[PATH_MAX];
        glob_t g;
        snprintf(pattern, sizeof pattern,
                 i == 0   ? "%s/%s"
                 : i == 1 ? "%s/lib/%s"
                          : "%s/*/lib/%s",
                 root, name);
        if (!glob(pattern, 0, NULL, &g)) {
            bool fits = snprintf(out, PATH_MAX, "%s", g.gl_pathv[0]) < PATH_MAX;
            globfree(&g);
            if (fits) {
                return true;
            }
        }
    }
    return false;
}

typedef struct three {
    void *nvrtc, *cublaslt, *cudnn;
} three;

/* All three from one root, so that no two versions are mixed; "": where the system's loader looks. Of CUDA
 * `newest` or older. NVRTC may be missing where the build brought kernels along. */
static bool open_three(three *t, const char *root, int newest) {
    bool needed[] = {!bl_cuda_kernels_ptx[0], true, true};
    for (int cuda = newest; cuda >= LEAST_CUDA; cuda--) {
        void **to[] = {&t->nvrtc, &t->cublaslt, &t->cudnn};
        char names[3][32] = {"", "", "libcudnn.so.9"};
        bool all = true;
        snprintf(names[0], sizeof names[0], "libnvrtc.so.%d", cuda);
        snprintf(names[1], sizeof names[1], "libcublasLt.so.%d", cuda);
        for (int i = 0; i < 3 && all; i++) {
            char path[PATH_MAX];
            bool there = !*root || find_file(path, root, names[i]);
            *to[i] = there ? dlopen(*root ? path : names[i], RTLD_NOW | RTLD_LOCAL) : NULL;
            all = *to[i] || !needed[i];
        }
        if (all) {
            return true;
        }
    }
    return false;
}

/* The folders that may hold the three, in order, the first of which has them counts. */
static bool find_three(three *t, char from[PATH_MAX], int newest) {
    const char *given = getenv("BALLAST_CUDA_LIBS"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    const char *environments[] = {getenv("VIRTUAL_ENV"), getenv("CONDA_PREFIX")};
    if (given && *given) {
        for (size_t n; *given; given += n + (given[n] == ':')) {
            n = strcspn(given, ":");
            snprintf(from, PATH_MAX, "%.*s", (int)n, given);
            if (n && open_three(t, from, newest)) {
                return true;
            }
        }
        return false;
    }
    if (data && *data) {
        snprintf(from, PATH_MAX, "%s/ballast/cuda/nvidia", data);
    } else {
        snprintf(from, PATH_MAX, "%s/.local/share/ballast/cuda/nvidia", home ? home : "");
    }
    if (open_three(t, from, newest)) {
        return true;
    }
    for (size_t i = 0; i < COUNT(environments); i++) {
        if (environments[i] && *environments[i]) {
            snprintf(from, PATH_MAX, "%s/lib/python3*/site-packages/nvidia", environments[i]);
            if (open_three(t, from, newest)) {
                return true;
            }
        }
    }
    from[0] = 0;
    return open_three(t, from, newest);
}

int bl_cuda_libraries_open(bl_cuda_libs *l, bl_error *err) {
    three t = {0};
    int driver = l->driver / 1000; /* 0: there is none, and the libraries are only asked for plans */
    int newest = driver && driver < NEWEST_CUDA ? driver : NEWEST_CUDA;
    if (!find_three(&t, l->from, newest)) {
        return newest < NEWEST_CUDA && find_three(&t, l->from, NEWEST_CUDA)
                   ? bl_fail(err, BL_E_UNSUPPORTED,
                             "cuda: the libraries here are for CUDA %d, the NVIDIA driver for CUDA %d.%d: "
                             "install "
                             "driver 580 or newer, or %s",
                             NEWEST_CUDA, driver, l->driver % 1000 / 10, INSTALL)
                   : bl_fail(err, BL_E_UNSUPPORTED,
                             "cuda: cuDNN 9, cuBLASLt and NVRTC were not found together: %s", INSTALL);
    }
    int rc = t.nvrtc ? fill(&l->rtc, t.nvrtc, nvrtc_entries, COUNT(nvrtc_entries), err) : 0;
    rc = rc ? rc : fill(&l->lt, t.cublaslt, cublaslt_entries, COUNT(cublaslt_entries), err);
    rc = rc ? rc : fill(&l->dnn, t.cudnn, cudnn_entries, COUNT(cudnn_entries), err);
    if (rc) {
        return rc;
    }
    int major = 0, minor = 0;
    if (t.nvrtc) {
        l->rtc.nvrtcVersion(&major, &minor);
    }
    l->nvrtc = major * 100 + minor;
    l->cublaslt = l->lt.cublasLtGetVersion();
    l->cudnn = l->dnn.cudnnGetVersion();
    if (l->cudnn < LEAST_CUDNN) {
        return bl_fail(err, BL_E_UNSUPPORTED, "cuda: cuDNN %zu.%zu.%zu in %s is older than 9.15.1: %s",
                       l->cudnn / 10000, l->cudnn / 100 % 100, l->cudnn % 100,
                       *l->from ? l->from : "the system's folders", INSTALL);
    }
    return 0;
}

int bl_cuda_libs_open(const bl_cuda_libs **out, bl_error *err) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static bl_cuda_libs libs;
    static bool opened;
    *out = NULL;
    pthread_mutex_lock(&lock);
    int rc = opened ? 0 : open_driver(&libs, err);
    rc = rc || opened ? rc : bl_cuda_libraries_open(&libs, err);
    opened = !rc;
    pthread_mutex_unlock(&lock);
    *out = rc ? NULL : &libs;
    return rc;
}
