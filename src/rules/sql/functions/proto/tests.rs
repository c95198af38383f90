//! Decoding protobuf, with a descriptor set built by hand: there is no protoc on every machine.

use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, MessageOptions,
};

use crate::clock::Timestamp;
use crate::message::{Message, Origin, Properties, QoS};
use crate::rules::{Outgoing, Rule, RuleSet, StandIns};
use crate::topic::TopicName;

fn field(name: &str, number: i32, kind: Type, type_name: Option<&str>) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        type_name: type_name.map(str::to_owned),
        ..FieldDescriptorProto::default()
    }
}

fn repeated(name: &str, number: i32, kind: Type, type_name: Option<&str>) -> FieldDescriptorProto {
    FieldDescriptorProto { label: Some(Label::Repeated.into()), ..field(name, number, kind, type_name) }
}

fn message_type(name: &str, fields: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto { name: Some(name.to_owned()), field: fields, ..DescriptorProto::default() }
}

fn seconds_and_nanos(name: &str) -> FileDescriptorProto {
    let fields = vec![field("seconds", 1, Type::Int64, None), field("nanos", 2, Type::Int32, None)];
    FileDescriptorProto {
        name: Some(format!("google/protobuf/{}.proto", name.to_lowercase())),
        package: Some("google.protobuf".to_owned()),
        message_type: vec![message_type(name, fields)],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    }
}

/// `package fleet; message Reading { … }` in `telemetry.proto`.
fn descriptor_set() -> Vec<u8> {
    let entry = DescriptorProto {
        options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
        ..message_type(
            "TagsEntry",
            vec![field("key", 1, Type::String, None), field("value", 2, Type::Double, None)],
        )
    };
    let fields = vec![
        field("device_id", 1, Type::String, None),
        field("count", 2, Type::Int32, None),
        field("total", 3, Type::Int64, None),
        field("level", 4, Type::Double, None),
        field("ratio", 5, Type::Float, None),
        field("raw", 6, Type::Bytes, None),
        field("state", 7, Type::Enum, Some(".fleet.State")),
        field("taken", 8, Type::Message, Some(".google.protobuf.Timestamp")),
        repeated("tags", 9, Type::Message, Some(".fleet.Reading.TagsEntry")),
        repeated("parts", 10, Type::Message, Some(".fleet.Reading")),
        repeated("codes", 11, Type::Uint32, None),
        field("waited", 12, Type::Message, Some(".google.protobuf.Duration")),
    ];
    let state = |name: &str, number| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        ..EnumValueDescriptorProto::default()
    };
    let telemetry = FileDescriptorProto {
        name: Some("telemetry.proto".to_owned()),
        package: Some("fleet".to_owned()),
        dependency: vec![
            "google/protobuf/timestamp.proto".to_owned(),
            "google/protobuf/duration.proto".to_owned(),
        ],
        message_type: vec![DescriptorProto { nested_type: vec![entry], ..message_type("Reading", fields) }],
        enum_type: vec![EnumDescriptorProto {
            name: Some("State".to_owned()),
            value: vec![state("IDLE", 0), state("BUSY", 1)],
            ..EnumDescriptorProto::default()
        }],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    let file = vec![seconds_and_nanos("Timestamp"), seconds_and_nanos("Duration"), telemetry];
    FileDescriptorSet { file }.encode_to_vec()
}

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("fleet-schemas")).expect("a folder");
        std::fs::write(folder.path().join("fleet-schemas/telemetry.desc"), descriptor_set()).expect("a file");
        std::fs::write(folder.path().join("fleet-schemas/broken.desc"), b"\xff\xff").expect("a file");
        Self { folder }
    }

    fn rule(&self, sql: &str) -> Result<Rule, String> {
        let files = StandIns { proto: Some(self.folder.path().to_owned()), ..StandIns::default() };
        Rule::parse_toml_with("r", &format!("sql = '''{sql}'''"), &files).map_err(|error| error.to_string())
    }

    fn outgoing(&self, sql: &str, payload: &[u8]) -> String {
        let rules = RuleSet::from_rules(vec![self.rule(sql).expect("a rule")]);
        let message = Message {
            topic: TopicName::new("t").expect("a topic"),
            payload: payload.to_vec().into(),
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: Properties::default(),
            origin: Origin::default(),
            received: Timestamp::from_nanos(0),
        };
        match rules.outgoing("r", &message).expect("the rule") {
            Outgoing::Json(text) => text,
            other => format!("{other:?}"),
        }
    }
}

const DECODE: &str = "decode(*, 'proto', 'fleet-schemas', 'telemetry.desc', 'telemetry', 'Reading')";

