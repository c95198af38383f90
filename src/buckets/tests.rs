//! Buckets that are folders, and the same bucket through S3's protocol where the environment names one.

use std::fs;
use std::os::unix::fs::symlink;

use bytes::Bytes;
use tempfile::TempDir;

use super::{Bucket, BucketError, BucketOptions, Buckets, Encryption, ObjectInfo};

struct Site {
    root: TempDir,
    buckets: Buckets,
}

fn site() -> Site {
    let root = tempfile::tempdir().expect("a folder");
    fs::create_dir(root.path().join("fleet")).expect("a bucket");
    let options = BucketOptions { path: root.path().to_owned(), endpoint: None };
    Site { buckets: Buckets::new(options), root }
}

/// A bucket in a folder and, if there is a server, one behind S3's protocol. Keys begin with the text.
async fn everywhere(site: &Site) -> Vec<(Bucket, String)> {
    let mut found = vec![(site.buckets.open("fleet").await.expect("a bucket"), String::new())];
    if let Ok(url) = std::env::var("TIDEMILL_TEST_S3_URL") {
        let endpoint = std::env::var("AWS_ENDPOINT_URL_S3").expect("the server's address");
        let options = BucketOptions { path: "unused".into(), endpoint: Some(endpoint) };
        let name = url.strip_prefix("s3://").and_then(|rest| rest.split('/').next()).expect("s3://bucket/");
        let bucket = Buckets::new(options).open(name).await.expect("a bucket");
        found.push((bucket, format!("{}/", uuid::Uuid::new_v4())));
    }
    found
}

