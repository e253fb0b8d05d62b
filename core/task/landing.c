/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls that a stopped thread makes outside of any program: to get a
 * region, and to be rid of it. The thread is pointed at a system call
 * instruction, and stopped again before it executes anything else.
 *
 * If we die in the middle, it does execute what comes next. So the instruction
 * is one that we write, in the unused end of the vdso's last page, which the
 * kernel lets tracers write (it is meant for breakpoints), and what comes next
 * is the way back to the application: its registers and signal mask, put there
 * with it. Only where there is no such room an existing instruction is used.
 *
 * There are a few such slots. A coordinator that was killed leaves its slot as
 * it was, and the thread may not have run yet: a slot is taken only if it is
 * clean, or else if no thread that we know of is in it.
 */
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include "core/task/arch/x86_64.h"
#include "core/task/inject.h"
#include "core/task/stops.h"
#include "core/util/util.h"
#include "parasite/arch/x86_64.h"
#include "parasite/blob.h"

#define VDSO_MAX (64 << 10)

struct landing { uint8_t code[LANDING_ROOM]; struct frame frame; };

/* ---- finding a place --------------------------------------------------------------- */

ssize_t read_task(pid_t tid, uint64_t addr, void *buf, size_t len)
{
	struct iovec local = { buf, len }, remote = { (void *)(uintptr_t)addr, len };

	return process_vm_readv(tid, &local, 1, &remote, 1, 0);
}

int find_syscall_insn(pid_t tid, uint64_t start, uint64_t end, uint64_t *ret,
                      struct crcore_error *err)
{
	cleanup_free uint8_t *buf = malloc(VDSO_MAX);

	if (!buf)
		return crcore_no_memory(err);
	for (uint64_t at = start; at < end; at += VDSO_MAX - 1) {
		ssize_t n = read_task(tid, at, buf, end - at < VDSO_MAX ? end - at : VDSO_MAX);
		if (n <= 0)
			break;
		uint8_t *p = memmem(buf, (size_t)n, ARCH_SYSCALL_INSN, ARCH_SYSCALL_INSN_SIZE);
		if (p) {
			*ret = at + (uint64_t)(p - buf);
			return 0;
		}
	}
	return crcore_fail(err, -ENOEXEC, "no system call instruction in its code");
}

/* Bytes of the vdso's file, from its own headers; what follows on its last page is unused. */
static size_t vdso_length(const uint8_t *vdso, size_t max)
{
	const Elf64_Ehdr *e = (const void *)vdso;

	if (max < sizeof(*e) || memcmp(e->e_ident, ELFMAG, SELFMAG))
		return 0;
	size_t len = e->e_shoff + (size_t)e->e_shnum * e->e_shentsize;
	size_t headers = e->e_phoff + (size_t)e->e_phnum * e->e_phentsize;
	if (headers > max)
		return 0;
	for (size_t i = 0; i < e->e_phnum; i++) {
		const Elf64_Phdr *p = (const void *)(vdso + e->e_phoff + i * e->e_phentsize);
		if (p->p_type == PT_LOAD && p->p_offset + p->p_filesz > len)
			len = p->p_offset + p->p_filesz;
	}
	return len <= max ? len : 0;
}

size_t vdso_own_length(void)
{
	const uint8_t *own = (const void *)getauxval(AT_SYSINFO_EHDR);

	return own ? vdso_length(own, VDSO_MAX) : 0;
}

/* Where the task has the same vdso as we; the kernel gives all tasks one image. */
static uint64_t find_vdso(const struct task *t, const uint8_t *own, size_t len)
{
	cleanup_free char *read = NULL;
	cleanup_free uint8_t *theirs = malloc(len);
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	const Crcore__Mm *rec = t->mm ? t->mm->rec : NULL;
	const char *text = rec && rec->auxv.len ? (const char *)rec->auxv.data : NULL;
	size_t size = text ? rec->auxv.len : 0; /* if it was collected */

	if (!theirs || (!text && proc_read_whole(t->proc, "auxv", &read, &size, &ignored) < 0))
		return 0;
	text = text ? text : read;
	for (size_t i = 0; i + sizeof(Elf64_auxv_t) <= size; i += sizeof(Elf64_auxv_t)) {
		Elf64_auxv_t a;
		memcpy(&a, text + i, sizeof(a));
		if (a.a_type == AT_SYSINFO_EHDR &&
		    read_task(t->abi.pid, a.a_un.a_val, theirs, len) == (ssize_t)len &&
		    !memcmp(own, theirs, len))
			return a.a_un.a_val;
	}
	return 0;
}

