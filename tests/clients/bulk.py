"""Buckets behind a daemon: folders beside it, or those of an unmodified server of the S3 protocol."""

import logging
import time

import boto3

import with_s3

NAMES = {"DatabaseName": "db", "TableName": "readings"}
FINAL = ("SUCCEEDED", "FAILED", "PROGRESS_STOPPED", "PENDING_RESUME")


class Folder:
    """A bucket that is a folder."""

    keys = ""

    def __init__(self, root):
        self.folder = root / "buckets" / "fleet"
        self.folder.mkdir(parents=True)

    def put(self, key, text):
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def get(self, key):
        return (self.folder / key).read_bytes()

    def head(self, key):
        return {"ContentLength": (self.folder / key).stat().st_size}

    def list(self, prefix=""):
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        keys = sorted(str(path.relative_to(self.folder)) for path in files)
        return [key for key in keys if key.startswith(prefix)]

    def close(self):
        pass


class Served:
    """A bucket of moto's server."""

    def __init__(self, monkeypatch):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server, address = with_s3.start()
        self.url = "http://%s:%d" % address
        self.keys = f'[buckets]\nendpoint = "{self.url}"\n'
        # Only the endpoint is in the configuration; the rest is in the environment, as for every AWS tool.
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        self.client = boto3.client("s3", endpoint_url=self.url)
        self.client.create_bucket(Bucket="fleet")

    def put(self, key, text):
        self.client.put_object(Bucket="fleet", Key=key, Body=text if isinstance(text, bytes) else text.encode())

    def get(self, key):
        return self.client.get_object(Bucket="fleet", Key=key)["Body"].read()

    def head(self, key):
        return self.client.head_object(Bucket="fleet", Key=key)

    def list(self, prefix=""):
        listed = self.client.list_objects_v2(Bucket="fleet", Prefix=prefix).get("Contents", [])
        return sorted(thing["Key"] for thing in listed)

    def close(self):
        self.server.stop()


def create(daemon):
    client = daemon.client("timestream-write")
    client.create_database(DatabaseName="db")
    client.create_table(**NAMES)
    return client


def ended(client, task):
    """Waits as awswrangler does; the description of the task."""
    deadline = time.monotonic() + 120
    while True:
        found = client.describe_batch_load_task(TaskId=task)["BatchLoadTaskDescription"]
        if found["TaskStatus"] in FINAL:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def rows(daemon, sql):
    """All pages of a query."""
    pages = daemon.client("timestream-query").get_paginator("query").paginate(QueryString=sql)
    value = lambda datum: datum.get("ScalarValue")
    return [[value(datum) for datum in row["Data"]] for page in pages for row in page["Rows"]]
