/*
 * Stands in for libjpeg where nothing can be installed: common/image_private.h names this type, and image.c does not
 * use it.
 */
#ifndef ATELIER_TESTS_GPU_JPEGLIB_H
#define ATELIER_TESTS_GPU_JPEGLIB_H

struct jpeg_decompress_struct;

#endif