static int find_anywhere(const struct task *t, uint64_t *ret, struct crcore_error *err)
{
	cleanup_free char *text = NULL;
	unsigned long long start, end;
	char perms[5];
	int r = proc_read(t->proc, "maps", &text, NULL, err);

	if (r < 0)
		return r;
	for (char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : 0) {
		struct crcore_error ignored = CRCORE_ERROR_INIT;
		if (sscanf(line, "%llx-%llx %4s", &start, &end, perms) == 3 && perms[2] == 'x' &&
		    (int64_t)start >= 0 &&
		    find_syscall_insn(t->abi.pid, start, end, ret, &ignored) == 0)
			return 0;
	}
	return crcore_fail(err, -ENOEXEC, "no system call instruction in its code");
}

int landing_find(struct thread *t, struct inject *in, struct crcore_error *err)
{
	const uint8_t *own = (const void *)getauxval(AT_SYSINFO_EHDR);
	size_t len = vdso_own_length();
	uint64_t vdso = len ? find_vdso(t->task, own, len) : 0;

	if (!vdso)
		return find_anywhere(t->task, &in->insn, err);
	in->slots = vdso + ALIGN_UP(len, 64);
	in->nslots = (unsigned)((vdso + ALIGN_UP(len, PAGE) - in->slots) / sizeof(struct landing));
	uint8_t *p = memmem(own, len, ARCH_SYSCALL_INSN, ARCH_SYSCALL_INSN_SIZE);
	if (p)
		in->insn = vdso + (uint64_t)(p - own);
	return p ? 0 : find_anywhere(t->task, &in->insn, err);
}

/* ---- the way back behind it ------------------------------------------------------------ */

/* As the kernel would go on with an interrupted call if no signal is handled first. */
static void settle(arch_regs *r)
{
	int64_t result = arch_result(r);

	if (arch_syscall(r) < 0 || (result != -RESTART_SYS && result != -RESTART_NOINTR &&
	                            result != -RESTART_NOHAND && result != -RESTART_BLOCK))
		return;
	arch_reissue(r);
	if (result == -RESTART_BLOCK)
		arch_set_result(r, SYS_restart_syscall);
}

static bool is_in(const struct thread *t, uint64_t slot)
{
	return t->stopped && arch_ip(&t->regs) - slot < sizeof(struct landing);
}

/* Address of a slot that can be used, 0: none. */
static uint64_t choose_slot(const struct inject *in, const struct thread *t)
{
	static const struct landing clean;
	struct landing l;
	uint64_t second = 0;

	for (unsigned i = 0; i < in->nslots; i++) {
		uint64_t at = in->slots + i * sizeof(l);
		bool used = false;
		if (read_task(t->tid, at, &l, sizeof(l)) != (ssize_t)sizeof(l))
			continue;
		if (!memcmp(&l, &clean, sizeof(l)))
			return at;
		for (unsigned k = 0; k < t->task->nthreads; k++)
			used = used || is_in(&t->task->threads[k], at);
		if (!used)
			second = at;
	}
	return second;
}

static int write_landing(const struct thread *t, uint64_t at, const struct landing *l)
{
	cleanup_close int mem = openat(t->task->proc, "mem", O_WRONLY | O_CLOEXEC);

	return mem >= 0 && pwrite(mem, l, sizeof(*l), (off_t)at) == (ssize_t)sizeof(*l) ? 0 : -EIO;
}

void landing_prepare(struct inject *in, const struct thread *t, struct call *c)
{
	/* The frame follows the code directly, so the code goes to the end of its room. */
	size_t gap = sizeof(((struct landing *)0)->code) - interpreter_landing_size;
	struct landing l = { { 0 } };
	arch_regs back = t->regs;

	c->tid = t->tid;
	c->insn = in->slot ? in->slot + gap : in->insn;
	c->before = t->regs;
	c->mask = t->sigmask;
	c->known = true;
	if (in->slot) /* it is there since an earlier call */
		return;
	in->slot = choose_slot(in, t);
	settle(&back);
	if (!in->slot)
		return;
	memcpy(l.code + gap, interpreter_landing, interpreter_landing_size);
	arch_fill_frame(&l.frame, &back, t->sigmask);
	if (write_landing(t, in->slot, &l) == 0)
		c->insn = in->slot + gap;
	else
		in->slot = 0;
}

void landing_clean(struct inject *in, const struct thread *t)
{
	const struct landing clean = { { 0 } };

	if (in->slot)
		write_landing(t, in->slot, &clean);
	in->slot = 0;
}
