// The AWS SDK for JavaScript v3 against a tidemill: `node client.mjs option|environment|refused URL`.
// With `refused` the daemon lets the caller read only, and gives insights once a second, as AWS does.
// Ends with an error at the first answer that is not what the SDK of a user would expect.

import assert from "node:assert/strict";
import * as Query from "@aws-sdk/client-timestream-query";
import * as Write from "@aws-sdk/client-timestream-write";

const [way, url] = process.argv.slice(2);
// With `environment` the SDK finds the endpoint by itself, in AWS_ENDPOINT_URL, and discovers where to go.
const options = way === "environment" ? {} : { endpoint: url };
const write = new Write.TimestreamWriteClient({ region: "eu-west-1", ...options });
const query = new Query.TimestreamQueryClient({ region: "eu-west-1", ...options });

const DatabaseName = "js";
const TableName = "points";
const named = { DatabaseName, TableName };

async function tables() {
  await write.send(new Write.CreateDatabaseCommand({ DatabaseName, Tags: [{ Key: "team", Value: "a" }] }));
  for (let n = 0; n < 25; n++) {
    await write.send(new Write.CreateTableCommand({ DatabaseName, TableName: `t${String(n).padStart(2, "0")}` }));
  }
  const { Table } = await write.send(new Write.CreateTableCommand(named));
  assert(Table.CreationTime instanceof Date && Math.abs(Date.now() - Table.CreationTime) < 120_000);
  const names = [];
  let pages = 0;
  let NextToken;
  do {
    const page = await write.send(new Write.ListTablesCommand({ DatabaseName, NextToken }));
    names.push(...page.Tables.map((table) => table.TableName));
    NextToken = page.NextToken;
    pages += 1;
  } while (NextToken);
  assert.deepEqual([names.length, pages], [26, 2]);
  const { Tags } = await write.send(new Write.ListTagsForResourceCommand({ ResourceARN: Table.Arn.split("/table/")[0] }));
  assert.deepEqual(Tags, [{ Key: "team", Value: "a" }]);
  await assert.rejects(write.send(new Write.CreateTableCommand(named)), Write.ConflictException);
}

function record(n, value) {
  const Dimensions = [{ Name: "host", Value: "h" }];
  const Time = String(1_700_000_000 + n);
  return { Dimensions, MeasureName: "n", MeasureValue: value, MeasureValueType: "BIGINT", Time, TimeUnit: "SECONDS" };
}

async function records() {
  for (let start = 0; start < 1200; start += 100) {
    const Records = Array.from({ length: 100 }, (_, n) => record(start + n, String(start + n)));
    const { RecordsIngested } = await write.send(new Write.WriteRecordsCommand({ ...named, Records }));
    assert.equal(RecordsIngested.Total, 100);
  }
  const changed = new Write.WriteRecordsCommand({ ...named, Records: [record(5, "5"), record(0, "7")] });
  await assert.rejects(write.send(changed), (error) => {
    assert(error instanceof Write.RejectedRecordsException);
    assert.equal(error.$metadata.httpStatusCode, 419);
    assert.deepEqual(error.RejectedRecords.map((rejected) => rejected.RecordIndex), [1]);
    return true;
  });
}

async function pages() {
  const QueryString = "SELECT measure_value::bigint FROM js.points ORDER BY time";
  const QueryInsights = { Mode: "ENABLED_WITH_RATE_CONTROL" };
  const values = [];
  let count = 0;
  for await (const page of Query.paginateQuery({ client: query, pageSize: 500 }, { QueryString, QueryInsights })) {
    values.push(...page.Rows.map((row) => Number(row.Data[0].ScalarValue)));
    assert.equal(page.QueryInsightsResponse.QueryTableCount, 1);
    count += 1;
  }
  assert.deepEqual([values, count], [Array.from({ length: 1200 }, (_, n) => n), 3]);
  const { Columns } = await query.send(new Query.PrepareQueryCommand({ QueryString, ValidateOnly: true }));
  assert.deepEqual(Columns.map((column) => column.Type), [{ ScalarType: "BIGINT" }]);
  const first = await query.send(new Query.QueryCommand({ QueryString, MaxRows: 10 }));
  assert.deepEqual((await query.send(new Query.CancelQueryCommand({ QueryId: first.QueryId }))).CancellationMessage, undefined);
  assert((await query.send(new Query.CancelQueryCommand({ QueryId: first.QueryId }))).CancellationMessage);
  const next = new Query.QueryCommand({ QueryString, NextToken: first.NextToken });
  await assert.rejects(query.send(next), Query.ConflictException);
}

async function mistakes() {
  // This SDK checks nothing before it sends.
  const wrong = [
    [write, new Write.WriteRecordsCommand({ ...named, Records: [] }), Write.ValidationException],
    [write, new Write.WriteRecordsCommand({ DatabaseName }), Write.ValidationException],
    [write, new Write.CreateDatabaseCommand({ DatabaseName: "" }), Write.ValidationException],
    [write, new Write.DeleteDatabaseCommand({ DatabaseName }), Write.ValidationException],
    [write, new Write.TagResourceCommand({ ResourceARN: "arn:aws:timestream:eu-west-1:0:database/js",
      Tags: Array.from({ length: 51 }, (_, n) => ({ Key: String(n), Value: "v" })) }), Write.ServiceQuotaExceededException],
    [write, new Write.DescribeTableCommand({ DatabaseName, TableName: "none" }), Write.ResourceNotFoundException],
    [query, new Query.QueryCommand({ QueryString: "SELECT nothing" }), Query.ValidationException],
    [query, new Query.QueryCommand({ QueryString: "SELECT 1", MaxRows: 1001 }), Query.ValidationException],
    [query, new Query.QueryCommand({ QueryString: "SELECT 1 / 0" }), Query.QueryExecutionException],
    [query, new Query.CancelQueryCommand({ QueryId: "a-b" }), Query.ValidationException],
    [query, new Query.PrepareQueryCommand({ QueryString: "SELECT 1" }), Query.ValidationException],
  ];
  for (const [client, command, type] of wrong) {
    await assert.rejects(client.send(command), (error) => {
      assert(error instanceof type, `${command.constructor.name}: ${error}`);
      assert(error.message.length > 0 && error.$metadata.attempts === 1, `${error}`);
      return true;
    });
  }
}

async function refusals() {
  const once = { ...options, region: "eu-west-1", maxAttempts: 1 };
  const reader = new Write.TimestreamWriteClient(once);
  await assert.rejects(reader.send(new Write.CreateDatabaseCommand({ DatabaseName })), Write.AccessDeniedException);
  const impatient = new Query.TimestreamQueryClient(once);
  const QueryInsights = { Mode: "ENABLED_WITH_RATE_CONTROL" };
  const throttled = async () => {
    for (;;) await impatient.send(new Query.QueryCommand({ QueryString: "SELECT 1", QueryInsights }));
  };
  await assert.rejects(throttled(), (error) => error instanceof Query.ThrottlingException && error.$metadata.httpStatusCode === 429);
}

if (way === "refused") {
  await refusals();
} else {
  await tables();
  await records();
  await pages();
  await mistakes();
}
