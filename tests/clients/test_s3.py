"""Parts in a bucket: an unmodified server of the S3 protocol, a connection that breaks, restarts."""

import json
import logging
import select
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import boto3
import pytest

import with_s3
from conftest import configured, started

START = 1_700_000_000_000
NAMES = {"DatabaseName": "db", "TableName": "readings"}


class Wire:
    """A connection to the server that can be cut; clients connect to its address."""

    def __init__(self, server):
        self.server = server
        self.whole = True
        self.lock = threading.Lock()
        self.pairs = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                if not self.whole:
                    client.close()
                    continue
                pair = (client, socket.create_connection(self.server))
                self.pairs.append(pair)
            threading.Thread(target=self.carry, args=pair, daemon=True).start()

    def carry(self, client, server):
        other = {client: server, server: client}
        try:
            while True:
                for end in select.select(list(other), [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    other[end].sendall(data)
        except (OSError, ValueError):
            pass
        finally:
            client.close()
            server.close()

    def cut(self):
        with self.lock:
            self.whole = False
            for pair in self.pairs:
                for end in pair:
                    try:
                        end.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass
            self.pairs = []

    def mend(self):
        with self.lock:
            self.whole = True


@pytest.fixture
def wire():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server, address = with_s3.start()
    wire = Wire(address)
    yield wire
    wire.listener.close()
    wire.cut()
    server.stop()


@pytest.fixture
def site(tmp_path, wire, monkeypatch):
    """A folder whose daemon keeps its parts in the bucket."""
    for name, value in with_s3.environment(wire.address).items():
        monkeypatch.setenv(name, value)
    configured(tmp_path, f'[store]\nurl = "s3://{with_s3.BUCKET}/fleet"\n')
    return tmp_path


def write(daemon, first, count):
    records = [{
        "Dimensions": [{"Name": "host", "Value": f"h{n % 3}"}], "MeasureName": "m", "MeasureValue": str(n),
        "MeasureValueType": "BIGINT", "Time": str(START + n),
    } for n in range(first, first + count)]
    answer = daemon.client("timestream-write").write_records(**NAMES, Records=records)
    assert answer["RecordsIngested"]["Total"] == count


def values(daemon):
    sql = "SELECT measure_value::bigint FROM db.readings ORDER BY time"
    rows = daemon.client("timestream-query").query(QueryString=sql)["Rows"]
    return [int(row["Data"][0]["ScalarValue"]) for row in rows]


def health(daemon):
    with urllib.request.urlopen(f"{daemon.url}/health") as answer:
        return json.load(answer)


def until(done, what):
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def objects(wire):
    """The objects in the bucket, asked of the server itself."""
    client = boto3.client("s3", endpoint_url="http://%s:%d" % wire.server)
    listed = client.list_objects_v2(Bucket=with_s3.BUCKET).get("Contents", [])
    return sorted(thing["Key"] for thing in listed)


def parts(wire):
    return [key for key in objects(wire) if key.endswith(".parquet")]


def manifests(wire):
    return [key for key in objects(wire) if "/manifest/" in key]


def create(daemon):
    client = daemon.client("timestream-write")
    client.create_database(DatabaseName="db")
    client.create_table(**NAMES)


def test_a_lost_connection_delays_parts_and_loses_nothing(site, wire, pytestconfig):
    with started(site, pytestconfig) as daemon:
        create(daemon)
        write(daemon, 0, 50)
        daemon.process.send_signal(signal.SIGUSR1)
        # The manifest is the last thing a flush writes.
        until(lambda: manifests(wire), "no manifest in the bucket")
        assert len(parts(wire)) == 1
        assert not list((site / "data").rglob("*.parquet")), "parts are in the bucket only"
        assert parts(wire)[0].startswith("fleet/")

        wire.cut()
        write(daemon, 50, 50)
        daemon.process.send_signal(signal.SIGUSR1)
        until(lambda: health(daemon)["status"] == "degraded", "health does not tell")
        reason = health(daemon)["reasons"][0]
        assert reason.startswith("rows cannot be moved from memory to parts: writing a part: "), reason
        write(daemon, 100, 50)
        with pytest.raises(boto3.client("timestream-query").exceptions.InternalServerException) as failed:
            values(daemon)
        assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert "a part of the table could not be read" in str(failed.value), failed.value
        assert f"/{with_s3.BUCKET}/fleet/" in str(failed.value), failed.value

        wire.mend()
        until(lambda: health(daemon)["status"] == "ok", "flushes do not go on")
        until(lambda: values(daemon) == list(range(150)), "rows are missing")
        wire.cut()
        write(daemon, 150, 50)
        daemon.process.kill()
        daemon.process.wait()

    wire.mend()
    with started(site, pytestconfig) as daemon:
        assert values(daemon) == list(range(200)), "what was acknowledged before the kill is there"
        daemon.process.send_signal(signal.SIGUSR1)
        until(lambda: len(parts(wire)) >= 2, "no further part")
        daemon.client("timestream-write").delete_table(**NAMES)
        until(lambda: not parts(wire), "parts of a deleted table stay")


def test_wrong_addresses_are_one_sentence(site, wire, pytestconfig, monkeypatch):
    def refused(*arguments):
        command = [pytestconfig.getoption("binary"), *arguments, "--config", str(site / "config.toml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2, done
        return done.stderr.strip().splitlines()[-1]

    url = f"store.url: s3://{with_s3.BUCKET}/fleet: "
    wire.cut()
    sentence = refused("serve")
    assert sentence.startswith(f"tidemill: {url}it cannot be used: "), sentence
    wire.mend()
    with started(site, pytestconfig) as daemon:
        create(daemon)
        write(daemon, 0, 5)
        daemon.process.send_signal(signal.SIGUSR1)
        until(lambda: parts(wire), "no part in the bucket")
    checked = subprocess.run(
        [pytestconfig.getoption("binary"), "check", "--store", "--config", str(site / "config.toml")],
        capture_output=True, text=True, timeout=120,
    )
    assert checked.returncode == 0 and "1 tables, 1 parts" in checked.stdout, checked
    wire.cut()
    assert refused("check", "--store").startswith(f"tidemill: {url}it cannot be used: ")
    wire.mend()

    configured(site, f'[store]\nurl = "s3://{with_s3.BUCKET}/other"\n')
    assert "the parts of 1 tables are at store.url" in refused("serve")
    configured(site, "")
    assert "set it so again, or begin with another store.path" in refused("serve")
    configured(site, '[store]\nurl = "s3://no-such-bucket/fleet"\npath = "another"\n')
    sentence = refused("serve")
    assert sentence == "tidemill: store.url: s3://no-such-bucket/fleet: the bucket does not exist"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://192.0.2.1:9000")
    assert "unencrypted; use https, or set AWS_ALLOW_HTTP=true" in refused("serve")