/// device_id "d1", count -3, total 2^40, level 21.5, ratio 0.1, raw 01ff, BUSY, a time, tags, parts, codes.
fn reading() -> Vec<u8> {
    let mut bytes =
        b"\x0a\x02d1\x10\xfd\xff\xff\xff\xff\xff\xff\xff\xff\x01\x18\x80\x80\x80\x80\x80\x20".to_vec();
    bytes.push(0x21);
    bytes.extend(21.5_f64.to_le_bytes());
    bytes.push(0x2d);
    bytes.extend(0.1_f32.to_le_bytes());
    bytes.extend(b"\x32\x02\x01\xff\x38\x01");
    bytes.extend(b"\x42\x0a\x08\x80\x94\xeb\xdc\x03\x10\xc0\x84\x3d");
    bytes.extend(b"\x4a\x0c\x0a\x01b\x11\x00\x00\x00\x00\x00\x00\xf0\x3f");
    bytes.extend(b"\x4a\x0c\x0a\x01a\x11\x00\x00\x00\x00\x00\x00\xf8\x7f");
    bytes.extend(b"\x52\x04\x0a\x02d2");
    bytes.extend(b"\x5a\x03\x01\x80\x01");
    bytes.extend(b"\x62\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    bytes
}

#[test]
fn a_message_becomes_json_by_protobuf_s_mapping() {
    let bench = Bench::new();
    let expected = concat!(
        r#"{"deviceId":"d1","count":-3,"total":"1099511627776","level":21.5,"ratio":0.1,"raw":"Af8=","#,
        r#""state":"BUSY","taken":"2001-09-09T01:46:40.001Z","tags":{"a":"NaN","b":1},"#,
        r#""parts":[{"deviceId":"d2"}],"codes":[1,128],"waited":"-1s"}"#,
    );
    assert_eq!(bench.outgoing(&format!("SELECT VALUE {DECODE} FROM 't'"), &reading()), expected);
    assert_eq!(
        bench.outgoing(&format!("SELECT {DECODE}.level AS level FROM 't'"), &reading()),
        r#"{"level":21.5}"#
    );
    assert_eq!(bench.outgoing(&format!("SELECT VALUE {DECODE} FROM 't'"), b""), "{}");
    let lifted = format!("SELECT {DECODE}.*, topic() AS topic FROM 't' WHERE {DECODE}.count < 0");
    assert!(bench.outgoing(&lifted, &reading()).ends_with(r#""waited":"-1s","topic":"t"}"#));
}

#[test]
fn a_base64_text_is_decoded_too_and_what_is_none_is_null() {
    let bench = Bench::new();
    let decode = DECODE.replace('*', "data");
    let sql = format!("SELECT {decode} AS d FROM 't'");
    assert_eq!(bench.outgoing(&sql, br#"{"data":"CgJkMQ=="}"#), r#"{"d":{"deviceId":"d1"}}"#);
    for text in ["####", "CgJk", "/w=="] {
        let payload = format!(r#"{{"data":"{text}"}}"#);
        assert_eq!(bench.outgoing(&sql, payload.as_bytes()), r#"{"d":null}"#, "{text}");
    }
    assert_eq!(bench.outgoing(&sql, br#"{"data":5}"#), "{}");
    let mut deep = Vec::new();
    for _ in 0..80 {
        let mut outer = vec![0x52];
        prost_reflect::prost::encoding::encode_varint(deep.len() as u64, &mut outer);
        outer.extend(&deep);
        deep = outer;
    }
    assert_eq!(bench.outgoing(&format!("SELECT {DECODE} AS d FROM 't'"), &deep), r#"{"d":null}"#);
}

#[test]
fn mistakes_are_told_when_the_rule_is_loaded() {
    let bench = Bench::new();
    let cases = [
        ("decode(*, 'proto')", "write decode(value, 'proto', 'bucket', 'key', 'proto file', 'message type')"),
        ("decode(*, 'proto', b, 'k', 'f', 'm')", "with the last four in quotes"),
        ("decode(*, 'proto', 'fleet-schemas', 'none.desc', 'f', 'm')", "none.desc cannot be read: "),
        ("decode(*, 'proto', '..', 'x', 'f', 'm')", "\"..\" is no name of a file below "),
        ("decode(*, 'proto', 'fleet-schemas', 'broken.desc', 'f', 'm')", "is no descriptor set as protoc"),
        (
            "decode(*, 'proto', 'fleet-schemas', 'telemetry.desc', 'other', 'm')",
            "there is no file \"other\"; there are google/protobuf/timestamp.proto, ",
        ),
        (
            "decode(*, 'proto', 'fleet-schemas', 'telemetry.desc', 'telemetry', 'm')",
            "telemetry.proto has no message \"m\"; it has fleet.Reading",
        ),
        (&[DECODE, DECODE, DECODE].join(" + "), "at most 2 times"),
        ("decode(*, 'base64', 'x')", "with 'base64' it takes 2 arguments"),
    ];
    for (call, wanted) in cases {
        let error = bench.rule(&format!("SELECT {call} AS d FROM 't'")).expect_err(call);
        assert!(error.contains(wanted), "{error}");
    }
    for name in ["fleet.Reading", "Reading"] {
        let call =
            format!("decode(*, 'PROTO', 'fleet-schemas', 'telemetry.desc', 'telemetry.proto', '{name}')");
        assert!(bench.rule(&format!("SELECT {call} AS d FROM 't'")).is_ok(), "{name}");
    }
}
