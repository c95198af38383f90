"""Runs a command with an S3 server of its own: moto's, in this process, on a free port of loopback.

    with_s3.py command arguments...

The command finds the server in the AWS environment and an empty bucket's URL in TIDEMILL_TEST_S3_URL.
"""

import os
import subprocess
import sys
import urllib.request

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "tidemill"


def start():
    """A server with one empty bucket; the answer is the server and its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # Servers of one process share what they keep.
    reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket=BUCKET)
    return server, (host, port)


def environment(address):
    """What a process needs to know of a server at this address."""
    return {
        "AWS_ENDPOINT_URL_S3": "http://%s:%d" % address,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def main():
    os.environ.update(AWS_ACCESS_KEY_ID="any", AWS_SECRET_ACCESS_KEY="any", AWS_DEFAULT_REGION="us-east-1")
    # One line for every request would drown what the command has to say.
    import logging
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server, address = start()
    variables = {**os.environ, **environment(address), "TIDEMILL_TEST_S3_URL": f"s3://{BUCKET}/store"}
    try:
        return subprocess.call(sys.argv[1:], env=variables)
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
