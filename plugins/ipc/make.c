/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: making an object under its old id. /proc/sys/kernel/shm_next_id (sem, msg) says
 * which id the next object of the namespace gets; somebody else may be faster,
 * so it is looked at and tried again. The creator's pid, uid and gid the kernel
 * takes from whoever makes it: a helper that has them for a moment.
 */
#include "ipc.h"

#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define TRIES 8

struct order { /* shared with the helper */
	enum sort sort;
	key_t key;
	uint64_t size;
	int flags;
	uid_t uid;
	gid_t gid;
	int id; /* what was made */
};

int item_fail(const struct item *it, int r, const char *what, struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "System V %s %u", sort_names[it->sort], it->perm->id);
	return crcore_fail(err, r, "%s: %s", what, strerror(-r));
}

int ipc_become(uid_t uid, gid_t gid)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (uid == geteuid() && gid == getegid())
		return 0;
	if (setresgid((gid_t)-1, gid, (gid_t)-1) < 0 || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ||
	    setresuid((uid_t)-1, uid, (uid_t)-1) < 0 || syscall(SYS_capget, &head, data) < 0)
		return -errno;
	data[0].effective = data[0].permitted;
	data[1].effective = data[1].permitted;
	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

static int carry_out(void *arg)
{
	struct order *o = arg;
	int r = ipc_become(o->uid, o->gid);

	if (r < 0)
		return r;
	if (o->sort == SHM)
		o->id = shmget(o->key, o->size, o->flags);
	else if (o->sort == SEM)
		o->id = semget(o->key, (int)o->size, o->flags);
	else
		o->id = msgget(o->key, o->flags);
	return o->id < 0 ? -errno : 0;
}

int ipc_run_as(struct ipc *s, pid_t pid, int (*fn)(void *), void *arg, struct crcore_error *err)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	int r = -EEXIST;

	if (pid > 0)
		r = s->host->run_as(s->ctx, pid, fn, arg, &ignored);
	if (pid > 0 && ignored.code)
		s->host->log(s->ctx, 2, "the number %d cannot be had for a moment (%s): what it did "
		             "shows another", pid, ignored.message);
	if (pid <= 0 || ignored.code)
		r = s->host->run_as(s->ctx, 0, fn, arg, err);
	return r;
}

void ipc_remove(enum sort sort, int id)
{
	if (sort == SHM)
		shmctl(id, IPC_RMID, NULL);
	else if (sort == SEM)
		semctl(id, 0, IPC_RMID);
	else
		msgctl(id, IPC_RMID, NULL);
}

void item_remove(struct item *it)
{
	if (it->made)
		ipc_remove(it->sort, (int)it->perm->id);
	it->made = false;
}

static int try(struct ipc *s, struct item *it, pid_t pid, struct order *o, struct crcore_error *err)
{
	char name[40], text[16];

	snprintf(name, sizeof(name), "kernel/%s_next_id", sort_names[it->sort]);
	snprintf(text, sizeof(text), "%u", it->perm->id);
	int r = ipc_sysctl_write(name, text);
	if (r < 0) {
		crcore_advise(err, "needs a kernel with CONFIG_CHECKPOINT_RESTORE and the rights to write "
		              "/proc/sys/%s", name);
		return item_fail(it, r, "its id cannot be chosen", err);
	}
	r = ipc_run_as(s, pid, carry_out, o, err);
	if (r < 0)
		return item_fail(it, r, "cannot be made", err);
	if ((uint32_t)o->id == it->perm->id) {
		it->made = true;
		return 1;
	}
	ipc_remove(it->sort, o->id); /* somebody else was faster, or has the number */
	return 0;
}

int item_make(struct ipc *s, struct item *it, pid_t pid, uint64_t size, int flags,
              struct crcore_error *err)
{
	struct order *o = mmap(NULL, sizeof(*o), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	                       0);
	int r = will_item(s, it, err);

	if (o == MAP_FAILED)
		return crcore_no_memory(err);
	*o = (struct order){ it->sort, (key_t)it->perm->key, size, flags | IPC_CREAT | IPC_EXCL | 0600,
		             it->perm->cuid, it->perm->cgid, -1 };
	for (int i = 0; r == 0 && i < TRIES; i++)
		r = try(s, it, pid, o, err);
	munmap(o, sizeof(*o));
	if (r == 0)
		return item_fail(it, -EEXIST, "its id is in use", err);
	return r < 0 ? r : 0;
}

int item_dress(struct item *it, struct crcore_error *err)
{
	const struct ipc_perm perm = { .uid = it->perm->uid,
		                           .gid = it->perm->gid,
		                           .mode = it->perm->mode };
	struct shmid_ds shm = { .shm_perm = perm };
	struct semid_ds sem = { .sem_perm = perm };
	struct msqid_ds msg;
	int r, id = (int)it->perm->id;

	if (it->sort == SHM) {
		r = shmctl(id, IPC_SET, &shm);
	} else if (it->sort == SEM) {
		r = semctl(id, 0, IPC_SET, (union semun){ .buf = &sem });
	} else if ((r = msgctl(id, IPC_STAT, &msg)) == 0) { /* the limit stays */
		msg.msg_perm.uid = perm.uid;
		msg.msg_perm.gid = perm.gid;
		msg.msg_perm.mode = perm.mode;
		r = msgctl(id, IPC_SET, &msg);
	}
	return r < 0 ? item_fail(it, -errno, "cannot be given its owner and mode", err) : 0;
}
