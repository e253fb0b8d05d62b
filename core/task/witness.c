/* SPDX-License-Identifier: Apache-2.0 */
/* See witness.h. */
#include <elf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "core/task/arch/x86_64.h"
#include "core/task/witness.h"
#include "core/util/util.h"

#define ADDRESS 0x10000u /* anywhere */

/* ---- one that has ended ---------------------------------------------------------------- */

/*
 * A program that ends at once. Of a process that changed its user the kernel lets that user
 * see nothing, since it still has the memory of before; only a program makes it forget that.
 */
static int write_program(void)
{
	struct { Elf64_Ehdr e; Elf64_Phdr p; uint8_t code[16]; } image = {
		.e = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
		                    EV_CURRENT },
		       .e_type = ET_EXEC, .e_machine = ARCH_ELF_MACHINE, .e_version = EV_CURRENT,
		       .e_entry = ADDRESS + offsetof(__typeof__(image), code),
		       .e_phoff = offsetof(__typeof__(image), p), .e_ehsize = sizeof(Elf64_Ehdr),
		       .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1 },
		.p = { .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = ADDRESS,
		       .p_filesz = sizeof(image), .p_memsz = sizeof(image), .p_align = PAGE },
		.code = ARCH_EXIT_CODE,
	};
	int fd = memfd_create("witness", MFD_CLOEXEC);

	if (fd >= 0 && write(fd, &image, sizeof(image)) != (ssize_t)sizeof(image))
		close(STEAL_FD(fd));
	return fd;
}

/* Capabilities are given up; the user root gets none by a program that it starts then. */
static void run_program(int fd, uint32_t uid, uint32_t gid)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = { { 0 } };
	char *const empty[] = { NULL };

	if (dup2(fd, 0) == 0 && syscall(SYS_close_range, 1, ~0u, 0) == 0 &&
	    syscall(SYS_setresgid, gid, gid, gid) == 0 &&
	    syscall(SYS_setresuid, uid, uid, uid) == 0 &&
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_capset, &head, none) == 0)
		syscall(SYS_execveat, 0, "", empty, empty, AT_EMPTY_PATH);
	_exit(1);
}

static pid_t make_witness(uint32_t uid, uint32_t gid)
{
	cleanup_close int fd = write_program();
	siginfo_t si = { 0 };
	pid_t pid = fd < 0 ? -1 : fork();

	if (pid == 0)
		run_program(fd, uid, gid);
	if (pid < 0)
		return 0;
	while (waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT) < 0 && errno == EINTR)
		;
	if (si.si_code == CLD_EXITED && si.si_status == 0)
		return pid;
	waitpid(pid, NULL, 0);
	return 0;
}

pid_t witness_for(struct witnesses *w, const Crcore__Creds *c)
{
	if (c->effective >> CAP_SYS_PTRACE & 1)
		return getpid();
	for (unsigned i = 0; i < w->n; i++)
		if (w->v[i].uid == c->ruid && w->v[i].gid == c->rgid)
			return w->v[i].pid;
	pid_t pid = make_witness(c->ruid, c->rgid);
	if (!pid && !w->nunknown++)
		w->unknown = c->ruid;
	if (GROW(w->v, w->n))
		w->v[w->n++] = (struct witness){ c->ruid, c->rgid, pid };
	else if (pid)
		waitpid(pid, NULL, 0);
	return w->n && w->v[w->n - 1].pid == pid ? pid : 0;
}

void witnesses_tell(const struct witnesses *w)
{
	if (w->nunknown > 1)
		log_line(1, "no process with user %u can be made to find out about Landlock, nor with %u "
		         "others", w->unknown, w->nunknown - 1);
	else if (w->nunknown)
		log_line(1, "no process with user %u can be made to find out about Landlock", w->unknown);
}

void witnesses_free(struct witnesses *w)
{
	for (unsigned i = 0; i < w->n; i++)
		if (w->v[i].pid)
			waitpid(w->v[i].pid, NULL, 0);
	free(w->v);
	*w = (struct witnesses){ 0 };
}

/* ---- the answer --------------------------------------------------------------------------- */

/* Of modules that tell: does one have another word for it than for us? */
static bool has_own_label(const struct thread *t)
{
	cleanup_free char *theirs = NULL, *ours = NULL;
	cleanup_close int self = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	char path[40];

	snprintf(path, sizeof(path), "task/%d/attr/current", t->tid);
	return proc_read_whole(t->task->proc, path, &theirs, NULL, &ignored) == 0 &&
	       proc_read_whole(self, "attr/current", &ours, NULL, &ignored) == 0 &&
	       strcmp(theirs, ours) != 0;
}

int witness_refuse(const struct thread *t, struct crcore_error *err)
{
	if (has_own_label(t))
		return 0;
	crcore_fail_at(err, t->task->abi.pid, -1, "task %s", t->task->comm);
	crcore_advise(err, "run it without Landlock, or crcore within the same Landlock domain");
	return crcore_fail(err, -ENOTSUP, "thread %d is confined by Landlock, which would be lost: it "
	                   "cannot be saved", t->tid);
}
