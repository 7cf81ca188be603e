/*
 * device - names the first GPU that answers, its memory and its driver; ends with 77 where none does.
 */
#include <cstdio>
#include <cuda_runtime.h>

int main()
{
    struct cudaDeviceProp p;
    int driver = 0;
    cudaError_t e = cudaGetDeviceProperties(&p, 0);
    if (e == cudaSuccess)
        e = cudaDriverGetVersion(&driver);
    if (e != cudaSuccess) {
        fprintf(stderr, "%s\n", cudaGetErrorString(e));
        return 77;
    }
    printf("%s, %zu MiB, %d multiprocessors, driver for CUDA %d.%d\n", p.name, p.totalGlobalMem >> 20,
           p.multiProcessorCount, driver / 1000, driver % 1000 / 10);
    return 0;
}
