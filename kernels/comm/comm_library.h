/* What comm.c asks the shared objects for, by name: to meet the other processes and fill the table. 0 or -1. */
#ifndef ATELIER_KERNELS_COMM_COMM_LIBRARY_H
#define ATELIER_KERNELS_COMM_COMM_LIBRARY_H

#include "kernels/comm.h"

int comm_mpi_open(struct comm *c);
/* Calls comm_mpi_open, whose table it keeps for what is on the host. */
int comm_nccl_open(struct comm *c);

#endif
