"""What the parsers know, and what is nearly that: where the changing begins."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.fuzz import hashes, manifest, metrics, targets

UPDATE = (
    b'{"jsonrpc":"2.0","id":"1","method":"update_vim","params":{"vim_id":"v","status":"REACHABLE","action_id":"a",'
    b'"generation":7,"seq":12,"holder":"h","reason":"HTTP 200"},"reply_to":"vimmon:rpc:replies:me","expires_at":5}'
)
ASSIGNMENT = (
    b'{"vim_id":"v","action_id":"a","generation":7,'
    b'"probe":{"kind":"http","preset":"keystone","auth_url":"http://h:1","interval_s":5}}'
)

VIM = (
    b'{"id": "0b9c2ba4-e88f-4cde-9f0f-1e2d3c4b5a69", "name": "tokyo", "type": "openstack", "tenant_id": "abc",'
    b' "auth_url": "http://h:1/v3", "extra": {"vimmon": {"status": "UNKNOWN", "since": "2026"}}}'
)
OTHER = b'{"id": "x", "name": "\\u0000", "type": "vmware", "auth_url": 1, "auth_cred": {"password": "s3cr3tpassw0rd"}}'


@dataclass(frozen=True)
class Target:
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


TARGETS: Final = {
    "request": Target(
        targets.request,
        (
            UPDATE,
            b'{"jsonrpc":"2.0","id":1e999,"method":"x","params":{"status":"\\ud800"},"reply_to":"vimmon:rpc:replies:"}',
            b'{"jsonrpc":"2.0","id":[],"method":"update_vim","params":[{}],"reply_to":null,"expires_at":1.5}',
        ),
    ),
    "reply": Target(
        targets.reply,
        (
            b'{"jsonrpc":"2.0","id":"1","result":{"status":"REACHABLE","applied":false,"seq":12}}',
            b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"the database is away"}}',
            b'{"jsonrpc":"2.0","id":{},"error":{"code":1e400,"message":[]}}',
        ),
    ),
    "lease": Target(
        targets.lease, (b"7:3f2c", b"8:-", b"5:a", b"6:a", b"1000005:a", b"999999999999999:a", "٧:a".encode())
    ),
    "status": Target(
        targets.status, (b"7:12:REACHABLE:mistral-1:42:ab12:9f", b"1770000000.25", b"-inf", b"1e400", b"0:0:UNKNOWN:")
    ),
    "auth_url": Target(
        targets.auth_url,
        (
            b"https://keystone.example.org:5000/v3",
            b"http://[2001:db8::1%25eth0]:5000/v3",
            b"http://user:s3cr3tpassw0rd@192.0.2.1:80/",
            b"https://k8s.example.org.:6443/a%2fb/../c;x=1?q#f",
        ),
    ),
    "probe": Target(
        targets.probe,
        (
            b"tcp,interval_s=5,fall=2",
            b'{"kind": "http", "preset": "kubernetes", "interval_s": 1e1, "rise": 3}',
            b"http,preset=keystone,timeout_s=0.05,confirm_interval_s=nan",
        ),
    ),
    "assignment": Target(
        targets.assignment,
        (
            ASSIGNMENT,
            b'{"vim_id":7,"action_id":null,"generation":"7","probe":{"kind":"tcp","auth_url":"http://h"}}',
        ),
    ),
    "settings": Target(
        targets.settings,
        (
            b"VIMMON_CHECK_INTERVAL_S=60\nVIMMON_PREFIX=vimmon\nVIMMON_REDIS_URL=redis://u:s3cr3tpassw0rd@h:x/0",
            b"VIMMON_HISTORY_DAYS=1e300\nVIMMON_LEASE_TTL_S=1e400\nVIMMON_CHEK=1",
            *(b"VIMMON_%s_S=1e300" % name for name in (b"UNKNOWN_AFTER", b"PURGE_AFTER", b"SWEEP_INTERVAL")),
            *(b"VIMMON_HISTORY_DAYS=1e300", b"VIMMON_CONDUCTOR_BEAT_S=1e-9"),
            b"1=5\n2=0.1\n3=1e9\n17=10\n20=-0\n9=nan",
            b"VIMMON_MISTRAL_URL=http://u:s3cr3tpassw0rd@h\nVIMMON_EXECUTOR_NAME=a:*",
        ),
    ),
    "redis_url": Target(
        targets.redis_url,
        (
            b"rediss://user:s3cr3tpassw0rd@redis.example.org:6379/0?ssl_check_hostname=true&protocol=2",
            b"redis+sentinel://u:s3cr3tpassw0rd@a:1,[::1]:2,c/mymaster/3",
            b"rediss+sentinel://[s3cr3tpassw0rd@a/m?ssl_check_hostname=no",
            b"unix://u@/run/redis.sock?db=1&password=s3cr3tpassw0rd",
            b"redis://u:1/s3cr3tpassw0rd@h?health_check_interval=5&socket_keepalive=1#s3cr3tpassw0rd",
        ),
    ),
    "keystone": Target(
        targets.keystone, (b'{"versions": {"values": [{"id": "v3.14"}]}}', b'{"version": []}', b"<html>")
    ),
    "tacker": Target(
        targets.tacker,
        (
            b'{"vims": [%s, %s], "vims_links": [{"rel": "next", "href": "http://h/v1.0/vims?marker=x"}]}'
            % (VIM, OTHER),
            b'{"vims": [%s, %s]}' % (VIM, VIM.replace(b"0b9", b"0b8")),
            b'{"vims": [%s, "", null, [], {"id": []}], "vims_links": {}}'
            % VIM.replace(b"http://", b"http://s3cr3tpassw0rd@"),
            b'{"vims": [], "vims_links": [{"rel": "next", "href": "http://[::1"}]}',
        ),
    ),
    "following": Target(
        targets.following,
        (
            b'began_ms=1\nread_ms=2\nfailed=1\nerror="away"\nfollowed=7\nskipped=1\ninterval_s=60',
            b'doubt={"times": 1, "missing": ["a"], "out_of": 4, "since_ms": 5}\nfailed=9223372036854775807',
            b'not_watched=[{"id": "a", "name": "b", "reason": "c"}]\ninterval_s=1e300\nbegan_ms=-9223372036854775808',
        ),
    ),
    "metrics": Target(
        metrics.run,
        (
            b'mistral-1:42:ab12\nrunning=3\nprobes={"tcp":{"REACHABLE":7}}\noldest_check_s=1e3\nflapping=["v","v"]',
            b'\xff"\\\nanswers={"tcp":{"bounds":[0.1,1],"counts":[1,2,3],"sum":4.5}}\ncertificates={"v":1.9e9,"\\n":0}',
            b'e\nlag={"turn":{"bounds":[1],"counts":[0,9007199254740992],"sum":1e15}}\ncalls:applied=7\nchanges:UNKNOWN=-1',
            b"e\nbatch_requests:1=2\nbatch_requests:inf=1\nbatch_seconds:sum=999999999999999999\nreconcile_ended_ms=x",
        ),
    ),
    "manifest": Target(
        manifest.run,
        (
            b"vims:\n  - name: a\n    auth_url: http://h:1\n    probe: &p {kind: tcp, fall: 2}\n",
            b"- &a {name: a, auth_url: http://h:1}\n- {<<: *a, name: b, type: generic, probe: 'tcp,fall=2'}\n",
            b"- name: !!int x\n  auth_url: !!timestamp 2026-99-99\n  probe: !!bool maybe\n",
            b'[{"name": "a", "auth_url": "https://h:5000/v3", "probe": {"kind": "icmp", "fall": 3}}]',
        ),
    ),
    "hashes": Target(
        hashes.run,
        (
            b"mistral-1:42:ab12\nv=1:a\nv=2:b\nw=1000001:x",
            b"\xff\nv=999999999999999:a\n=\n\xff=\xff",
            b"mistral-1:42:ab12\nv=nan\nv=inf\nv=-inf\nv=1e400\nv=1_0\nv=-1e300",
        ),
    ),
}
