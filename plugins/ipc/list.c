/* SPDX-License-Identifier: Apache-2.0 */
/* What there is in the IPC namespace of this process, and its limits. */
#include "ipc.h"
#include "plugins/tasks.h"

const char *const sort_names[NSORTS] = { "shm", "sem", "msg" };

static void from_perm(struct entry *e, const struct ipc_perm *p)
{
	e->key = (uint32_t)p->__key;
	e->uid = p->uid;
	e->gid = p->gid;
	e->cuid = p->cuid;
	e->cgid = p->cgid;
	e->mode = p->mode;
}

/* by_index: n is a place in the kernel's table, not an id. */
static bool stat_shm(int n, bool by_index, struct entry *ret)
{
	struct shmid_ds ds;
	int id = shmctl(n, by_index ? SHM_STAT_ANY : IPC_STAT, &ds);

	if (id < 0)
		return false;
	*ret = (struct entry){ .id = by_index ? id : n, .size = ds.shm_segsz, .nattch = ds.shm_nattch,
		               .pids = { ds.shm_cpid, ds.shm_lpid } };
	from_perm(ret, &ds.shm_perm);
	return true;
}

static bool stat_sem(int n, bool by_index, struct entry *ret)
{
	struct semid_ds ds;
	int id = semctl(n, 0, by_index ? SEM_STAT_ANY : IPC_STAT, (union semun){ .buf = &ds });

	if (id < 0)
		return false;
	*ret = (struct entry){ .id = by_index ? id : n, .size = ds.sem_nsems,
		               .operated = ds.sem_otime != 0 };
	from_perm(ret, &ds.sem_perm);
	return true;
}

static bool stat_msg(int n, bool by_index, struct entry *ret)
{
	struct msqid_ds ds;
	int id = msgctl(n, by_index ? MSG_STAT_ANY : IPC_STAT, &ds);

	if (id < 0)
		return false;
	*ret = (struct entry){ .id = by_index ? id : n, .size = ds.msg_qbytes,
		               .pids = { ds.msg_lspid, ds.msg_lrpid } };
	from_perm(ret, &ds.msg_perm);
	return true;
}

static bool (*const stats[NSORTS])(int, bool, struct entry *) = { stat_shm, stat_sem, stat_msg };

bool ipc_stat(enum sort sort, int id, struct entry *ret)
{
	return stats[sort](id, false, ret);
}

/* The highest place in the kernel's table that is in use. */
static int highest(enum sort sort)
{
	struct shm_info shm;
	struct seminfo sem;
	struct msginfo msg;

	if (sort == SHM)
		return shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&shm);
	if (sort == SEM)
		return semctl(0, 0, SEM_INFO, (union semun){ .info = &sem });
	return msgctl(0, MSG_INFO, (struct msqid_ds *)(void *)&msg);
}

int ipc_list(enum sort sort, struct list *ret, struct crcore_error *err)
{
	int max = highest(sort);

	*ret = (struct list){ 0 };
	if (max < 0)
		return crcore_fail(err, -errno, "cannot look at System V IPC: %s", strerror(errno));
	for (int i = 0; i <= max; i++) {
		struct entry e;
		if (!stats[sort](i, true, &e))
			continue;
		if (!GROW(ret->v, ret->n)) {
			free(ret->v);
			return crcore_no_memory(err);
		}
		ret->v[ret->n++] = e;
	}
	return 0;
}

const struct entry *list_find(const struct list *l, int id)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->v[i].id == id)
			return &l->v[i];
	return NULL;
}

/* ---- limits ---- */

static int sysctl_open(const char *name, int flags)
{
	char path[80];

	snprintf(path, sizeof(path), "/proc/sys/%s", name);
	return open(path, flags | O_CLOEXEC);
}

bool ipc_sysctl_read(const char *name, char *ret, size_t len)
{
	cleanup_close int fd = sysctl_open(name, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, len - 1);

	while (n > 0 && (ret[n - 1] == '\n' || ret[n - 1] == ' '))
		n--;
	ret[n > 0 ? n : 0] = '\0';
	return n > 0;
}

int ipc_sysctl_write(const char *name, const char *value)
{
	cleanup_close int fd = sysctl_open(name, O_WRONLY);

	if (fd < 0)
		return -errno;
	return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

const struct crcore_task *ipc_task(const struct ipc *s, pid_t pid)
{
	return task_of_thread(s->host, s->ctx, pid);
}
