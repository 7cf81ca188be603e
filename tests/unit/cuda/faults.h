/*
 * Kernels that do wrong on purpose, and right ones that try the emulator's instructions.
 */
#ifndef ATELIER_TESTS_UNIT_CUDA_FAULTS_H
#define ATELIER_TESTS_UNIT_CUDA_FAULTS_H

#ifdef __cplusplus
extern "C" {
#endif

enum fault {
    FAULT_WRITE_BEHIND, /* of device memory */
    FAULT_WRITE_BEFORE,
    FAULT_WRITE_NEAR, /* into the gap that alignment leaves */
    FAULT_READ_BEHIND,
    FAULT_SHARED_BEHIND, /* of shared memory */
    FAULT_BARRIER_EXIT,  /* a thread ends while others wait */
    FAULT_BARRIER_OTHER, /* threads wait at two barriers */
    FAULT_BARRIER_WARP,  /* a thread waits for its warp, which waits at a barrier */
    FAULT_SHUFFLE_ABSENT,
    FAULT_SHUFFLE_OUTSIDE, /* from a lane that the mask leaves out */
    FAULT_STACK,
    FAULT_GRID,
    FAULT_SHARED_TOO_MUCH,
    FAULT_COPY_NOT_WAITED,
    FAULT_READ_UNORDERED,  /* of what another warp writes, with no barrier between */
    FAULT_WRITE_UNORDERED, /* of what another lane has read */
    FAULT_SHUFFLE_ORDERS,  /* a shuffle for want of a barrier */
    FAULT_COPY_UNORDERED,  /* waited for by the thread that copied, with no barrier before another reads */
    FAULTS
};
extern const char *const FAULT_MESSAGES[FAULTS]; /* a part of what must be said */
void fault_commit(enum fault fault);

/* Results of one block of 64 threads that depend on what is undefined or on turns: equal for a right kernel. */
float fault_sum_of_shared(void); /* reads shared memory that it did not write */
float fault_copy_without_wait(void);

/* Fragments against plain products: the largest difference. kind: 0 bf16, 1 f16, 2 tf32. */
float mma_error(int kind);
int load_matrices_errors(int transposed); /* elements that are not where they belong */
int votes_and_shuffles_errors(void);

#ifdef __cplusplus
}
#endif

#endif
