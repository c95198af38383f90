"""Who may call: signatures, roles, certificates, passwords and policies, with unmodified clients."""

import datetime
import json
import os
import ssl
import stat
import subprocess
import time
import urllib.error
import urllib.request

import boto3
import botocore
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
import paho.mqtt.client as mqtt
import pytest

from conftest import configured, started, tidemill
from test_iot import PAYLOAD, until

KEYS = {"admin": ("AKIDADMIN", "admin-secret-key"), "writer": ("AKIDWRITER", "writer-secret-key"),
        "reader": ("AKIDREADER", "reader-secret-key"), "one": ("AKIDONE", "one-secret-key-x")}
TOKEN = "a-long-session-token=="
ONE_TABLE = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "timestream:DescribeEndpoints", "Resource": "*"},
        {"Effect": "Allow", "Action": ["timestream:Select", "timestream:WriteRecords"],
         "Resource": "arn:aws:timestream:us-east-1:123456789012:database/plant/table/open"},
        {"Effect": "Allow", "Action": ["iot:Connect", "iot:Receive"], "Resource": "*"},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "arn:aws:iot:*:*:topicfilter/open/#"},
    ],
}
DEVICE = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "iot:Connect",
         "Resource": "arn:aws:iot:us-east-1:123456789012:client/${iot:Connection.Thing.ThingName}"},
        {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"],
         "Resource": "arn:aws:iot:us-east-1:123456789012:topic/dt/${iot:ClientId}/*"},
        {"Effect": "Allow", "Action": "iot:Subscribe",
         "Resource": "arn:aws:iot:us-east-1:123456789012:topicfilter/dt/${iot:ClientId}/#"},
    ],
}


def keys():
    text = ""
    for name, (key, secret) in KEYS.items():
        grant = 'policy = "one.json"' if name == "one" else f'role = "{name}"'
        text += f'[[credentials]]\naccess_key_id = "{key}"\nsecret_access_key = "{secret}"\n{grant}\n'
    text += '[[credentials]]\naccess_key_id = "AKIDTOKEN"\nsecret_access_key = "token-secret-key"\n'
    return text + f'session_token = "{TOKEN}"\nrole = "admin"\n'


def site(folder, http, rest=""):
    """Writes a configuration with keys; `http` is added to [http]."""
    (folder / "one.json").write_text(json.dumps(ONE_TABLE))
    (folder / "device.json").write_text(json.dumps(DEVICE))
    configured(folder, http + "\n" + rest + keys())


TLS = 'tls = { certificate = "certs/server.pem", key = "certs/server-key.pem" }'


@pytest.fixture(params=["http", "https"])
def daemon(request, tmp_path, pytestconfig, monkeypatch):
    http = 'token = "0123456789abcdef"\n'
    if request.param == "https":
        certs = request.getfixturevalue("certs")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certs / "ca.pem"))
        http += TLS
    site(tmp_path, http)
    with started(tmp_path, pytestconfig) as daemon:
        daemon.url = daemon.url.replace("http:", request.param + ":")
        yield daemon


def client(daemon, service, who, secret=None, token=None, config=None):
    key, right = KEYS.get(who, (who, ""))
    return boto3.client(service, endpoint_url=daemon.url, aws_access_key_id=key, config=config,
                        aws_secret_access_key=secret or right, aws_session_token=token)


