"""The AWS SDKs for JavaScript and Rust, unmodified: each runs a program of its own against the daemon."""

import subprocess

import pytest


def run(command, environment):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("way", ["option", "environment"])
@pytest.mark.parametrize("sdk", ["javascript", "rust"])
def test_sdk(daemon, pytestconfig, environment, sdk, way):
    """Both clients with the endpoint as an option and from AWS_ENDPOINT_URL."""
    command = {
        "javascript": ["node", pytestconfig.getoption("javascript") + "/client.mjs"],
        "rust": [pytestconfig.getoption("rust")],
    }[sdk]
    if way == "environment":
        environment["AWS_ENDPOINT_URL"] = daemon.url
    run([*command, way, daemon.url], environment)
