# SPDX-License-Identifier: Apache-2.0
"""This machine as if the package were installed, for this process and its children only: a mount
namespace of our own in which what packaging/stage made lies over /usr and /etc, and /run and
/var/lib/hongbao are empty. Nothing of it is left when the process ends.
"""
import os
import re
import shutil
import subprocess
import tempfile

import unit

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NODE = "/var/lib/hongbao/node"
UNITS = "/usr/lib/systemd/system"
PREPARE = "/usr/lib/hongbao/prepare"


# A node of a test needs little memory.
SMALL = """capacity: { accounts = 65536; packets = 16384; windows = 65536; orders = 16384;
  idempotency = 16384; holds = 16384; arena_mib = 16; };
"""


def set_option(path, name, value):
    """Change one line of a configuration file."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    text, count = re.subn(r"^(\s*%s = ).*;" % name, r"\g<1>%s;" % value, text, flags=re.M)
    if count != 1:
        raise unit.UnitError("%s has %d lines '%s'" % (path, count, name))
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def enter(build, module, port):
    """@return the temporary folder; remove() it at the end"""
    place = tempfile.mkdtemp(prefix="hongbao-units-")
    stage = os.path.join(place, "stage")
    subprocess.run([os.path.join(ROOT, "packaging", "stage"), build, stage,
                    os.path.dirname(module)], check=True)
    os.makedirs(os.path.join(stage, "usr/lib/systemd"), exist_ok=True)
    shutil.move(os.path.join(stage, "lib/systemd/system"), os.path.join(stage, "usr/lib/systemd"))
    set_option(os.path.join(stage, "etc/hongbao/hongbao.conf"), "listen", '"127.0.0.1:%d"' % port)
    with open(os.path.join(stage, "etc/hongbao/hongbao.conf"), "a", encoding="utf-8") as file:
        file.write(SMALL)
    os.mkdir(os.path.join(place, "state"))
    os.chmod(place, 0o755)
    unit.unshare(unit.CLONE_NEWNS)
    unit.mount("none", "/", None, unit.MS_REC | unit.MS_PRIVATE)
    for name in ("usr", "etc"):
        unit.mount("overlay", "/" + name, "overlay", 0,
                   "lowerdir=%s/%s:/%s" % (stage, name, name))
    os.makedirs("/var/lib/hongbao", exist_ok=True)
    unit.mount(os.path.join(place, "state"), "/var/lib/hongbao", None, unit.MS_BIND)
    unit.mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
    os.mkdir("/run/test")
    os.chmod("/run/test", 0o755)
    return place


def prepare_node():
    """As the package's postinst does. Small, as tests are."""
    environment = dict(os.environ, HONGBAO_MYSQL_POOL="128M", HONGBAO_MYSQL_LOG="64M")
    subprocess.run([PREPARE, "node"], check=True, env=environment)


def remove(place):
    shutil.rmtree(place, ignore_errors=True)
