/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flags of the command line that set an option of a plugin, by the names that
 * users of the classic tool know. They are data about plugins, so they are
 * here and not in the core: a plugin that wants a flag of its own adds a line.
 * Whatever has no line here is set by --set PLUGIN.OPTION=VALUE.
 *
 * FLAG(name, letter, metavar, verbs, plugin, option, text, append, help)
 *   letter   0: none
 *   metavar  NULL: the flag takes no value and sets text; "[X]": the value is
 *            optional, without it text is set
 *   verbs    where it makes sense: V_DUMP, V_RESTORE, ... (core/cli/flags.h)
 *   append   true: adds to a list ("KEY=VALUE" to a map) instead of replacing
 */
#define SAVED_AND_RESTORED (V_DUMP | V_CHECK | V_RESTORE)

FLAG("ghost-limit", 0, "SIZE", V_DUMP | V_CHECK, "files", "ghost-limit", NULL, false,
     "largest deleted file whose contents the image takes")
FLAG("link-remap", 0, NULL, V_DUMP | V_CHECK, "files", "link-remap", "yes", false,
     "give a hidden name to an open file whose own name is deleted")
FLAG("inherit-fd", 0, "fd[N]:RESOURCE", V_RESTORE, "files", "inherit-fd", NULL, true,
     "use descriptor N of crcore in place of the resource")
FLAG("file-locks", 0, NULL, V_DUMP | V_CHECK, "files", "file-locks", "yes", false,
     "save and restore file locks")
FLAG("ext-unix-sk", 0, NULL, SAVED_AND_RESTORED, "sockets", "external-unix", "*=reconnect", true,
     "unix sockets whose other end is outside the tree are connected again")
FLAG("tcp-established", 0, NULL, SAVED_AND_RESTORED, "tcp", "established", "keep", false,
     "keep TCP connections, and those that wait to be accepted")
FLAG("tcp-close", 0, NULL, SAVED_AND_RESTORED, "tcp", "established", "close", false,
     "restore established TCP connections as closed ones")
FLAG("tmp-file", 0, "PATTERN", V_DUMP | V_CHECK, "tmpfiles", "include", NULL, true,
     "take files whose path matches into the image")
FLAG("manage-cgroups", 0, "[MODE]", SAVED_AND_RESTORED, "cgroup-freezer", "manage", "soft", false,
     "save cgroups and make them again")
FLAG("cgroup-root", 0, "PATH", V_RESTORE, "cgroup-freezer", "root", NULL, true,
     "put the tree's control groups below this path (HIERARCHY:PATH: of one)")
FLAG("freeze-cgroup", 0, "PATH", V_DUMP | V_CHECK, "cgroup-freezer", "freeze", NULL, false,
     "freeze the tree by this cgroup")
FLAG("external", 0, "RESOURCE", V_DUMP | V_CHECK, "files", "external", NULL, true,
     "a descriptor's resource that stays outside: pipe[N], socket[N], file[MNT:INO], "
     "tty[RDEV:DEV], a path")
FLAG("root", 'r', "DIR", V_RESTORE, "mounts", "root", NULL, false,
     "root of the file systems in which the tree is restored")
FLAG("action-script", 0, "FILE", V_DUMP | V_RESTORE, "scripts", "run", NULL, true,
     "run this at each stage")

#undef SAVED_AND_RESTORED
