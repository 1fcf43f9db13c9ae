/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The calls of the product that the linker hands to the simulator, and the real ones behind them.
 * meson.build has the same list.
 */
#ifndef HB_TESTS_SIM_WRAPPED_H
#define HB_TESTS_SIM_WRAPPED_H

#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#include <zstd.h>

#include "base/log.h"
#include "persist/journal_frame.h"
#include "shm/state.h"

/* memory and other holdings: machine.c */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__real_reallocarray(void *at, size_t count, size_t bytes);
void __real_free(void *at);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_reallocarray(void *at, size_t count, size_t bytes);
void __wrap_free(void *at);
int __real_hb_state_create(
	struct hb_state *state, const struct hb_capacity *capacity, uint32_t node);
int __wrap_hb_state_create(
	struct hb_state *state, const struct hb_capacity *capacity, uint32_t node);
void __real_hb_state_close(struct hb_state *state);
void __wrap_hb_state_close(struct hb_state *state);
/** The state belongs to another process from here on. */
void sim_state_handed_over(const struct hb_state *state);
int __real_hb_digest_open(struct hb_digest *digest);
int __wrap_hb_digest_open(struct hb_digest *digest);
void __real_hb_digest_close(struct hb_digest *digest);
void __wrap_hb_digest_close(struct hb_digest *digest);
ZSTD_DCtx *__real_ZSTD_createDCtx(void);
ZSTD_DCtx *__wrap_ZSTD_createDCtx(void);
size_t __real_ZSTD_freeDCtx(ZSTD_DCtx *unpacker);
size_t __wrap_ZSTD_freeDCtx(ZSTD_DCtx *unpacker);

/* journal segments: segments.c */
int __real_hb_segment_create(
	struct hb_segment *segment, const char *name, enum hb_segment_kind kind, uint64_t bytes);
int __wrap_hb_segment_create(
	struct hb_segment *segment, const char *name, enum hb_segment_kind kind, uint64_t bytes);
int __real_hb_segment_attach(struct hb_segment *segment, int fd, enum hb_segment_kind kind,
	bool writable, char error[160]);
int __wrap_hb_segment_attach(struct hb_segment *segment, int fd, enum hb_segment_kind kind,
	bool writable, char error[160]);
void __real_hb_segment_close(struct hb_segment *segment);
void __wrap_hb_segment_close(struct hb_segment *segment);
uint8_t *__real_hb_segment_map_twice(int fd, uint64_t offset, uint64_t bytes, bool writable);
uint8_t *__wrap_hb_segment_map_twice(int fd, uint64_t offset, uint64_t bytes, bool writable);
void __real_hb_segment_unmap_twice(uint8_t *at, uint64_t bytes);
void __wrap_hb_segment_unmap_twice(uint8_t *at, uint64_t bytes);
/** Is the descriptor one of a segment that is used again? */
bool sim_segment_is_kept(int fd);

/* clocks, randomness, threads, the end: machine.c */
int __wrap_clock_gettime(clockid_t clock, struct timespec *at);
int __wrap_nanosleep(const struct timespec *duration, struct timespec *left);
ssize_t __wrap_getrandom(void *bytes, size_t length, unsigned flags);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
	void *(*function)(void *), void *argument);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_cond_timedwait(
	pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until);
_Noreturn void __wrap_abort(void);
void __wrap_hb_log(enum hb_log_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* files: disk.c */
int __real_openat64(int directory, const char *name, int flags, ...);
int __wrap_openat64(int directory, const char *name, int flags, ...);
int __wrap___openat64_2(int directory, const char *name, int flags);
int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_close(int fd);
int __wrap_close(int fd);
ssize_t __real_pread64(int fd, void *bytes, size_t length, off_t at);
ssize_t __wrap_pread64(int fd, void *bytes, size_t length, off_t at);
ssize_t __real_pwrite64(int fd, const void *bytes, size_t length, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t length, off_t at);
ssize_t __real_pwritev64v2(int fd, const struct iovec *part, int count, off_t at, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *part, int count, off_t at, int flags);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_renameat(int from_directory, const char *from, int to_directory, const char *to);
int __wrap_renameat(int from_directory, const char *from, int to_directory, const char *to);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_unlinkat(int directory, const char *name, int flags);
int __wrap_unlinkat(int directory, const char *name, int flags);
int __real_unlink(const char *path);
int __wrap_unlink(const char *path);
int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode);
int __real_fstat64(int fd, struct stat64 *status);
int __wrap_fstat64(int fd, struct stat64 *status);
int __real_fstatat64(int directory, const char *name, struct stat64 *status, int flags);
int __wrap_fstatat64(int directory, const char *name, struct stat64 *status, int flags);
int __real_fstatvfs64(int fd, struct statvfs64 *volume);
int __wrap_fstatvfs64(int fd, struct statvfs64 *volume);
off_t __real_lseek64(int fd, off_t at, int whence);
off_t __wrap_lseek64(int fd, off_t at, int whence);
int __real_posix_fallocate64(int fd, off_t at, off_t length);
int __wrap_posix_fallocate64(int fd, off_t at, off_t length);
int __real_posix_fadvise64(int fd, off_t at, off_t length, int advice);
int __wrap_posix_fadvise64(int fd, off_t at, off_t length, int advice);
int __real_ftruncate64(int fd, off_t length);
int __wrap_ftruncate64(int fd, off_t length);
int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation);
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
DIR *__real_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd);
struct dirent64 *__real_readdir64(DIR *directory);
struct dirent64 *__wrap_readdir64(DIR *directory);
int __real_closedir(DIR *directory);
int __wrap_closedir(DIR *directory);
int __real_dirfd(DIR *directory);
int __wrap_dirfd(DIR *directory);

#endif
