# SPDX-License-Identifier: Apache-2.0
"""Peers over HTTP: an nginx that does nothing, and an nginx whose Lua asks Redis for a grab of the
same meaning. Both are private processes in a directory of their own, one worker, without a log,
and take the same request bytes as a node."""
import os
import shutil
import subprocess
import tempfile

from generator import cpu_of_server, pin
from lib import children, expect, free_port, wait_for
from redis_peer import Redis, grab_script, redis_installed

MODULES = "/usr/lib/nginx/modules"
LUA_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
HERE = os.path.dirname(os.path.realpath(__file__))

CONFIG = """
%s
daemon off;
pid nginx.pid;
error_log stderr;
worker_processes 1;
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 60s;
    keepalive_requests 1000000000;
    client_header_buffer_size 2k;
    client_max_body_size 4k;
    client_body_buffer_size 4k;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    default_type application/json;
    %s
    server {
        listen 127.0.0.1:%d reuseport backlog=4096;
        location / { %s }
    }
}
"""

ANSWER = """return 200 '{"status":"ok","packet":"0110000000000001","amount_fen":100,\
"share":1,"left_fen":900,"left_count":9,"order_no":"21101010000020261123080000000000",\
"already":false,"as_of_seq":1000000}';"""

LUA = """
    lua_package_path '/usr/share/lua/5.1/?.lua;;';
    lua_shared_dict user_tokens 64m;
    lua_socket_log_errors off;
    init_by_lua_block {
        grab_peer = { secret_hex = '%s', socket = '%s', script = '%s' }
    }
"""


class Nginx:
    """A private nginx with one worker; a context manager."""

    def __init__(self, location, http="", modules=""):
        self.directory = tempfile.mkdtemp(prefix="hongbao-nginx-")
        os.chmod(self.directory, 0o755)
        self.port = free_port()
        with open(os.path.join(self.directory, "nginx.conf"), "w") as f:
            f.write(CONFIG % (modules, http, self.port, location))
        self.process = subprocess.Popen(
            ["nginx", "-e", "stderr", "-p", self.directory, "-c", "nginx.conf"])
        wait_for("nginx to have a worker", 10, lambda: children(self.process.pid))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def address(self):
        return "127.0.0.1", self.port

    def processes(self):
        return [("nginx", pid) for pid in children(self.process.pid)]

    def pin(self):
        pin([pid for _, pid in self.processes()], cpu_of_server())


def nginx_200():
    """The floor of anything behind nginx: the same bytes, and nothing done."""
    return Nginx(ANSWER)


def lua_installed():
    return bool(redis_installed()) and all(
        os.path.exists(os.path.join(MODULES, name)) for name in LUA_MODULES) and \
        os.path.exists("/usr/share/lua/5.1/nginx/redis.lua")


class LuaRedis(Nginx):
    """nginx, Lua and Redis with appendfsync always: user token (HS256, cached when it was verified),
    group, money token, claim, share, log, credit. @param directory: on the node's file system"""

    def __init__(self, directory, secret_hex):
        self.redis = Redis("always", directory)
        try:
            os.chmod(self.redis.directory, 0o755)
            os.chmod(self.redis.socket, 0o777)
            sha = self.redis.cli("SCRIPT", "LOAD", grab_script(
                "redis.call('HGET', KEYS[4], user) == ARGV[2]"))
            super().__init__(
                "content_by_lua_file %s;" % self.copy_of_script(),
                LUA % (secret_hex, self.redis.socket, sha),
                "\n".join("load_module %s/%s;" % (MODULES, name) for name in LUA_MODULES))
        except BaseException:
            self.redis.close()
            raise

    def copy_of_script(self):
        """Where nginx's worker can read it, whatever the checkout's permissions."""
        path = os.path.join(self.redis.directory, "grab_peer.lua")
        shutil.copyfile(os.path.join(HERE, "grab_peer.lua"), path)
        os.chmod(path, 0o644)
        return path

    def close(self):
        super().close()
        self.redis.close()

    def processes(self):
        return super().processes() + [("redis", self.redis.process.pid)]

    def pin(self):
        """nginx as ours; Redis floats, as dataplane and persist do."""
        pin([pid for name, pid in self.processes() if name == "nginx"], cpu_of_server())

    def prepare(self, grabs, fen_per_share):
        """Shares and money tokens of grabs: (user, packet, token, sequence)."""
        feed = subprocess.Popen(["redis-cli", "-s", self.redis.socket, "--pipe"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for user, packet, token, _ in grabs:
            feed.stdin.write("RPUSH shares:%s %d\r\nHSET tokens:%s %s %s\r\n" % (
                packet, fen_per_share, packet, user, token))
        out, _ = feed.communicate()
        expect(feed.returncode == 0 and "errors: 0" in out, "redis-cli --pipe:", out)

    def grabbed(self):
        return int(self.redis.cli("LLEN", "log"))
