"""Quotas of the configuration, as an SDK meets them."""

import pytest

from conftest import configured, started


def test_a_full_quota_is_awss_exception(tmp_path, pytestconfig):
    configured(tmp_path, '[store]\nmemory = "16MiB"\n[limits]\ntables_per_account = 1\ndimensions_per_table = 1\n')
    with started(tmp_path, pytestconfig) as daemon:
        client = daemon.client("timestream-write")
        client.create_database(DatabaseName="db")
        client.create_table(DatabaseName="db", TableName="first")
        with pytest.raises(client.exceptions.ServiceQuotaExceededException) as full:
            client.create_table(DatabaseName="db", TableName="second")
        assert "There are 1 tables, and at most 1 are allowed." in str(full.value)
        record = {
            "Dimensions": [{"Name": "a", "Value": "1"}, {"Name": "b", "Value": "1"}],
            "MeasureName": "m", "MeasureValue": "1", "MeasureValueType": "BIGINT", "Time": "1700000000000",
        }
        with pytest.raises(client.exceptions.RejectedRecordsException) as rejected:
            client.write_records(DatabaseName="db", TableName="first", Records=[record])
        reasons = [one["Reason"] for one in rejected.value.response["RejectedRecords"]]
        assert reasons == ["The table would have more than 1 dimensions."]
