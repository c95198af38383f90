//! The log's writing end on a disk that fails.

use std::sync::Arc;

use super::*;
use crate::store::tests::disk::{Fault, SimDisk};
use crate::store::wal::reader::FrameReader;

fn start(disk: &SimDisk, segment_bytes: u64) -> Wal {
    let options = WalOptions { segment_bytes, reserve_bytes: 0, group_bytes_max: 1 << 20 };
    Wal::start(Arc::new(disk.clone()), Vec::new(), Lsn::new(1), options).expect("starts")
}

fn entries(disk: &SimDisk, segment: &str) -> Vec<Vec<u8>> {
    let bytes = disk.read(segment).expect("there");
    let first = segment::parse_header(&bytes).expect("whole");
    FrameReader::new(&bytes, first).map(|frame| frame.expect("whole").entry.to_vec()).collect()
}

#[tokio::test]
async fn what_is_acknowledged_survives_the_loss_of_everything_unsynced() {
    let disk = SimDisk::default();
    let wal = start(&disk, 1 << 20);
    for n in 0..50_u8 {
        let lsn = wal.enqueue(&[n]).expect("queued");
        assert_eq!(lsn, Lsn::new(u64::from(n) + 1));
        wal.synced(lsn).await.expect("synced");
        assert!(wal.durable() >= lsn);
        let after = disk.after_crash(0).await;
        assert_eq!(entries(&after, "wal/00000000000000000001.log").len(), usize::from(n) + 1);
    }
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_refuses_the_rest() {
    let disk = SimDisk::default();
    let wal = start(&disk, 1 << 20);
    for n in 0..100_u8 {
        wal.enqueue(&[n]).expect("queued");
    }
    wal.close();
    assert_eq!(entries(&disk, "wal/00000000000000000001.log").len(), 100);
    assert!(wal.enqueue(b"late").is_err());
    assert_eq!((wal.stopped().is_some(), wal.failed()), (true, None));
    wal.synced(Lsn::new(100)).await.expect("it is on disk");
}

#[tokio::test]
async fn segments_follow_one_another_and_retire_from_the_oldest() {
    let disk = SimDisk::default();
    let wal = start(&disk, 100);
    for _ in 0..9 {
        let lsn = wal.enqueue(&[7; 40]).expect("queued");
        wal.synced(lsn).await.expect("synced");
    }
    let names = disk.log_files();
    assert_eq!(names.len(), 5, "two frames of 64 bytes each fill a segment: {names:?}");
    wal.retire(Lsn::new(6)).expect("removed");
    assert_eq!(disk.log_files(), names[2..], "the segment of frame 5 and 6 stays");
    wal.retire(Lsn::new(1_000)).expect("removed");
    assert_eq!(disk.log_files(), names[4..], "the one that grows stays");
}

#[tokio::test]
async fn a_failed_sync_is_final_for_everyone_who_waits() {
    let disk = SimDisk::default();
    let wal = start(&disk, 1 << 20);
    disk.plan(Fault::Sync(2));
    let waiting: Vec<Synced> =
        (0..20_u8).filter_map(|n| wal.enqueue(&[n]).ok()).map(|lsn| wal.synced(lsn)).collect();
    assert!(!waiting.is_empty());
    for synced in waiting {
        let stopped = synced.await.expect_err("never synced");
        assert_eq!(stopped.to_string(), "writing the log failed: the disk could not sync");
    }
    assert_eq!(wal.durable(), Lsn::START);
    assert!(wal.enqueue(b"more").is_err() && wal.failed().is_some());
    wal.room().await;
}
