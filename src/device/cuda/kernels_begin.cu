/* What stands in front of the kernels on a card. The element is chosen by -DELEMENT_BF16=0 or 1. tests have a
 * file of the same meaning for the host (kernels_host.h), where THREADS is a loop over a block's threads: so
 * between two THREADS only values live that are alike for the whole block, or lie in SHARED. */
#define BALLAST_KERNEL_TEXT
#define BL_POINTER(type) type *
#if ELEMENT_BF16
typedef unsigned short element;
#else
typedef float element;
#endif

#define KERNEL(name, threads) extern "C" __global__ void __launch_bounds__(threads) name(const struct name##_args a)
#define FUNCTION static __device__ __forceinline__
#define SHARED(type, name, count) __shared__ type name[count]
#define BLOCK ((long long)blockIdx.x)
#define THREAD ((int)threadIdx.x)
#define THREADS
#define SYNC __syncthreads();
/* Once for the element that is this thread's, if there is one. */
#define FOR_MINE(i, count) \
    for (long long i = BLOCK * BL_FLAT + THREAD, end_ = i + 1 < (count) ? i + 1 : (count); i < end_; i++)
