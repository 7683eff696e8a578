# SPDX-License-Identifier: Apache-2.0
"""A standby without pg_basebackup: not all majors come with it, and another one's talks to no newer server."""
import os
import shutil
from pathlib import Path

LEFT_OUT = ("postmaster.pid", "postmaster.opts", "pg_replslot", "pg_wal")


def copy(primary, data, user):
    """The data folder of a standby that follows it; user: whose it is to be, if not ours."""
    session = primary.connect()            # the backup ends when this does
    cursor = session.cursor()
    cursor.execute("SELECT pg_backup_start('standby', fast => true)")
    _copy_tree(primary.folder / "data", Path(data))
    (data / "pg_replslot").mkdir()
    cursor.execute("SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)")
    (data / "backup_label").write_text(cursor.fetchone()[0])
    _copy_tree(primary.folder / "data" / "pg_wal", data / "pg_wal")    # all that was written meanwhile
    session.close()
    (data / "standby.signal").touch()
    with open(data / "postgresql.auto.conf", "a", encoding="utf-8") as settings:
        settings.write(f"primary_conninfo = '{primary.url()}'\n")
    for path in [data, *data.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
        if user:
            os.chown(path, user.pw_uid, user.pw_gid)


def _copy_tree(source, target):
    """Of a server that goes on: files come and go, and its log says what became of them."""
    target.mkdir()
    for entry in os.scandir(source):
        if entry.name in LEFT_OUT:
            continue
        if entry.is_dir():
            _copy_tree(Path(entry.path), target / entry.name)
            continue
        try:
            shutil.copyfile(entry.path, target / entry.name)
        except FileNotFoundError:
            pass
