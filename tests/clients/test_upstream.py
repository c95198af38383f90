"""Mosquitto as the broker of a fleet, and daemons that consume from it."""

import contextlib
import shutil
import socket
import subprocess
import time

import paho.mqtt.client as mqtt
import pytest

from conftest import configured, started

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
RULE = """sql = "SELECT n FROM 'up/+'"
[[actions]]
[actions.timestream]
database_name = "fleet"
table_name = "up"
dimensions = [{ name = "topic", value = "${topic()}" }]
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def mosquitto(folder, extra=""):
    """A Mosquitto that keeps what waits for absent clients in memory."""
    port = free_port()
    # As root it would become another user, who cannot read the folder of a test.
    settings = "user root\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n"
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\n{settings}{extra}")
    with open(folder / "mosquitto.log", "w") as log:
        process = subprocess.Popen([MOSQUITTO, "-c", folder / "mosquitto.conf"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert time.monotonic() < deadline, (folder / "mosquitto.log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


def consumer(folder, url, keys=""):
    """Configures a daemon that consumes from `url`."""
    folder.mkdir(exist_ok=True)
    upstream = f'[[upstream]]\nname = "fleet"\nurl = "{url}"\nfilters = ["up/#"]\n{keys}\n'
    configured(folder, upstream)
    (folder / "rules" / "up.toml").write_text(RULE)


def numbers(daemon):
    """The numbers whose rows can be queried."""
    try:
        answer = daemon.client("timestream-query").query(
            QueryString="SELECT DISTINCT measure_value::bigint FROM fleet.up", MaxRows=1000
        )
    except Exception as error:  # the table is made with the first row
        assert "does not exist" in str(error), error
        return set()
    rows = answer["Rows"]
    client = daemon.client("timestream-query")
    while "NextToken" in answer:
        answer = client.query(
            QueryString="SELECT DISTINCT measure_value::bigint FROM fleet.up",
            MaxRows=1000,
            NextToken=answer["NextToken"],
        )
        rows += answer["Rows"]
    return {int(row["Data"][0]["ScalarValue"]) for row in rows}


def wait_until(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def metric(daemon, name):
    import json
    import urllib.request

    with urllib.request.urlopen(f"{daemon.url}/metrics.json") as answer:
        return json.load(answer)["metrics"][name][0]["value"]


def connected(daemon):
    wait_until(lambda: metric(daemon, "tidemill_upstream_connected") == 1, "no connection upstream")


@contextlib.contextmanager
def publisher(port, tls=None):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="publisher")
    client.max_queued_messages_set(0)
    if tls:
        client.tls_set(**tls)
    client.connect("127.0.0.1", port)
    client.loop_start()
    yield lambda n: client.publish("up/a", f'{{"n":{n}}}', qos=1)
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_what_is_published_while_a_daemon_is_away_waits_for_it(tmp_path, pytestconfig, version):
    with mosquitto(tmp_path) as port, publisher(port) as publish:
        folder = tmp_path / "daemon"
        consumer(folder, f"mqtt://127.0.0.1:{port}", f'version = "{version}"')
        with started(folder, pytestconfig) as daemon:
            connected(daemon)
            for n in range(50):
                publish(n).wait_for_publish(10)
            wait_until(lambda: numbers(daemon) == set(range(50)), "rows are missing")
        for n in range(50, 100):
            publish(n).wait_for_publish(10)
        with started(folder, pytestconfig) as daemon:
            wait_until(lambda: numbers(daemon) == set(range(100)), "rows are missing")
            wait_until(lambda: metric(daemon, "tidemill_upstream_waiting") == 0, "acknowledgements are missing")


def test_two_daemons_share_and_lose_nothing_when_one_is_killed(tmp_path, pytestconfig):
    with mosquitto(tmp_path) as port, publisher(port) as publish:
        folders = [tmp_path / name for name in ("one", "two")]
        for folder in folders:
            consumer(folder, f"mqtt://127.0.0.1:{port}", 'share_group = "g"')
        with started(folders[0], pytestconfig) as survivor:
            connected(survivor)
            with started(folders[1], pytestconfig) as victim:
                connected(victim)
                sent = [publish(n) for n in range(2000)]
                sent[400].wait_for_publish(30)
                victim.process.kill()
                victim.process.wait()
                for message in sent:
                    message.wait_for_publish(30)
            with started(folders[1], pytestconfig) as back:
                both = lambda: numbers(survivor) | numbers(back)
                wait_until(lambda: both() == set(range(2000)), "rows are missing")
                assert numbers(survivor) and numbers(back), "both had a share"


def certificates(folder):
    """An authority, a server and a client, as files."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    for name in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.pem", "-extfile", "names",
        )  # fmt: skip


def test_tls_with_a_client_certificate(tmp_path, pytestconfig):
    certificates(tmp_path)
    files = "".join(
        f"{key} {tmp_path / file}\n"
        for key, file in [("cafile", "ca.pem"), ("certfile", "server.pem"), ("keyfile", "server.key")]
    )
    with mosquitto(tmp_path, f"{files}require_certificate true\n") as port:
        folder = tmp_path / "daemon"
        keys = ", ".join(
            f'{key} = "{tmp_path / file}"'
            for key, file in [("ca", "ca.pem"), ("certificate", "client.pem"), ("key", "client.key")]
        )
        consumer(folder, f"mqtts://127.0.0.1:{port}", f"tls = {{ {keys} }}")
        tls = {
            "ca_certs": tmp_path / "ca.pem",
            "certfile": tmp_path / "client.pem",
            "keyfile": tmp_path / "client.key",
        }
        with started(folder, pytestconfig) as daemon, publisher(port, tls) as publish:
            connected(daemon)
            publish(7).wait_for_publish(10)
            wait_until(lambda: numbers(daemon) == {7}, "the row is missing")
