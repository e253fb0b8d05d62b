/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials of one thread, in the only order that works: while uids change,
 * SECBIT_NO_SETUID_FIXUP keeps the capabilities that the later steps need;
 * inheritable before ambient (ambient is a subset of it); the bounding set and
 * the final securebits while there is CAP_SETPCAP; permitted and effective last.
 *
 * This resets the parent-death signal and dumpable: they come afterwards.
 */
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include "core/restore/restore.h"

#define ALL_CAPS 64

static void set_groups(prog *p, const Crcore__Creds *c)
{
	uint32_t groups = prog_data(p, c->groups, c->n_groups * sizeof(*c->groups));

	CALL(p, "set groups", SYS_setgroups, EXPECT_EQUAL, 0, IMM(c->n_groups), DATA(groups));
	CALL(p, "set group ids", SYS_setresgid, EXPECT_EQUAL, 0, IMM(c->rgid), IMM(c->egid),
	     IMM(c->sgid));
	CALL(p, "set file system group", SYS_setfsgid, EXPECT_ANY, 0, IMM(c->fsgid));
}

static void set_users(prog *p, const Crcore__Creds *c)
{
	CALL(p, "set user ids", SYS_setresuid, EXPECT_EQUAL, 0, IMM(c->ruid), IMM(c->euid),
	     IMM(c->suid));
	CALL(p, "set file system user", SYS_setfsuid, EXPECT_ANY, 0, IMM(c->fsuid));
}

static void set_caps(prog *p, const char *label, uint64_t permitted, uint64_t effective,
                     uint64_t inheritable)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++) {
		data[i].permitted = (uint32_t)(permitted >> (32 * i));
		data[i].effective = (uint32_t)(effective >> (32 * i));
		data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
	}
	uint32_t h = prog_data(p, &head, sizeof(head)), d = prog_data(p, data, sizeof(data));
	CALL(p, label, SYS_capset, EXPECT_EQUAL, 0, DATA(h), DATA(d));
}

static void set_ambient(prog *p, const struct own *own, const Crcore__Creds *c)
{
	if (own->creds.ambient)
		CALL(p, "clear ambient capabilities", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_CAP_AMBIENT),
		     IMM(PR_CAP_AMBIENT_CLEAR_ALL));
	for (unsigned cap = 0; cap < ALL_CAPS; cap++)
		if (c->ambient >> cap & 1)
			CALL(p, "raise ambient capability", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_CAP_AMBIENT),
			     IMM(PR_CAP_AMBIENT_RAISE), IMM(cap));
}

void creds_build(prog *p, const struct own *own, const Crcore__Creds *c)
{
	const Crcore__Creds *o = &own->creds;

	if (!creds_equal(o, c)) {
		CALL(p, "keep capabilities", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_SECUREBITS),
		     IMM(o->securebits | SECBIT_NO_SETUID_FIXUP));
		if (!groups_equal(o, c)) /* that takes a capability, even if it changes nothing */
			set_groups(p, c);
		set_users(p, c);
		set_caps(p, "set inheritable capabilities", o->permitted, o->permitted, c->inheritable);
		set_ambient(p, own, c);
		for (unsigned cap = 0; cap < ALL_CAPS; cap++)
			if ((o->bounding & ~c->bounding) >> cap & 1)
				CALL(p, "drop from bounding set", SYS_prctl, EXPECT_EQUAL, 0,
				     IMM(PR_CAPBSET_DROP), IMM(cap));
		CALL(p, "set securebits", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_SECUREBITS),
		     IMM(c->securebits));
		set_caps(p, "set capabilities", c->permitted, c->effective, c->inheritable);
	}
	if (c->no_new_privs && !o->no_new_privs)
		CALL(p, "set no_new_privs", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_NO_NEW_PRIVS), IMM(1));
}
