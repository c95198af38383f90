"""Every operation against AWS's own models, member by member: whatever a model forbids is refused, in AWS's
words, and whatever it allows is not refused for its form. SDKs check little of it themselves."""

import copy
import http.client
import json

import pytest

import models

OPERATIONS = [(service, operation) for service in models.SERVICES for operation in models.service(service).operation_names]
CONSTRAINT = "com.amazon.coral.validate#ValidationException"
SERIALIZATION = "com.amazon.coral.service#SerializationException"


def test_there_are_thirty_operations():
    assert len({operation for _, operation in OPERATIONS}) == 30 and len(OPERATIONS) == 34


@pytest.fixture(scope="module")
def ask(tmp_path_factory, pytestconfig):
    """Sends an operation; the status and the body of the answer."""
    from conftest import configured, started
    folder = tmp_path_factory.mktemp("models")
    configured(folder, "")
    with started(folder, pytestconfig) as daemon:
        connection = http.client.HTTPConnection(daemon.url.removeprefix("http://"), timeout=60)

        def ask(operation, request):
            headers = {"X-Amz-Target": f"Timestream_20181101.{operation}", "Content-Type": "application/x-amz-json-1.0"}
            connection.request("POST", "/", json.dumps(request), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

        yield ask
        connection.close()


def own(service, name, value):
    """The value for one of the services: operations that both have are told apart by the resource."""
    database = "arn:aws:timestream:us-east-1:000000000000:database/"
    if service == "timestream-write" and name == "ResourceARN" and isinstance(value, str) and value.startswith("arn:"):
        return database.ljust(len(value), "a")
    return value


def least(service, operation):
    """The least request of an operation."""
    shape = models.service(service).operation_model(operation).input_shape
    request = models.valid(shape) if shape else {}
    return shape, {name: own(service, name, value) for name, value in request.items()}


def members(service, operation):
    shape, request = least(service, operation)
    for place, name, member, required, put in models.places(shape) if shape else []:
        yield place, name, member, required, lambda value, put=put: put(copy.deepcopy(request), value)


@pytest.mark.parametrize("service, operation", OPERATIONS)
def test_what_a_model_forbids_is_refused(ask, service, operation):
    cases = 0
    for place, name, member, required, request in members(service, operation):
        wrong = list(models.violations(member, name))
        if required:
            wrong.append((models.ABSENT, "Member must not be null"))
            wrong.append((None, "Member must not be null"))
        for value, constraint in wrong:
            status, answer = ask(operation, request(own(service, name, value)))
            told = f"at '{place}' failed to satisfy constraint: {constraint}"
            assert (status, answer["__type"]) == (400, CONSTRAINT), (place, constraint, answer)
            assert told in answer["message"], (told, answer["message"])
            assert answer["message"].split()[0].isdigit() and "validation error" in answer["message"]
            cases += 1
        for value in models.WRONG_TYPES[member.type_name]:
            status, answer = ask(operation, request(value))
            assert (status, answer["__type"]) == (400, SERIALIZATION), (place, value, answer)
            assert place in answer["message"], (place, answer)
            cases += 1
    shape, _ = least(service, operation)
    assert cases > 0 or not shape or not shape.members


@pytest.mark.parametrize("service, operation", OPERATIONS)
def test_what_a_model_allows_has_the_right_form(ask, service, operation):
    shape, request = least(service, operation)
    requests = [request, {**request, "AMemberOfTomorrow": {"a": [1]}}]
    for place, name, member, required, with_value in members(service, operation):
        requests += [with_value(own(service, name, value)) for value in models.limits(member, name)]
        if not required and not place.endswith(".member"):
            requests.append(with_value(None))
    for request in requests:
        status, answer = ask(operation, request)
        assert status < 500, (request, answer)
        assert answer.get("__type") not in (CONSTRAINT, SERIALIZATION), (json.dumps(request)[:2_000], answer)
