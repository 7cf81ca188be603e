/*
 * CUDA kernels: memory. The host's values go through two pinned buffers, so that filling one overlaps with the copy of
 * the other, beside what the device computes at the time, and are converted on the device.
 */
#include "kernels/cuda/device.h"
#include "kernels/cuda/library.h"
#include <cassert>

enum { STAGE = 4 << 20 }; /* bytes of a pinned buffer */

static struct stage {
    void *pinned, *device;   /* device: where values wait for their conversion */
    cudaEvent_t done, taken; /* the copy from or to `pinned`; what came to `device` is where it belongs */
} stages[2];
static cudaStream_t copies; /* from the host */

static void *scratch;
static size_t scratch_bytes;

/* A recording keeps the addresses that it was made with, so from the first on, blocks grown out of stay. */
void *device_scratch(size_t bytes)
{
    if (bytes > scratch_bytes) {
        cudaStreamCaptureStatus capturing;
        device_check(cudaStreamIsCapturing(device_stream, &capturing), "scratch");
        assert(capturing == cudaStreamCaptureStatusNone);
        device_check(cudaStreamSynchronize(device_stream), "scratch");
        if (!device_recorded)
            device_check(cudaFree(scratch), "scratch");
        scratch_bytes = cuda_scratch_room(bytes);
        device_check(cudaMalloc(&scratch, scratch_bytes), "scratch");
    }
    return scratch;
}

static struct tensor alloc(size_t count, enum dtype dtype)
{
    struct tensor t = {NULL, dtype};
    cudaError_t e = cudaErrorMemoryAllocation;
    if (count <= SIZE_MAX / 4)
        e = cudaMalloc(&t.data, count ? count * dtype_size(dtype) : 1);
    if (e != cudaSuccess) {
        cudaGetLastError(); /* forgets it */
        err_set(ERR_AGAIN, "no memory on the device for a tensor of %zu elements of %zu bytes: %s", count,
                dtype_size(dtype), cudaGetErrorString(e));
        t.data = NULL;
    }
    return t;
}

static void release(struct tensor t)
{
    if (!t.data)
        return;
    device_check(cudaStreamSynchronize(device_stream), "free");
    device_check(cudaFree(t.data), "free");
}

static __global__ void convert_kernel(struct tensor y, struct tensor x, float a, size_t n)
{
    size_t i = global_thread() * EACH;
    if (i >= n)
        return;
    struct floats8 v = load8(x, i, n);
    for (int j = 0; j < EACH; j++)
        v.v[j] *= a;
    store8(y, i, n, v);
}

void device_convert(struct tensor y, struct tensor x, float a, size_t n)
{
    if (n)
        LAUNCH(convert_kernel, blocks_for(n, THREADS * EACH), THREADS, 0, device_stream, y, x, a, n);
}

static struct stage *stage_ready(int i)
{
    struct stage *s = &stages[i];
    if (!s->pinned) {
        device_check(cudaMallocHost(&s->pinned, STAGE), "pinned memory");
        device_check(cudaMalloc(&s->device, STAGE), "memory for uploads");
        device_check(cudaEventCreateWithFlags(&s->done, cudaEventDisableTiming), "event");
        device_check(cudaEventCreateWithFlags(&s->taken, cudaEventDisableTiming), "event");
        if (!copies)
            device_check(cudaStreamCreateWithFlags(&copies, cudaStreamNonBlocking), "stream");
        return s;
    }
    device_check(cudaEventSynchronize(s->done), "copy");
    return s;
}

/* Brings the next pinned buffer's bytes to the device, where they are for work that is queued from here on and ends
 * with stage_taken. Buffers take turns from call to call, so that none waits for the last one's copy. */
static struct stage *stage_bring(const void *from, size_t bytes)
{
    static int turn;
    struct stage *s = stage_ready(turn);
    turn ^= 1;
    memcpy(s->pinned, from, bytes);
    device_check(cudaStreamWaitEvent(copies, s->taken, 0), "upload");
    device_check(cudaMemcpyAsync(s->device, s->pinned, bytes, cudaMemcpyHostToDevice, copies), "upload");
    device_check(cudaEventRecord(s->done, copies), "upload");
    device_check(cudaStreamWaitEvent(device_stream, s->done, 0), "upload");
    return s;
}

