"""Mosquitto's clients, paho-mqtt and mqtt.js, unmodified: sessions, retained messages, restarts."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
import pytest

from conftest import configured, started

JAVASCRIPT = pathlib.Path(__file__).parent / "mqtt_js"


@pytest.fixture
def restarting(tmp_path, pytestconfig):
    """Starts a daemon again and again in one folder: `with restarting() as daemon`."""
    configured(tmp_path, "")
    return lambda: started(tmp_path, pytestconfig)


def killed(daemon):
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait(timeout=30)


def mosquitto(daemon, program, *arguments, check=True):
    command = [program, "-h", daemon.mqtt_host, "-p", str(daemon.mqtt_port), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.splitlines()


mosquitto_clients = pytest.mark.skipif(
    not shutil.which("mosquitto_sub"), reason="the package mosquitto-clients is not installed"
)


@mosquitto_clients
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_mosquitto_clients_keep_session_and_retained_message_over_a_kill(restarting, version):
    session = ["-V", version, "-i", "lasting", "-c", "-q", "2", "-t", "news/#"]
    if version == "mqttv5":
        session += ["-x", "3600"]
    with restarting() as daemon:
        mosquitto(daemon, "mosquitto_sub", *session, "-E")
        mosquitto(daemon, "mosquitto_pub", "-V", version, "-t", "kept", "-m", "retained", "-r", "-q", "1")
        for number in range(3):
            mosquitto(daemon, "mosquitto_pub", "-V", version, "-t", f"news/{number}", "-m", f"{number}", "-q", "2")
        killed(daemon)
    with restarting() as daemon:
        heard = mosquitto(daemon, "mosquitto_sub", *session, "-C", "3", "-W", "20")
        assert heard == ["0", "1", "2"]
        assert mosquitto(daemon, "mosquitto_sub", "-V", version, "-t", "kept", "-C", "1", "-W", "20") == ["retained"]
        mosquitto(daemon, "mosquitto_pub", "-V", version, "-t", "kept", "-n", "-r", "-q", "1")
        killed(daemon)
    with restarting() as daemon:
        left = mosquitto(daemon, "mosquitto_sub", *session, "-t", "kept", "-W", "1", check=False)
        assert left == []


class Paho:
    """A client of paho-mqtt and what it heard."""

    def __init__(self, daemon, client_id, protocol, clean=False):
        self.heard, self.present, self.subscribed = [], None, threading.Event()
        self.connected = threading.Event()
        arguments = {} if protocol == mqtt.MQTTv5 else {"clean_session": clean}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, **arguments
        )
        self.client.on_message = lambda _client, _data, message: self.heard.append(message)
        self.client.on_connect = self.accepted
        self.client.on_subscribe = lambda *_arguments: self.subscribed.set()
        if protocol == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 3600
            properties.TopicAliasMaximum = 5
            self.client.connect(
                daemon.mqtt_host, daemon.mqtt_port, clean_start=clean, properties=properties
            )
        else:
            self.client.connect(daemon.mqtt_host, daemon.mqtt_port)
        self.client.loop_start()
        assert self.connected.wait(20)

    def accepted(self, _client, _data, flags, reason, _properties):
        assert reason == 0
        self.present = flags.session_present
        self.connected.set()

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        assert self.subscribed.wait(20)

    def publish(self, topic, payload, qos, **more):
        self.client.publish(topic, payload, qos, **more).wait_for_publish(20)

    def hears(self, *payloads):
        """In any order: paho hands a message of QoS 2 on when it is released, behind later ones of QoS 1."""
        deadline = time.monotonic() + 20
        while len(self.heard) < len(payloads):
            assert time.monotonic() < deadline, [message.payload for message in self.heard]
            time.sleep(0.01)
        assert sorted(message.payload.decode() for message in self.heard) == sorted(payloads)

    def goes(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.parametrize("protocol", [mqtt.MQTTv311, mqtt.MQTTv5])
def test_paho_goes_on_with_its_session_after_a_kill(restarting, protocol):
    with restarting() as daemon:
        first = Paho(daemon, "lasting", protocol)
        assert not first.present
        first.subscribe("t/#", 2)
        publisher = Paho(daemon, "publisher", protocol, clean=True)
        publisher.publish("t/1", "live", 2)
        first.hears("live")
        first.goes()
        for qos in (1, 2):
            publisher.publish("t/1", f"missed {qos}", qos)
        publisher.publish("t/2", "kept", 1, retain=True)
        killed(daemon)
        publisher.client.loop_stop()
    with restarting() as daemon:
        second = Paho(daemon, "lasting", protocol)
        assert second.present
        second.hears("missed 1", "missed 2", "kept")
        second.publish("t/1", "again", 2)
        second.hears("missed 1", "missed 2", "kept", "again")
        second.goes()
        other = Paho(daemon, "other", protocol, clean=True)
        other.subscribe("+/2", 1)
        other.hears("kept")
        assert other.heard[0].retain
        other.goes()


def call(daemon, method, path):
    request = urllib.request.Request(daemon.url + path, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        body = answer.read()
        return json.loads(body) if body else None


def test_sessions_are_listed_and_ended(restarting):
    with restarting() as daemon:
        client = Paho(daemon, "größe/1", mqtt.MQTTv5)
        client.subscribe("t", 1)
        Paho(daemon, "b", mqtt.MQTTv311).goes()
        deadline = time.monotonic() + 20
        while True:
            page = call(daemon, "GET", "/mqtt/clients?maxResults=1")
            first = page["clients"][0]
            if not first["connected"]:
                break
            assert time.monotonic() < deadline
        assert (first["clientId"], first["persistent"]) == ("b", True)
        page = call(daemon, "GET", f"/mqtt/clients?nextToken={page['nextToken']}")
        (other,) = page["clients"]
        assert (other["clientId"], other["version"], other["subscriptions"]) == ("größe/1", "5", 1)
        gone = threading.Event()
        client.client.on_disconnect = lambda *_arguments: gone.set()
        assert call(daemon, "DELETE", "/mqtt/clients/gr%C3%B6%C3%9Fe%2F1") is None
        assert gone.wait(20)
        client.goes()
        assert call(daemon, "DELETE", "/mqtt/clients/b") is None
        with pytest.raises(urllib.error.HTTPError) as refused:
            call(daemon, "DELETE", "/mqtt/clients/b")
        assert refused.value.code == 404


@pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")
@pytest.mark.parametrize("transport", ["tcp", "ws", "tls", "wss"])
def test_mqtt_js_goes_on_with_its_session_after_a_kill(certs, tmp_path, pytestconfig, transport):
    modules = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "tidemill" / "mqtt_js"
    if not (modules / "node_modules" / "mqtt").is_dir():
        modules.mkdir(parents=True, exist_ok=True)
        shutil.copy(JAVASCRIPT / "package.json", modules)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=modules, check=True, timeout=300)

    listener = f'[[mqtt.listeners]]\naddress = "127.0.0.1:0"\ntransport = "{transport}"\n'
    if transport in ["tls", "wss"]:
        listener += 'tls = { certificate = "certs/server.pem", key = "certs/server-key.pem" }\n'
    configured(tmp_path, "" if transport == "tcp" else listener)

    def run(daemon, step):
        script = modules / "session.js"
        shutil.copy(JAVASCRIPT / "session.js", script)
        address = daemon.further.get(transport, f"{daemon.mqtt_host}:{daemon.mqtt_port}")
        url = {"tcp": "mqtt", "tls": "mqtts"}.get(transport, transport) + f"://{address}/mqtt"
        done = subprocess.run(
            ["node", str(script), url, str(certs / "ca.pem"), step], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr

    for step in ["before", "after"]:
        with started(tmp_path, pytestconfig) as daemon:
            run(daemon, step)
            if step == "before":
                killed(daemon)
