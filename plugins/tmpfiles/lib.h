/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libarchive, loaded when it is needed. It brings ten more libraries, which took a third
 * of the time of a dump of a small process that has no files to keep. Include this in
 * place of its headers: its functions are called by their names.
 */
#ifndef TMPFILES_LIB_H
#define TMPFILES_LIB_H

#include <archive.h>
#include <archive_entry.h>
#include <crcore/error.h>

#define LIB_FUNCTIONS(X) \
	X(archive_entry_atime) \
	X(archive_entry_atime_nsec) \
	X(archive_entry_clone) \
	X(archive_entry_copy_hardlink) \
	X(archive_entry_copy_pathname) \
	X(archive_entry_copy_stat) \
	X(archive_entry_copy_symlink) \
	X(archive_entry_free) \
	X(archive_entry_gid) \
	X(archive_entry_hardlink) \
	X(archive_entry_mtime) \
	X(archive_entry_mtime_nsec) \
	X(archive_entry_new) \
	X(archive_entry_pathname) \
	X(archive_entry_perm) \
	X(archive_entry_set_size) \
	X(archive_entry_sparse_add_entry) \
	X(archive_entry_stat) \
	X(archive_entry_symlink) \
	X(archive_entry_uid) \
	X(archive_entry_xattr_add_entry) \
	X(archive_entry_xattr_next) \
	X(archive_entry_xattr_reset) \
	X(archive_errno) \
	X(archive_error_string) \
	X(archive_read_data_block) \
	X(archive_read_free) \
	X(archive_read_new) \
	X(archive_read_next_header) \
	X(archive_read_open) \
	X(archive_read_support_format_tar) \
	X(archive_set_error) \
	X(archive_write_close) \
	X(archive_write_data) \
	X(archive_write_free) \
	X(archive_write_header) \
	X(archive_write_new) \
	X(archive_write_open_fd) \
	X(archive_write_set_format_pax) \
	X(archive_write_set_options)

#define LIB_POINTER(f) __typeof__(f) *p_##f;
struct lib {
	LIB_FUNCTIONS(LIB_POINTER)
};

/* As the linker's own table of functions would be: one in a process. */
extern struct lib lib __attribute__((visibility("hidden")));
/* Once it is certain that it is needed, in a stage that may refuse. */
int lib_need(struct crcore_error *);

#define archive_entry_atime lib.p_archive_entry_atime
#define archive_entry_atime_nsec lib.p_archive_entry_atime_nsec
#define archive_entry_clone lib.p_archive_entry_clone
#define archive_entry_copy_hardlink lib.p_archive_entry_copy_hardlink
#define archive_entry_copy_pathname lib.p_archive_entry_copy_pathname
#define archive_entry_copy_stat lib.p_archive_entry_copy_stat
#define archive_entry_copy_symlink lib.p_archive_entry_copy_symlink
#define archive_entry_free lib.p_archive_entry_free
#define archive_entry_gid lib.p_archive_entry_gid
#define archive_entry_hardlink lib.p_archive_entry_hardlink
#define archive_entry_mtime lib.p_archive_entry_mtime
#define archive_entry_mtime_nsec lib.p_archive_entry_mtime_nsec
#define archive_entry_new lib.p_archive_entry_new
#define archive_entry_pathname lib.p_archive_entry_pathname
#define archive_entry_perm lib.p_archive_entry_perm
#define archive_entry_set_size lib.p_archive_entry_set_size
#define archive_entry_sparse_add_entry lib.p_archive_entry_sparse_add_entry
#define archive_entry_stat lib.p_archive_entry_stat
#define archive_entry_symlink lib.p_archive_entry_symlink
#define archive_entry_uid lib.p_archive_entry_uid
#define archive_entry_xattr_add_entry lib.p_archive_entry_xattr_add_entry
#define archive_entry_xattr_next lib.p_archive_entry_xattr_next
#define archive_entry_xattr_reset lib.p_archive_entry_xattr_reset
#define archive_errno lib.p_archive_errno
#define archive_error_string lib.p_archive_error_string
#define archive_read_data_block lib.p_archive_read_data_block
#define archive_read_free lib.p_archive_read_free
#define archive_read_new lib.p_archive_read_new
#define archive_read_next_header lib.p_archive_read_next_header
#define archive_read_open lib.p_archive_read_open
#define archive_read_support_format_tar lib.p_archive_read_support_format_tar
#define archive_set_error lib.p_archive_set_error
#define archive_write_close lib.p_archive_write_close
#define archive_write_data lib.p_archive_write_data
#define archive_write_free lib.p_archive_write_free
#define archive_write_header lib.p_archive_write_header
#define archive_write_new lib.p_archive_write_new
#define archive_write_open_fd lib.p_archive_write_open_fd
#define archive_write_set_format_pax lib.p_archive_write_set_format_pax
#define archive_write_set_options lib.p_archive_write_set_options

#endif
