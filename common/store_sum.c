/*
 * Checksums of a whole shard file, so that a flipped bit is found anywhere in it, also where no record is. SHARD.sum:
 *   8 bytes "ATLRSUM1", u64 size of the shard file, a u32 crc32c for each 64 KiB of it, u32 crc32c of all this.
 * It is removed before the shard is written and made again when it is closed: where it stands, it must fit.
 */
#include "common/crc32c.h"
#include "common/err.h"
#include "common/store_private.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC "ATLRSUM1"
#define MAGIC_BYTES 8
#define HEADER_BYTES 16
#define BLOCK_BYTES (64u << 10)
#define SUM_MAX_BYTES (64u << 20) /* for a shard of a terabyte */

static char *sum_path(const char *shard_path)
{
    return xasprintf("%.*s.sum", (int)(strlen(shard_path) - strlen(".mdb")), shard_path);
}

static ssize_t read_block(int fd, unsigned char *block)
{
    size_t len = 0;
    while (len < BLOCK_BYTES) {
        ssize_t n = read(fd, block + len, BLOCK_BYTES - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* Fills `out` with what the checksum file of this shard has to hold. */
static int compute(const char *shard_path, struct buf *out)
{
    uint64_t size = 0;
    unsigned char *block = xmalloc(BLOCK_BYTES);
    int fd = open(shard_path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : 1;
    buf_append(out, MAGIC, MAGIC_BYTES);
    buf_append(out, &size, sizeof size);
    while (len > 0 && (len = read_block(fd, block)) > 0) {
        uint32_t crc = crc32c(0, block, (size_t)len);
        buf_append(out, &crc, sizeof crc);
        size += (uint64_t)len;
    }
    memcpy(out->data + MAGIC_BYTES, &size, sizeof size);
    uint32_t crc = crc32c(0, out->data, out->len);
    buf_append(out, &crc, sizeof crc);
    int rc = len < 0 ? err_sys("%s", shard_path) : 0;
    if (fd >= 0)
        close(fd);
    free(block);
    return rc;
}

int sum_write(const char *shard_path)
{
    struct buf sums = {0};
    char *path = sum_path(shard_path);
    bool present = access(path, F_OK) == 0;
    int rc = present ? 0 : compute(shard_path, &sums);
    if (rc == 0 && !present)
        rc = file_write(path, sums.data, sums.len);
    buf_free(&sums);
    free(path);
    return rc;
}

int sum_remove(const char *shard_path)
{
    char *path = sum_path(shard_path);
    int rc = 0;
    if (unlink(path) == 0)
        rc = file_sync(dirname(path));
    else if (errno != ENOENT)
        rc = err_sys("%s: cannot remove it", path);
    free(path);
    return rc;
}

/* Says where two checksum files first differ. */
static int compare(const struct buf *kept, const struct buf *now)
{
    uint32_t crc;
    if (kept->len < HEADER_BYTES + sizeof crc)
        return err_set(ERR_DATA, "its checksum file is cut");
    memcpy(&crc, kept->data + kept->len - sizeof crc, sizeof crc);
    if (memcmp(kept->data, MAGIC, MAGIC_BYTES) != 0 || crc32c(0, kept->data, kept->len - sizeof crc) != crc)
        return err_set(ERR_DATA, "its checksum file is damaged");
    uint64_t size, size_now;
    memcpy(&size, kept->data + MAGIC_BYTES, sizeof size);
    memcpy(&size_now, now->data + MAGIC_BYTES, sizeof size_now);
    if (size != size_now)
        return err_set(ERR_DATA, "it has %" PRIu64 " bytes, it was closed with %" PRIu64, size_now, size);
    for (size_t at = HEADER_BYTES; at + sizeof crc < kept->len; at += sizeof crc) {
        uint64_t block = (at - HEADER_BYTES) / sizeof crc;
        if (memcmp(kept->data + at, now->data + at, sizeof crc) != 0)
            return err_set(ERR_DATA, "its bytes %" PRIu64 " to %" PRIu64 " have changed since it was closed",
                           block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES - 1);
    }
    return 1;
}

int sum_check(const char *shard_path)
{
    struct buf kept = {0}, now = {0};
    char *path = sum_path(shard_path);
    int rc = access(path, F_OK) < 0 && errno == ENOENT ? 0 : 1;
    if (rc > 0 && (file_read(path, SUM_MAX_BYTES, &kept) < 0 || compute(shard_path, &now) < 0))
        rc = -1;
    if (rc > 0)
        rc = compare(&kept, &now);
    buf_free(&kept);
    buf_free(&now);
    free(path);
    return rc;
}
