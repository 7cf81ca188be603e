/*
 * CUDA kernels: recording and replaying, by a CUDA graph.
 */
#include "kernels/cuda/device.h"

struct recording {
    cudaGraphExec_t exec;
};

bool device_recorded;

/* The first call runs the body, so that what is made ready once (algorithms, scratch) is; the recording follows. */
static void replay(struct recording **recording, void (*body)(void *self), void *self)
{
    if (!*recording) {
        cudaGraph_t graph;
        device_recorded = true;
        *recording = new struct recording();
        body(self);
        device_check(cudaStreamBeginCapture(device_stream, cudaStreamCaptureModeThreadLocal), "recording");
        body(self);
        device_check(cudaStreamEndCapture(device_stream, &graph), "recording");
        device_check(cudaGraphInstantiate(&(*recording)->exec, graph, 0), "recording");
        device_check(cudaGraphDestroy(graph), "recording");
        return;
    }
    device_check(cudaGraphLaunch((*recording)->exec, device_stream), "replay");
}

static void replay_free(struct recording *recording)
{
    if (!recording)
        return;
    device_check(cudaStreamSynchronize(device_stream), "recording");
    device_check(cudaGraphExecDestroy(recording->exec), "recording");
    delete recording;
}

void cuda_replay(struct kernels *k)
{
    k->replay = replay;
    k->replay_free = replay_free;
}
