"""The AWS SDKs for JavaScript and Rust, unmodified: each runs a program of its own against the daemon."""

import subprocess

import pytest

from conftest import configured, started


def run(command, environment):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def program(pytestconfig, sdk):
    return {
        "javascript": ["node", pytestconfig.getoption("javascript") + "/client.mjs"],
        "rust": [pytestconfig.getoption("rust")],
    }[sdk]


@pytest.mark.parametrize("way", ["option", "environment"])
@pytest.mark.parametrize("sdk", ["javascript", "rust"])
def test_sdk(daemon, pytestconfig, environment, sdk, way):
    """Both clients with the endpoint as an option and from AWS_ENDPOINT_URL."""
    if way == "environment":
        environment["AWS_ENDPOINT_URL"] = daemon.url
    run([*program(pytestconfig, sdk), way, daemon.url], environment)


@pytest.mark.parametrize("sdk", ["javascript", "rust"])
def test_refusals_are_typed(tmp_path, pytestconfig, environment, sdk):
    configured(tmp_path, '[[credentials]]\naccess_key_id = "any"\nsecret_access_key = "any-secret"\nrole = "reader"\n')
    config = tmp_path / "config.toml"
    config.write_text('compatibility = "aws"\n' + config.read_text())
    environment["AWS_SECRET_ACCESS_KEY"] = "any-secret"
    with started(tmp_path, pytestconfig) as daemon:
        run([*program(pytestconfig, sdk), "refused", daemon.url], environment)
