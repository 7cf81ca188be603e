/*
 * The CUDA backend's library: opens a device and fills the table (kernels/open.c loads it).
 */
#include "kernels/cuda/device.h"
#include "kernels/cuda/library.h"
#include <cstdio>
#include <cstdlib>

cudaStream_t device_stream;

enum { OLDEST_MAJOR = 8 }; /* compute capability 8.0 */

void device_check(cudaError_t e, const char *what)
{
    if (e == cudaSuccess)
        return;
    fprintf(stderr, "cuda: %s: %s\n", what, cudaGetErrorString(e));
    exit(ERR_IO);
}

int kernels_cuda_count(void)
{
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

static int open_device(int device)
{
    int count = 0, major = 0;
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e != cudaSuccess)
        return err_set(ERR_USAGE, "no CUDA device answers: %s", cudaGetErrorString(e));
    if (device >= count)
        return err_set(ERR_USAGE, "cuda:%d: this machine has %d CUDA devices, the first of which is cuda:0", device,
                       count);
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    if (major < OLDEST_MAJOR)
        return err_set(ERR_USAGE, "cuda:%d: its compute capability is %d.x, and at least %d.0 is needed", device, major,
                       OLDEST_MAJOR);
    e = cudaSetDevice(device);
    if (e == cudaSuccess)
        e = cudaStreamCreateWithFlags(&device_stream, cudaStreamNonBlocking);
    return e == cudaSuccess ? 0 : err_set(ERR_IO, "cuda:%d: %s", device, cudaGetErrorString(e));
}

static void fill(struct kernels *k)
{
    cuda_memory(k);
    cuda_replay(k);
    cuda_elementwise(k);
    cuda_products(k);
    cuda_pictures(k);
    cuda_normalisation(k);
    cuda_embedding(k);
    cuda_losses(k);
    cuda_relaxation(k);
    cuda_draw(k);
    cuda_optimizer(k);
    cuda_attention(k);
    cuda_attention_backward(k);
    cuda_attention_step(k);
    cuda_convolution(k);
    k->name = "cuda";
    k->batches = true;
}

const struct kernels *kernels_cuda(int device, enum dtype compute, size_t table_bytes)
{
    static struct kernels tables[F16 + 1]; /* one for each `compute` */
    static int opened = -1;
    struct kernels *k = &tables[compute];
    if (table_bytes != sizeof *k) {
        err_set(ERR_USAGE, "the CUDA library and this program are of different versions: build them together");
        return NULL;
    }
    if (opened >= 0 && device != opened) {
        err_set(ERR_USAGE, "cuda:%d: this process already uses cuda:%d", device, opened);
        return NULL;
    }
    if (opened < 0 && open_device(device) != 0)
        return NULL;
    opened = device;
    k->compute = compute;
    fill(k);
    return k;
}
