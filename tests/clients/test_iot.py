"""boto3's iot and iot-data, unmodified: rules made over HTTP, messages published over HTTP."""

import json
import time

import boto3
import botocore.exceptions
import paho.mqtt.client as mqtt
import pytest

from test_boto3 import rows

PAYLOAD = {
    "sql": "SELECT temperature, state.humidity AS humidity FROM 'plant/+/reading' WHERE temperature > 0",
    "description": "readings of a plant",
    "awsIotSqlVersion": "2016-03-23",
    "ruleDisabled": False,
    "actions": [{"timestream": {
        "roleArn": "arn:aws:iam::123456789012:role/writes-timestream",
        "databaseName": "plant",
        "tableName": "readings",
        "dimensions": [{"name": "device", "value": "${topic(2)}"}],
        "timestamp": {"value": "${ts}", "unit": "MILLISECONDS"},
    }}],
}


@pytest.fixture
def iot(daemon):
    return daemon.client("iot")


@pytest.fixture
def data(iot):
    """iot-data where describe_endpoint says that it is."""
    address = iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    return boto3.client("iot-data", endpoint_url=f"http://{address}")


@pytest.fixture
def subscriber(daemon):
    """Subscribes to a filter; what arrives is in `.received`."""
    clients = []

    def subscribe(topic):
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.received, ready = [], []
        client.on_message = lambda _client, _data, message: client.received.append(message)
        client.on_subscribe = lambda *_arguments: ready.append(True)
        client.connect(daemon.mqtt_host, daemon.mqtt_port)
        client.loop_start()
        clients.append(client)
        client.subscribe(topic, qos=1)
        until(lambda: ready)
        return client

    yield subscribe
    for client in clients:
        client.disconnect()
        client.loop_stop()


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def reading(temperature, humidity=40):
    now = int(time.time() * 1000)
    return json.dumps({"temperature": temperature, "state": {"humidity": humidity}, "ts": now})


def test_a_rule_made_by_the_api_turns_publishes_into_rows(daemon, iot, data, subscriber):
    listener = subscriber("plant/#")
    iot.create_topic_rule(ruleName="plant", topicRulePayload=PAYLOAD, tags="team=a")
    rule = iot.get_topic_rule(ruleName="plant")
    assert rule["ruleArn"].endswith(":rule/plant")
    assert {key: rule["rule"][key] for key in PAYLOAD} == PAYLOAD
    assert rule["rule"]["ruleName"] == "plant" and rule["rule"]["createdAt"].year >= 2024
    assert iot.list_tags_for_resource(resourceArn=rule["ruleArn"])["tags"] == [{"Key": "team", "Value": "a"}]

    data.publish(topic="plant/d 1/reading", qos=1, payload=reading(21.5))
    query = daemon.client("timestream-query")
    sql = "SELECT device, measure_name, measure_value::double, measure_value::bigint FROM plant.readings ORDER BY 2"
    assert rows(query, sql) == [["d 1", "humidity", None, "40"], ["d 1", "temperature", "21.5", None]]
    until(lambda: listener.received)
    assert (listener.received[0].topic, listener.received[0].qos) == ("plant/d 1/reading", 1)

    iot.disable_topic_rule(ruleName="plant")
    data.publish(topic="plant/d2/reading", qos=1, payload=reading(1.5))
    iot.enable_topic_rule(ruleName="plant")
    data.publish(topic="$aws/rules/plant/plant/d3/reading", qos=1, payload=reading(2.5))
    assert rows(query, "SELECT DISTINCT device FROM plant.readings ORDER BY 1") == [["d 1"], ["d3"]]

    iot.replace_topic_rule(ruleName="plant", topicRulePayload={**PAYLOAD, "sql": "SELECT temperature FROM 'x'"})
    assert iot.get_topic_rule(ruleName="plant")["rule"]["sql"] == "SELECT temperature FROM 'x'"
    iot.delete_topic_rule(ruleName="plant")
    with pytest.raises(iot.exceptions.UnauthorizedException):
        iot.get_topic_rule(ruleName="plant")