def refused(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def raises(call, **arguments):
    try:
        call(**arguments)
        return False
    except botocore.exceptions.ClientError:
        return True


def record(value):
    return {"Dimensions": [{"Name": "d", "Value": "1"}], "MeasureName": "m", "MeasureValue": value,
            "Time": str(int(time.time() * 1000))}


def test_only_known_callers_get_in(daemon):
    admin = client(daemon, "timestream-write", "admin")
    admin.create_database(DatabaseName="plant")
    assert [d["DatabaseName"] for d in admin.list_databases()["Databases"]] == ["plant"]

    code, status, text = refused(client(daemon, "timestream-write", "admin", "wrong").list_databases)
    assert (code, status) == ("InvalidSignatureException", 403)
    assert text.startswith("The request signature we calculated does not match the signature you provided.")
    code, status, text = refused(client(daemon, "timestream-write", "NOBODY", "x").list_databases)
    assert (code, status, text) == (
        "UnrecognizedClientException", 403, "The security token included in the request is invalid.")
    unsigned = botocore.config.Config(signature_version=botocore.UNSIGNED)
    code, status, _ = refused(client(daemon, "timestream-write", "admin", config=unsigned).list_databases)
    assert (code, status) == ("MissingAuthenticationTokenException", 403)
    code, _, _ = refused(client(daemon, "timestream-query", "admin", "wrong").query, QueryString="SELECT 1")
    assert code == "InvalidSignatureException"
    code, status, _ = refused(client(daemon, "iot", "admin", "wrong").list_topic_rules)
    assert (code, status) == ("InvalidSignatureException", 403)


def test_session_tokens_are_the_keys_or_refused(daemon):
    def databases(token):
        return client(daemon, "timestream-write", "AKIDTOKEN", "token-secret-key", token).list_databases

    assert databases(TOKEN)()["Databases"] == []
    assert refused(databases(None))[0] == "UnrecognizedClientException"
    assert refused(databases("another"))[0] == "UnrecognizedClientException"
    assert refused(client(daemon, "timestream-write", "admin", token=TOKEN).list_databases)[0] == (
        "UnrecognizedClientException")


def test_an_old_signature_is_refused(daemon, monkeypatch):
    real = botocore.auth.get_current_datetime

    def off(minutes):
        shift = datetime.timedelta(minutes=minutes)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *a, **k: real(*a, **k) + shift)
        # A client of its own: SDKs learn of a clock that is off, and correct it.
        return client(daemon, "timestream-write", "admin", config=botocore.config.Config(
            retries={"total_max_attempts": 1})).list_databases

    assert off(-14)()["Databases"] == []
    assert off(14)()["Databases"] == []
    code, status, text = refused(off(-16))
    assert (code, status) == ("InvalidSignatureException", 403)
    assert text.startswith("Signature expired: ") and text.endswith(" - 15 min.)")
    code, _, text = refused(off(16))
    assert code == "InvalidSignatureException" and text.startswith("Signature not yet current: ")


def test_roles_and_policies_limit_operations(daemon):
    admin = client(daemon, "timestream-write", "admin")
    admin.create_database(DatabaseName="plant")
    for table in ["open", "closed"]:
        admin.create_table(DatabaseName="plant", TableName=table)

    def write(who, table):
        return client(daemon, "timestream-write", who).write_records(
            DatabaseName="plant", TableName=table, Records=[record("1.5")])

    def rows(who, sql):
        return len(client(daemon, "timestream-query", who).query(QueryString=sql)["Rows"])

    write("writer", "closed")
    write("one", "open")
    code, status, text = refused(write, who="reader", table="open")
    assert (code, status) == ("AccessDeniedException", 403)
    assert text == (
        "User: arn:aws:iam::000000000000:user/AKIDREADER is not authorized to perform: timestream:WriteRecords on "
        "resource: arn:aws:timestream:us-east-1:000000000000:database/plant/table/open because no identity-based "
        "policy allows the timestream:WriteRecords action")
    writer = client(daemon, "timestream-write", "writer")
    with pytest.raises(writer.exceptions.AccessDeniedException):
        writer.create_table(DatabaseName="plant", TableName="third")
    assert refused(write, who="one", table="closed")[0] == "AccessDeniedException"

    assert rows("reader", "SELECT * FROM plant.open") == rows("reader", "SELECT * FROM plant.closed") == 1
    assert rows("reader", "SHOW DATABASES") == 1
    assert rows("one", "SELECT * FROM plant.open") == 1
    for sql in ["SELECT * FROM plant.closed", "SHOW DATABASES", "DESCRIBE plant.open", "SELECT 1",
                "SELECT (SELECT count(*) FROM plant.closed) FROM plant.open", 'SELECT * FROM "plant"."closed"']:
        code, _, text = refused(rows, who="one", sql=sql)
        assert code == "AccessDeniedException", sql
    assert "timestream:SelectValues on resource: *" in refused(rows, who="one", sql="SELECT 1")[2]


def test_answers_are_for_those_who_asked(daemon):
    admin = client(daemon, "timestream-write", "admin")
    admin.create_database(DatabaseName="plant")
    asked = {"QueryString": "SELECT n FROM UNNEST(sequence(1, 30)) AS t (n)", "MaxRows": 10, "ClientToken": "t" * 32}
    one, other = (client(daemon, "timestream-query", who) for who in ["admin", "reader"])
    first = one.query(**asked)
    assert one.query(**asked)["QueryId"] == first["QueryId"]
    assert other.query(**asked)["QueryId"] != first["QueryId"]
    further = {"QueryString": asked["QueryString"], "NextToken": first["NextToken"]}
    code, _, text = refused(other.query, **further)
    assert (code, text) == ("ValidationException", "Invalid pagination token.")
    assert one.query(**further)["QueryId"] == first["QueryId"]