async fn content(bucket: &Bucket, object: &ObjectInfo, from: u64) -> Result<Vec<u8>, BucketError> {
    let mut reader = bucket.read(object, from).await?;
    let mut content = Vec::new();
    while let Some(piece) = reader.piece().await? {
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_is_found_listed_and_read() {
    let site = site();
    for (bucket, top) in everywhere(&site).await {
        let key = |name: &str| format!("{top}{name}");
        for name in ["b/2.csv", "b/1.csv", "b.csv", "a", "b/c d/%41=ü.csv"] {
            bucket.put(&key(name), Bytes::from(name.to_owned())).await.expect(name);
        }
        let listed = async |prefix: &str, max| {
            let listed = bucket.list(&key(prefix), max).await.expect("a listing");
            listed.into_iter().map(|one| one.key[top.len()..].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(listed("", 9).await, ["a", "b.csv", "b/1.csv", "b/2.csv", "b/c d/%41=ü.csv"]);
        assert_eq!(listed("b/", 9).await, ["b/1.csv", "b/2.csv", "b/c d/%41=ü.csv"]);
        assert_eq!(listed("b", 2).await, ["b.csv", "b/1.csv"]);
        assert_eq!(listed("b/c", 9).await, ["b/c d/%41=ü.csv"]);
        assert!(listed("c", 9).await.is_empty());
        assert_eq!(bucket.get(&key("b/1.csv"), 7).await.expect("small enough"), "b/1.csv");
        let large = bucket.get(&key("b/1.csv"), 6).await.expect_err("too large");
        assert_eq!(large.code(), "EntityTooLarge");
        assert!(bucket.exists(&key("a")).await.expect("known"));
        assert!(!bucket.exists(&key("nothing")).await.expect("known"));
        assert_eq!(bucket.get(&key("nothing"), 9).await.expect_err("missing").code(), "NoSuchKey");
        let object = bucket.head(&key("b/c d/%41=ü.csv")).await.expect("there");
        assert_eq!(content(&bucket, &object, 4).await.expect("content"), "d/%41=ü.csv".as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_pass_in_pieces() {
    let site = site();
    for (bucket, top) in everywhere(&site).await {
        let key = format!("{top}large");
        let line = |number: u32| format!("{number:015}\n");
        let mut upload = bucket.upload(&key).await.expect("begun");
        let count = (13 << 20) / 16;
        for number in 0..count {
            upload.write(line(number).as_bytes()).await.expect("written");
        }
        assert!(!bucket.exists(&key).await.expect("known"), "unfinished objects are not there");
        assert_eq!(upload.finish().await.expect("finished"), u64::from(count) * 16);
        let object = bucket.head(&key).await.expect("there");
        let read = content(&bucket, &object, 0).await.expect("content");
        assert_eq!(read.len(), count as usize * 16);
        for number in 0..count {
            let at = number as usize * 16;
            assert_eq!(&read[at..at + 16], line(number).as_bytes());
        }
        assert_eq!(
            content(&bucket, &object, object.size - 3).await.expect("the end"),
            &read[read.len() - 3..]
        );
        bucket.put(&key, Bytes::from_static(b"another")).await.expect("put");
        assert_eq!(content(&bucket, &object, 0).await.expect_err("changed").code(), "PreconditionFailed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_given_up_leaves_nothing() {
    let site = site();
    let bucket = site.buckets.open("fleet").await.expect("a bucket");
    let mut upload = bucket.upload("x/y").await.expect("begun");
    upload.write(&vec![7; 3 << 20]).await.expect("written");
    let folder = site.root.path().join("fleet/x");
    let files = || fs::read_dir(&folder).expect("the folder of the upload").count();
    assert_eq!(files(), 1);
    assert!(bucket.list("", 9).await.expect("a listing").is_empty(), "what is unfinished is not listed");
    drop(upload);
    for _ in 0..1_000 {
        if files() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the unfinished file stays");
}

#[tokio::test]
async fn no_key_leads_out_of_its_folder() {
    let site = site();
    let root = site.root.path();
    fs::write(root.join("secret"), "s").expect("a file");
    fs::create_dir(root.join("fleet/in")).expect("a folder");
    symlink(root, root.join("fleet/out")).expect("a link");
    symlink(root.join("secret"), root.join("fleet/in/file")).expect("a link");
    let bucket = site.buckets.open("fleet").await.expect("a bucket");
    for key in ["../secret", "in/../../secret", "/etc/hostname", "./../secret", "in//file"] {
        assert_eq!(bucket.get(key, 9).await.expect_err(key).code(), "InvalidArgument");
        assert_eq!(bucket.put(key, Bytes::new()).await.expect_err(key).code(), "InvalidArgument");
        assert!(bucket.upload(key).await.is_err(), "{key}");
    }
    for key in ["out/secret", "in/file", "out/new", "out"] {
        assert_eq!(bucket.get(key, 9).await.expect_err(key).code(), "AccessDenied");
        assert_eq!(bucket.put(key, Bytes::new()).await.expect_err(key).code(), "AccessDenied");
        assert_eq!(bucket.upload(key).await.expect_err(key).code(), "AccessDenied");
    }
    assert!(bucket.list("", 9).await.expect("a listing").is_empty());
    assert_eq!(bucket.list("out/", 9).await.expect_err("a link").code(), "AccessDenied");
    assert_eq!(bucket.list("../", 9).await.expect_err("outside").code(), "InvalidArgument");
    assert_eq!(fs::read_to_string(root.join("secret")).expect("a file"), "s");
    assert!(!root.join("new").exists());
}

#[tokio::test]
async fn missing_and_impossible_buckets_are_told_apart() {
    let site = site();
    fs::write(site.root.path().join("file"), "").expect("a file");
    for (name, code) in [
        ("none", "NoSuchBucket"),
        ("file", "NoSuchBucket"),
        ("..", "InvalidBucketName"),
        ("fleet/x", "InvalidBucketName"),
        ("", "InvalidBucketName"),
    ] {
        assert_eq!(site.buckets.open(name).await.expect_err(name).code(), code, "{name}");
    }
    let kms = Encryption::Kms(Some("key".into()));
    let refused = site.buckets.open_with("fleet", &kms).await.expect_err("a folder");
    assert!(refused.to_string().contains("a folder, which encrypts nothing"), "{refused}");
    site.buckets.open_with("fleet", &Encryption::S3).await.expect("as the storage does");
    site.buckets.open_for_reports("fleet", &kms).await.expect("a folder for reports");
    let bucket = site.buckets.open("fleet").await.expect("a bucket");
    bucket.put("object", Bytes::new()).await.expect("put");
    assert_eq!(
        bucket.put("object/below", Bytes::new()).await.expect_err("no folder").code(),
        "InvalidArgument"
    );
    let long = "n".repeat(246);
    assert_eq!(bucket.put(&long, Bytes::new()).await.expect_err("too long").code(), "InvalidArgument");
}
