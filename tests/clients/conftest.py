"""A daemon of each test's own, and the unmodified clients that talk to it."""

import contextlib
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import boto3
import pytest

import models

SHIPPED_RULES = pathlib.Path(__file__).resolve().parents[2] / "rules"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


def pytest_addoption(parser):
    parser.addoption("--binary", required=True, help="the tidemill to test")
    parser.addoption("--javascript", required=True, help="the folder of the client for Node")
    parser.addoption("--rust", required=True, help="the client in Rust")


def check_answer(service, event_name, response_dict=None, **_):
    """Fails where a successful answer is not what the model says."""
    if response_dict is None or response_dict["status_code"] >= 300:
        return
    shape = models.service(service).operation_model(event_name.rsplit(".", 1)[1]).output_shape
    answer = json.loads(response_dict["body"] or b"{}")
    wrong = list(models.mistakes(shape, answer)) if shape else [name for name in answer]
    assert not wrong, (event_name, wrong)


class Daemon:
    """A running tidemill."""

    def __init__(self, folder, process, mqtt, http, **further):
        self.folder = folder
        self.process = process
        self.mqtt_host, mqtt_port = mqtt.rsplit(":", 1)
        self.mqtt_port = int(mqtt_port)
        self.url = f"http://{http}"
        # Of further listeners: the address by the transport.
        self.further = further

    def flush(self):
        """Has everything that was written so far put into Parquet files; returns the files."""
        data = self.folder / "data"
        before = set(data.glob("tables/*/manifest/*.json"))
        self.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 60
        # A manifest names parts once all of them are there.
        while set(data.glob("tables/*/manifest/*.json")) <= before:
            assert time.monotonic() < deadline, "nothing was flushed"
            time.sleep(0.05)
        return list(data.rglob("*.parquet"))

    def client(self, service):
        """A client whose answers are held against AWS's models, beside being used."""
        client = boto3.client(service, endpoint_url=self.url)
        if service in models.SERVICES:
            client.meta.events.register("response-received", functools.partial(check_answer, service))
        return client

    def cli(self, *arguments):
        """Runs the AWS CLI; its output as JSON."""
        command = ["aws", *arguments, "--output", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def environment(credentials):
    """What clients in processes of their own are started with."""
    return dict(os.environ)


def configured(folder, keys):
    """Writes the configuration of a daemon on free ports."""
    shutil.copytree(SHIPPED_RULES, folder / "rules", dirs_exist_ok=True)
    ports = '[mqtt]\nlisten = "127.0.0.1:0"\n[http]\nlisten = "127.0.0.1:0"\n'
    (folder / "config.toml").write_text(ports + keys)


@contextlib.contextmanager
def started(folder, pytestconfig):
    """Runs a daemon; it must end in order, unless the test has killed it."""
    command = [pytestconfig.getoption("binary"), "serve", "--config", str(folder / "config.toml")]
    with open(folder / "log", "a") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        ready = process.stdout.readline().split()
        assert ready[:1] == ["ready"], (folder / "log").read_text()
        addresses = dict(word.split("=", 1) for word in ready[1:])
        yield Daemon(folder, process, **addresses)
    finally:
        killed = process.poll() == -signal.SIGKILL
        process.terminate()
        try:
            code = process.wait(timeout=30)
        finally:
            process.kill()
    assert killed or code == 0, (folder / "log").read_text()


def tidemill(pytestconfig, *arguments, **options):
    command = [pytestconfig.getoption("binary"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


@pytest.fixture
def certs(tmp_path, pytestconfig):
    """An authority, a server's certificate and a client's called pump."""
    folder = tmp_path / "certs"
    for more in [[], ["--client", "pump"]]:
        done = tidemill(pytestconfig, "cert", "--out", str(folder), *more)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def daemon(tmp_path, pytestconfig):
    configured(tmp_path, "")
    with started(tmp_path, pytestconfig) as daemon:
        yield daemon