def test_policies_and_keys_change_without_a_restart(daemon):
    admin = client(daemon, "timestream-write", "admin")
    admin.create_database(DatabaseName="plant")
    for table in ["open", "closed"]:
        admin.create_table(DatabaseName="plant", TableName=table)
    one = client(daemon, "timestream-query", "one")
    closed = {"QueryString": "SELECT * FROM plant.closed"}
    assert refused(one.query, **closed)[0] == "AccessDeniedException"
    (daemon.folder / "one.json").write_text(json.dumps(ONE_TABLE).replace("table/open", "table/closed"))
    until(lambda: not raises(one.query, **closed))
    assert refused(one.query, QueryString="SELECT * FROM plant.open")[0] == "AccessDeniedException"

    config = daemon.folder / "config.toml"
    before = config.read_text()
    config.write_text(before.replace('"AKIDREADER"', '"AKIDFRESH"'))
    fresh = client(daemon, "timestream-query", "AKIDFRESH", "reader-secret-key")
    until(lambda: not raises(fresh.query, QueryString="SELECT 1"))
    reader = client(daemon, "timestream-query", "reader")
    assert refused(reader.query, QueryString="SELECT 1")[0] == "UnrecognizedClientException"
    config.write_text(before.split("[[credentials]]")[0])
    until(lambda: "count from the next start on" in (daemon.folder / "log").read_text())
    assert not raises(fresh.query, QueryString="SELECT 1"), "what was said before stays"


def test_iot_asks_too(daemon):
    admin = client(daemon, "iot", "admin")
    admin.create_topic_rule(ruleName="plant", topicRulePayload={
        **PAYLOAD, "sql": "SELECT principal() AS who FROM 'plant/x'",
        "actions": [{"timestream": {**PAYLOAD["actions"][0]["timestream"],
                                    "timestamp": {"value": "${timestamp()}", "unit": "MILLISECONDS"}}}]})
    reader = client(daemon, "iot", "reader")
    assert "plant" in [rule["ruleName"] for rule in reader.list_topic_rules()["rules"]]
    code, status, text = refused(reader.delete_topic_rule, ruleName="plant")
    assert (code, status) == ("AccessDeniedException", 403)
    assert "iot:DeleteTopicRule on resource: arn:aws:iot:us-east-1:000000000000:rule/plant" in text
    code, status, _ = refused(client(daemon, "iot-data", "reader").publish, topic="plant/x", payload=b"{}")
    assert (code, status) == ("ForbiddenException", 403)
    client(daemon, "iot-data", "writer").publish(topic="plant/x", qos=1, payload=b"{}")
    query = client(daemon, "timestream-query", "reader")
    answer = query.query(QueryString="SELECT measure_value::varchar FROM plant.readings")
    assert answer["Rows"] == [{"Data": [{"ScalarValue": "AKIDWRITER"}]}]


def signed_url(url, service, key, secret, token=None, expires=60):
    credentials = botocore.credentials.Credentials(key, secret, token)
    request = botocore.awsrequest.AWSRequest("GET", url)
    botocore.auth.SigV4QueryAuth(credentials, service, "eu-central-1", expires=expires).add_auth(request)
    return request.url


def fetch(url, headers={}):
    context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_presigned_requests(daemon):
    url = signed_url(f"{daemon.url}/rules?maxResults=5", "iot", *KEYS["reader"])
    status, text = fetch(url)
    assert (status, [rule["ruleName"] for rule in json.loads(text)["rules"]]) == (200, ["telemetry"])
    status, text = fetch(url.replace("maxResults=5", "maxResults=6"))
    assert status == 403 and "does not match" in text
    short = signed_url(f"{daemon.url}/rules", "iot", *KEYS["reader"], expires=1)
    time.sleep(2.1)
    status, text = fetch(short)
    assert status == 403 and "Signature expired" in text and "- 1 sec.)" in text


def test_the_daemons_own_pages(daemon):
    forwarded = {"X-Forwarded-For": "192.0.2.1"}
    assert fetch(daemon.url + "/health", forwarded)[0] == 200
    for page in ["/metrics", "/metrics.json"]:
        assert fetch(daemon.url + page)[0] == 200
        assert fetch(daemon.url + page, forwarded)[0] == 401
        for token, status in [("0123456789abcdef", 200), ("0123456789abcdee", 401)]:
            assert fetch(daemon.url + page, {**forwarded, "Authorization": f"Bearer {token}"})[0] == status


