/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core's own keys of a policy, as a table like any plugin's:
 *
 *   dump.compress    none | lz4 | zstd  pages of memory are packed (none)
 *   dump.compress-level  number  of the codec; 0: its fast one (0)
 *   dump.copy-ahead  auto | yes | no    memory is copied while the tree runs (auto)
 *   dump.leave       kill | running | stopped   what becomes of the tree (kill)
 *   dump.shell-job   bool     session or group leader may be outside the tree (no)
 *   dump.sync        bool     the image is forced to disk before the dump is done (no)
 *   dump.track-memory  bool   what is written to after the dump is tracked (no)
 *   dump.timeout     seconds  to freeze the tree and run its programs (10s)
 *   restore.detached bool     do not wait for the root task (no)
 *   restore.join-ns  list     namespaces, by files, that the tree joins
 *   restore.lazy     bool     the tree runs at once, its memory comes on demand (no)
 *   restore.sibling  bool     the root becomes a child of crcore's parent (no)
 *   restore.stopped  bool     leave the restored tree stopped (no)
 *   restore.pid-wait seconds  for a pid that a zombie still holds (5s)
 *   restore.timeout  seconds  for the tree to be built; 0: none (0)
 *   restore.verify   bool     check the checksums of the pages too (yes)
 */
#ifndef CRCORE_CORE_OPTIONS_H
#define CRCORE_CORE_OPTIONS_H
#include <crcore/plugin.h>
extern const struct crcore_option core_options[]; /* names with the dot, ends with NULL */
#endif
