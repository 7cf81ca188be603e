/* What comm.c finds by name in libatelier-mpi.so and libatelier-nccl.so. */
#ifndef ATELIER_KERNELS_COMM_COMM_LIBRARY_H
#define ATELIER_KERNELS_COMM_COMM_LIBRARY_H

#include "kernels/comm.h"

#define COMM_LOST_SECONDS 1800 /* a wait's limit: process 0 may be writing a large checkpoint all that time */

/* Meets the other processes and fills the table. 0 or -1. */
int comm_mpi_open(struct comm *c);
/* Those of `met`, which stays, go on with tensors on the current GPU. 0 or -1. */
int comm_nccl_open(const struct comm *met, struct comm *c);

#endif