def test_the_cli_signs(daemon, monkeypatch):
    for (key, secret), code in [(KEYS["reader"], None), (("AKIDREADER", "wrong"), "InvalidSignatureException")]:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        for way in [["--endpoint-url", daemon.url], None]:
            if way is None:
                # With the variable, the CLI discovers endpoints first and then uses what it was told.
                monkeypatch.setenv("AWS_ENDPOINT_URL", daemon.url)
            command = ["aws", "timestream-query", "query", "--query-string", "SELECT 1", *(way or [])]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            assert (done.returncode == 0) == (code is None), done.stderr
            assert code is None or code in done.stderr
        monkeypatch.delenv("AWS_ENDPOINT_URL")


def test_certificates_are_made_once(certs, pytestconfig, tmp_path):
    for name in ["ca-key.pem", "server-key.pem", "pump-key.pem"]:
        assert stat.S_IMODE((certs / name).stat().st_mode) == 0o600
    before = (certs / "server.pem").read_text()
    done = tidemill(pytestconfig, "cert", "--out", str(certs))
    assert done.returncode == 2 and "is there already" in done.stderr
    assert (certs / "server.pem").read_text() == before
    done = tidemill(pytestconfig, "cert", "--out", str(tmp_path / "none"), "--client", "x")
    assert done.returncode == 2 and "ca-key.pem" in done.stderr


def test_a_new_certificate_is_served_without_a_restart(certs, pytestconfig, tmp_path):
    site(tmp_path, TLS)
    with started(tmp_path, pytestconfig) as daemon:
        address = tuple(daemon.url.removeprefix("http://").split(":"))
        first = ssl.get_server_certificate(address)
        assert first.split() == (certs / "server.pem").read_text().split()
        (certs / "server.pem").write_text("broken")
        until(lambda: "cannot be used" in (tmp_path / "log").read_text())
        assert ssl.get_server_certificate(address) == first
        for name in ["server.pem", "server-key.pem", "ca.pem", "ca-key.pem"]:
            (certs / name).unlink()
        assert tidemill(pytestconfig, "cert", "--out", str(certs)).returncode == 0
        until(lambda: ssl.get_server_certificate(address) != first)
        context = ssl.create_default_context(cafile=certs / "ca.pem")
        assert urllib.request.urlopen(f"https://{':'.join(address)}/health", context=context).status == 200


class Device:
    """A paho client; what it has received is in `received`, how its CONNECT went in `reason`."""

    def __init__(self, address, client_id="pump", transport="tcp", path="/mqtt", protocol=mqtt.MQTTv5):
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=protocol,
                                  transport=transport)
        if transport == "websockets":
            # Without the port that paho adds, which a signature for the default port would lack.
            self.client.ws_set_options(path=path)
        self.host, port = address.rsplit(":", 1)
        self.port = int(port)
        self.reason, self.received, self.acknowledged, self.granted, self.gone = None, [], [], None, None
        self.client.on_connect = lambda _c, _u, _f, reason, _p: setattr(self, "reason", reason)
        self.client.on_message = lambda _c, _u, message: self.received.append(message)
        self.client.on_publish = lambda _c, _u, _m, reason, _p: self.acknowledged.append(str(reason))
        self.client.on_subscribe = lambda _c, _u, _m, codes, _p: setattr(self, "granted", codes)
        self.client.on_disconnect = lambda _c, _u, _f, reason, _p: setattr(self, "gone", reason)

    def connect(self):
        self.client.connect(self.host, self.port)
        self.client.loop_start()
        until(lambda: self.reason is not None or self.gone is not None)
        return str(self.reason)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def works(self):
        """May publish and subscribe below its own name only."""
        assert self.connect() == "Success"
        self.client.subscribe([("dt/pump/#", 1), ("#", 1)])
        until(lambda: self.granted is not None)
        assert [str(code) for code in self.granted] == ["Granted QoS 1", "Not authorized"]
        self.client.publish("dt/pump/x", b"y" * 100_000, qos=1)
        self.client.publish("dt/valve/x", "no", qos=1)
        until(lambda: len(self.acknowledged) == 2 and self.received)
        assert self.acknowledged == ["Success", "Not authorized"]
        assert [(message.topic, len(message.payload)) for message in self.received] == [("dt/pump/x", 100_000)]