def test_lists_and_refusals(iot, data):
    for name in ("a", "b", "c"):
        iot.create_topic_rule(ruleName=name, topicRulePayload={"sql": f"SELECT * FROM '{name}/+'", "actions": []})
    pages = iot.get_paginator("list_topic_rules").paginate(PaginationConfig={"PageSize": 2})
    assert [rule["ruleName"] for page in pages for rule in page["rules"]] == ["a", "b", "c", "telemetry"]
    found = iot.list_topic_rules(topic="b/x")["rules"]
    assert [(rule["ruleName"], rule["topicPattern"]) for rule in found] == [("b", "b/+")]

    with pytest.raises(iot.exceptions.ResourceAlreadyExistsException) as refused:
        iot.create_topic_rule(ruleName="a", topicRulePayload=PAYLOAD)
    assert refused.value.response["resourceArn"].endswith(":rule/a")
    with pytest.raises(iot.exceptions.SqlParseException):
        iot.create_topic_rule(ruleName="x", topicRulePayload={**PAYLOAD, "sql": "SEECT * FROM 'a'"})
    with pytest.raises(iot.exceptions.InvalidRequestException, match="telemetry.toml: change that file"):
        iot.delete_topic_rule(ruleName="telemetry")
    with pytest.raises(data.exceptions.InvalidRequestException):
        data.publish(topic="a/+", payload=b"")
    with pytest.raises(botocore.exceptions.ClientError, match="RequestEntityTooLarge"):
        data.publish(topic="a/b", payload=bytes(200_000))


def test_what_mqtt_5_carries_goes_both_ways(daemon, data, subscriber):
    listener = subscriber("reply/#")
    data.publish(
        topic="reply/1", qos=1, payload=b"\x00\xff", contentType="text/plain", responseTopic="r/2",
        correlationData="AQI=", messageExpiry=60, payloadFormatIndicator="UNSPECIFIED_BYTES",
        userProperties='[{"key": "one"}, {"key": "two"}]')
    until(lambda: listener.received)
    message = listener.received[0]
    given = message.properties
    assert (message.payload, given.ContentType, given.ResponseTopic) == (b"\x00\xff", "text/plain", "r/2")
    assert (given.CorrelationData, given.UserProperty) == (b"\x01\x02", [("key", "one"), ("key", "two")])
    assert given.MessageExpiryInterval <= 60

    sender = subscriber("nothing")
    properties = mqtt.Properties(mqtt.PacketTypes.PUBLISH)
    properties.UserProperty = [("k", "v")]
    sender.publish("kept/1", "hello", qos=1, retain=True, properties=properties).wait_for_publish(timeout=30)
    data.publish(topic="kept/2", qos=0, retain=True, payload=b"x")
    until(lambda: len(data.list_retained_messages()["retainedTopics"]) == 2)
    pages = data.get_paginator("list_retained_messages").paginate(PaginationConfig={"PageSize": 1})
    assert [topic["topic"] for page in pages for topic in page["retainedTopics"]] == ["kept/1", "kept/2"]
    kept = data.get_retained_message(topic="kept/1")
    assert (kept["payload"], kept["qos"], json.loads(kept["userProperties"])) == (b"hello", 1, [{"k": "v"}])
    assert abs(kept["lastModifiedTime"] / 1000 - time.time()) < 120
    with pytest.raises(data.exceptions.ResourceNotFoundException):
        data.get_retained_message(topic="kept/3")


def test_the_cli_takes_a_payload_file(daemon, tmp_path):
    file = tmp_path / "payload.json"
    file.write_text(json.dumps(PAYLOAD))
    daemon.cli("iot", "create-topic-rule", "--endpoint-url", daemon.url, "--rule-name", "cli",
               "--topic-rule-payload", f"file://{file}")
    described = daemon.cli("iot", "get-topic-rule", "--endpoint-url", daemon.url, "--rule-name", "cli")
    # What get-topic-rule prints is a rule file.
    (daemon.folder / "rules" / "copied.json").write_text(
        json.dumps(described).replace('"ruleName": "cli"', '"ruleName": "copied"'))
    iot = daemon.client("iot")
    until(lambda: "copied" in [rule["ruleName"] for rule in iot.list_topic_rules()["rules"]])
    assert iot.get_topic_rule(ruleName="copied")["rule"]["actions"] == PAYLOAD["actions"]