static void stage_taken(struct stage *s)
{
    device_check(cudaEventRecord(s->taken, device_stream), "upload");
}

static void copy(struct tensor to, struct tensor from, size_t count)
{
    device_check(
        cudaMemcpyAsync(to.data, from.data, count * dtype_size(to.dtype), cudaMemcpyDeviceToDevice, device_stream),
        "copy");
}

static bool is_raw(enum dtype dtype)
{
    return dtype == F32 || dtype == I32;
}

static void upload(struct tensor to, const void *from, size_t count)
{
    const size_t part = STAGE / 4;
    for (size_t i = 0; i < count; i += part) {
        size_t n = count - i < part ? count - i : part;
        struct stage *s = stage_bring((const char *)from + i * 4, n * 4);
        if (is_raw(to.dtype))
            copy(tensor_at(to, i), {s->device, to.dtype}, n);
        else
            device_convert(tensor_at(to, i), {s->device, F32}, 1, n);
        stage_taken(s);
    }
}

/* Of three channels. */
struct map {
    float scale[3], offset[3];
};

static __global__ void map_kernel(struct tensor to, const uint8_t *from, struct map map, size_t n)
{
    size_t i = global_thread();
    if (i < n)
        store(to, i, map.scale[i % 3] * (from[i] / 255.0f) + map.offset[i % 3]);
}

static void upload_pixels(struct tensor to, const uint8_t *from, size_t pixels, const float scale[3],
                          const float offset[3])
{
    const struct map map = {{scale[0], scale[1], scale[2]}, {offset[0], offset[1], offset[2]}};
    const size_t part = STAGE / 3 * 3, count = 3 * pixels;
    for (size_t i = 0; i < count; i += part) {
        size_t n = count - i < part ? count - i : part;
        struct stage *s = stage_bring(from + i, n);
        LAUNCH(map_kernel, blocks_for(n, THREADS), THREADS, 0, device_stream, tensor_at(to, i),
               (const uint8_t *)s->device, map, n);
        stage_taken(s);
    }
}

static void download(void *to, struct tensor from, size_t count)
{
    const size_t part = STAGE / 4;
    size_t parts = (count + part - 1) / part;
    for (size_t p = 0; p <= parts; p++) { /* part p starts, part p - 1 is fetched */
        if (p < parts) {
            size_t i = p * part, n = count - i < part ? count - i : part;
            struct stage *s = stage_ready(p % 2);
            struct tensor source = tensor_at(from, i), floats = {s->device, F32};
            if (!is_raw(from.dtype))
                device_convert(floats, source, 1, n);
            device_check(cudaMemcpyAsync(s->pinned, is_raw(from.dtype) ? source.data : s->device, n * 4,
                                         cudaMemcpyDeviceToHost, device_stream),
                         "download");
            device_check(cudaEventRecord(s->done, device_stream), "download");
        }
        if (p > 0) {
            size_t i = (p - 1) * part, n = count - i < part ? count - i : part;
            memcpy((char *)to + i * 4, stage_ready((p - 1) % 2)->pinned, n * 4);
        }
    }
}

static __global__ void fill_kernel(struct tensor x, float value, size_t n)
{
    size_t i = global_thread() * EACH;
    struct floats8 v;
    for (int j = 0; j < EACH; j++)
        v.v[j] = value;
    if (i < n)
        store8(x, i, n, v);
}

static void fill(struct tensor x, float value, size_t count)
{
    if (value == 0 && !signbit(value))
        device_check(cudaMemsetAsync(x.data, 0, count * dtype_size(x.dtype), device_stream), "fill");
    else if (count)
        LAUNCH(fill_kernel, blocks_for(count, THREADS * EACH), THREADS, 0, device_stream, x, value, count);
}

static size_t free_bytes(void)
{
    size_t free_now = 0, all;
    device_check(cudaMemGetInfo(&free_now, &all), "memory");
    return free_now;
}

void cuda_memory(struct kernels *k)
{
    k->free_bytes = free_bytes;
    k->alloc = alloc;
    k->free = release;
    k->upload = upload;
    k->download = download;
    k->upload_pixels = upload_pixels;
    k->copy = copy;
    k->cast = device_convert;
    k->fill = fill;
}