@pytest.fixture
def fleet(certs, pytestconfig, tmp_path):
    """Every transport; certificates and a password for the device called pump."""
    done = tidemill(pytestconfig, "passwd", input="geheim\n")
    assert done.returncode == 0, done.stderr
    tls = 'tls = { certificate = "certs/server.pem", key = "certs/server-key.pem", client_ca = "certs/ca.pem", ' \
          'client_certificate = "optional" }\npolicy = "device.json"\n'
    rest = ""
    for transport in ["ws", "tls", "wss"]:
        rest += f'[[mqtt.listeners]]\naddress = "127.0.0.1:0"\ntransport = "{transport}"\n'
        rest += tls if transport in ["tls", "wss"] else ""
    rest += f'[[mqtt.users]]\nname = "pump"\npassword = "{done.stdout.strip()}"\npolicy = "device.json"\n'
    site(tmp_path, "", rest)
    with started(tmp_path, pytestconfig) as daemon:
        daemon.addresses = {"tcp": f"{daemon.mqtt_host}:{daemon.mqtt_port}", **daemon.further}
        yield daemon


@pytest.mark.parametrize("transport", ["tcp", "ws", "tls", "wss"])
def test_a_password_on_every_transport(fleet, certs, transport):
    def device(password, protocol=mqtt.MQTTv5):
        device = Device(fleet.addresses[transport], protocol=protocol,
                        transport="websockets" if transport.startswith("ws") else "tcp")
        if transport in ["tls", "wss"]:
            device.client.tls_set(ca_certs=str(certs / "ca.pem"))
        if password is not None:
            device.client.username_pw_set("pump", password)
        return device

    with device("geheim") as right:
        right.works()
    with device("wrong") as wrong:
        assert wrong.connect() == "Bad user name or password"
    with device(None) as nobody:
        assert nobody.connect() == "Not authorized"
    with device("geheim", mqtt.MQTTv311) as old:
        assert old.connect() == "Success"
        old.client.publish("dt/valve/x", "no", qos=1)
        until(lambda: old.gone is not None)


def test_users_change_without_a_restart(fleet, pytestconfig):
    config = fleet.folder / "config.toml"
    done = tidemill(pytestconfig, "passwd", input="neu\n")
    hashed = [word for word in config.read_text().split('"') if word.startswith("$argon2")]
    config.write_text(config.read_text().replace(hashed[0], done.stdout.strip()))

    def reason(password):
        with Device(fleet.addresses["tcp"]) as device:
            device.client.username_pw_set("pump", password)
            return device.connect()

    until(lambda: reason("neu") == "Success")
    assert reason("geheim") == "Bad user name or password"


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_a_certificate_is_an_identity(fleet, certs, transport):
    web = "websockets" if transport == "wss" else "tcp"
    for client_id, reason in [("pump", None), ("valve", "Not authorized")]:
        with Device(fleet.addresses[transport], client_id, web) as device:
            device.client.tls_set(str(certs / "ca.pem"), str(certs / "pump.pem"), str(certs / "pump-key.pem"))
            if reason is None:
                device.works()
            else:
                assert device.connect() == reason


def gateway(fleet, transport, key, secret, token=None):
    """The path a URL signed for the device gateway ends with."""
    host = fleet.addresses[transport]
    scheme = "https" if transport == "wss" else "http"
    url = signed_url(f"{scheme}://{host}/mqtt", "iotdevicegateway", key, secret)
    if token is not None:
        url += "&X-Amz-Security-Token=" + urllib.parse.quote(token, safe="")
    return url[url.index("/mqtt"):]


@pytest.mark.parametrize("transport", ["ws", "wss"])
def test_a_signed_url_is_an_identity(fleet, certs, transport):
    def device(path):
        device = Device(fleet.addresses[transport], "app", "websockets", path)
        if transport == "wss":
            device.client.tls_set(ca_certs=str(certs / "ca.pem"))
        return device

    with device(gateway(fleet, transport, *KEYS["one"])) as right:
        assert right.connect() == "Success"
        right.client.subscribe([("open/#", 1), ("closed/#", 1)])
        until(lambda: right.granted is not None)
        assert [str(code) for code in right.granted] == ["Granted QoS 1", "Not authorized"]
    with device(gateway(fleet, transport, "AKIDTOKEN", "token-secret-key", TOKEN)) as admin:
        assert admin.connect() == "Success"
    for path in [gateway(fleet, transport, "AKIDONE", "wrong"),
                 gateway(fleet, transport, "AKIDTOKEN", "token-secret-key", "wrong"),
                 gateway(fleet, transport, "AKIDTOKEN", "token-secret-key")]:
        with device(path) as wrong, pytest.raises(mqtt.WebsocketConnectionError):
            wrong.client.connect(wrong.host, wrong.port)
