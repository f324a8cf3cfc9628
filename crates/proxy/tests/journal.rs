//! The journal against real files: restarts, torn lines, a full disk, and many who wait for one sync.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failing test may panic")]

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostiary_core::audit::{Draft, Json, Kind, Record, SegmentReport};
use ostiary_core::json::{Limits, Value, parse};
use ostiary_core::token::SigningKey;
use ostiary_proxy::journal::{Journal, JournalError, Options, new_id, now_ms, read_segment};

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("ostiary-journal-{}", new_id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn audit(&self) -> PathBuf {
        self.0.join("var/audit")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn key() -> Option<SigningKey> {
    SigningKey::from_seed("k", &[5; 32])
}

fn draft(tool: &str) -> Draft {
    let id = new_id();
    Record { tool: Some(tool), ..Record::new(Kind::Deny, &id, now_ms(), "gw", "snap") }.draft()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Verifies the whole chain; gives its records and one report per segment.
fn verify(dir: &Path) -> (Vec<Value>, Vec<SegmentReport>) {
    let mut prev = "0".repeat(64);
    let (mut records, mut reports) = (Vec::new(), Vec::new());
    for path in segments(dir) {
        let report = read_segment(&path, Some(&prev)).unwrap();
        assert_eq!(report.bad, None, "{}", path.display());
        prev = report.last_hash.clone().unwrap_or(prev);
        reports.push(report);
        let text = fs::read_to_string(&path).unwrap();
        records.extend(text.lines().map(|line| parse(line.as_bytes(), &Limits::ANSWER).unwrap()));
    }
    (records, reports)
}

fn kinds(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record.get("kind").unwrap().as_str().unwrap()).collect()
}

#[test]
fn the_chain_goes_on_over_restarts_in_private_files() {
    let folder = Folder::new();
    let dir = folder.audit();
    for round in 0..3 {
        let journal = Journal::open(&dir, "gw", key()).unwrap();
        journal.append_os(draft("a")).unwrap();
        journal.append_blocking(draft("b")).unwrap();
        journal.append_control(r#"{"kind":"control","event":"token_issued"}"#).unwrap();
        journal.close().unwrap();
        assert!(matches!(journal.append_os(draft("c")), Err(JournalError::Closed)));
        assert_eq!(journal.stats().records, 4, "round {round}");
    }
    let (records, reports) = verify(&dir);
    assert_eq!(kinds(&records), ["deny", "deny", "control", "checkpoint"].repeat(3));
    let counts: Vec<Option<(u64, u64)>> = reports.iter().map(|report| report.counted).collect();
    assert_eq!(counts, [Some((3, 1)), Some((7, 1)), Some((11, 1))]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&segments(&dir)[0])), (0o700, 0o600));
}

#[test]
fn one_process_writes_and_the_folder_holds_segments_only() {
    let folder = Folder::new();
    let dir = folder.audit();
    let journal = Journal::open(&dir, "gw", None).unwrap();
    assert!(matches!(Journal::open(&dir, "gw", None), Err(JournalError::Locked(_))));
    assert_eq!(segments(&dir), [dir.join("00000001.jsonl")]);
    journal.close().unwrap();
    // An empty segment is taken up again, so that restarts leave no trail of them.
    drop(Journal::open(&dir, "gw", None).unwrap());
    assert_eq!(segments(&dir), [dir.join("00000001.jsonl")]);
}

#[test]
fn a_restart_cuts_only_an_incomplete_last_line_and_records_it() {
    let folder = Folder::new();
    let dir = folder.audit();
    for (round, tail) in ["{\"act\":null,", "x", "\0\0\0\0"].into_iter().enumerate() {
        let journal = Journal::open(&dir, "gw", None).unwrap();
        journal.append_os(draft("kept")).unwrap();
        journal.close().unwrap();
        drop(journal);
        let last = segments(&dir).pop().unwrap();
        OpenOptions::new().append(true).open(&last).unwrap().write_all(tail.as_bytes()).unwrap();
        assert!(read_segment(&last, None).unwrap().torn);
        Journal::open(&dir, "gw", None).unwrap().close().unwrap();
        let (records, reports) = verify(&dir);
        assert!(reports.iter().all(|report| !report.torn));
        assert_eq!(kinds(&records), ["deny", "recovery"].repeat(round + 1));
        let cut = records.last().unwrap();
        assert_eq!(
            cut.get("cut_bytes").unwrap().as_number().unwrap().as_i64(),
            Some(i64::try_from(tail.len()).unwrap())
        );
        assert_eq!(cut.get("segment").unwrap().as_str(), last.file_name().unwrap().to_str());
    }
}

#[test]
fn a_damaged_last_record_stops_the_start() {
    let folder = Folder::new();
    let dir = folder.audit();
    let journal = Journal::open(&dir, "gw", None).unwrap();
    journal.append_os(draft("kept")).unwrap();
    journal.close().unwrap();
    let last = segments(&dir).pop().unwrap();
    let text = fs::read_to_string(&last).unwrap().replace("kept", "lost");
    fs::write(&last, text).unwrap();
    assert!(matches!(Journal::open(&dir, "gw", None), Err(JournalError::Damaged { .. })));
}

#[test]
fn segments_and_checkpoints_follow_their_sizes_and_the_count_survives_both() {
    let folder = Folder::new();
    let dir = folder.audit();
    let options = Options { segment_bytes: 8 << 10, checkpoint_records: 10, ..Options::default() };
    for _ in 0..2 {
        let journal = Journal::open_with(&dir, "gw", key(), options).unwrap();
        for _ in 0..50 {
            journal.append_os(draft("a")).unwrap();
        }
    }
    let (records, reports) = verify(&dir);
    assert!(reports.len() > 8, "{}", reports.len());
    let checkpoints: Vec<i64> = records
        .iter()
        .filter(|record| record.get("kind").unwrap().as_str() == Some("checkpoint"))
        .map(|record| record.get("count").unwrap().as_number().unwrap().as_i64().unwrap())
        .collect();
    assert_eq!(checkpoints, [10, 21, 32, 43, 54, 65, 76, 87, 98, 109]);
    assert_eq!(records.len(), 110);
}

#[test]
fn a_checkpoint_comes_by_itself_when_there_is_something_new() {
    let folder = Folder::new();
    let options = Options { checkpoint_every: Duration::from_millis(1), ..Options::default() };
    let journal = Journal::open_with(&folder.audit(), "gw", key(), options).unwrap();
    journal.append_os(draft("a")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while journal.stats().records < 2 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    journal.close().unwrap();
    assert_eq!(kinds(&verify(&folder.audit()).0), ["deny", "checkpoint"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_the_disk_is_released_by_a_shared_sync() {
    let folder = Folder::new();
    let journal = Arc::new(Journal::open(&folder.audit(), "gw", key()).unwrap());
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let journal = Arc::clone(&journal);
            tokio::spawn(async move {
                for _ in 0..5 {
                    journal.append_disk(draft("disk")).await.unwrap();
                    journal.append_os(draft("os")).unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let stats = journal.stats();
    journal.close().unwrap();
    assert!(stats.syncs < 320, "{stats:?}");
    assert_eq!(verify(&folder.audit()).0.len(), 641);
}

#[test]
fn a_reader_of_the_live_folder_never_sees_a_broken_chain() {
    let folder = Folder::new();
    let dir = folder.audit();
    let journal = Journal::open(&dir, "gw", key()).unwrap();
    let path = dir.join("00000001.jsonl");
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| (0..1_500).try_for_each(|_| journal.append_os(draft("live"))));
        let mut seen = 0;
        while !writing.is_finished() {
            let report = read_segment(&path, Some(&"0".repeat(64))).unwrap();
            assert!(report.bad.is_none() && report.records >= seen, "{report:?}");
            seen = report.records;
        }
        writing.join().unwrap().unwrap();
    });
    assert_eq!(read_segment(&path, None).unwrap().records, 1_501);
}

/// The child of the next test: appends and says what was acknowledged, until it is killed.
#[test]
#[ignore = "runs as a child of another test"]
fn append_until_killed() {
    let Some(dir) = std::env::var_os("OSTIARY_TEST_JOURNAL") else { return };
    let journal = Journal::open(Path::new(&dir), "gw", key()).unwrap();
    for at in 0.. {
        let tool = format!("{}-{at}", std::process::id());
        if at % 8 == 0 { journal.append_blocking(draft(&tool)) } else { journal.append_os(draft(&tool)) }.unwrap();
        // One write, past the test harness's own capture.
        std::io::stderr().write_all(format!("{tool}\n").as_bytes()).unwrap();
    }
}

#[test]
fn whatever_was_acknowledged_before_a_kill_is_in_the_chain_after_it() {
    let folder = Folder::new();
    let dir = folder.audit();
    let mut acknowledged = Vec::new();
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "append_until_killed"])
            .env("OSTIARY_TEST_JOURNAL", &dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        // Random enough: the kill lands wherever the child then is.
        acknowledged.extend(said.by_ref().take(50 * round).map(Result::unwrap));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(said.map_while(Result::ok));
    }
    Journal::open(&dir, "gw", key()).unwrap().close().unwrap();
    let (records, _) = verify(&dir);
    let tools: Vec<&str> = records.iter().filter_map(|record| record.get("tool")?.as_str()).collect();
    let mut expected = tools.iter();
    for tool in acknowledged.iter().filter(|line| line.contains('-')) {
        assert!(expected.any(|found| found == tool), "{tool} is not in the record, or not in its place");
    }
    assert!(tools.len() >= 750, "{}", tools.len());
}

/// A mounted tmpfs of few bytes, where this machine lets us make one.
struct Tiny(Folder);

impl Tiny {
    fn mount(size: &str) -> Option<Self> {
        let folder = Folder::new();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&folder.0)
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("LEFT OUT: no tmpfs can be mounted here, so the full disk was not tried");
        }
        mounted.then_some(Self(folder))
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_loses_nothing_and_service_resumes_when_there_is_room() {
    let Some(tiny) = Tiny::mount("96k") else { return };
    let dir = tiny.0.audit();
    let journal = Journal::open(&dir, "gw", key()).unwrap();
    let ballast = tiny.0.0.join("ballast");
    fs::write(&ballast, vec![0; 40 << 10]).unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let mut refused = 0;
        for at in 0..200 {
            let tool = format!("{round}-{at}");
            let done =
                if at % 2 == 0 { journal.append_os(draft(&tool)) } else { journal.append_disk(draft(&tool)).await };
            match done {
                Ok(()) if refused == 0 => acknowledged.push(tool),
                Ok(()) => panic!("took a record on a full disk"),
                Err(JournalError::Io { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            if refused == 20 {
                break;
            }
        }
        assert_eq!(refused, 20, "round {round}");
        let left = fs::metadata(&ballast).unwrap().len().saturating_sub(12 << 10);
        OpenOptions::new().write(true).open(&ballast).unwrap().set_len(left).unwrap();
    }
    journal.append_disk(draft("last")).await.unwrap();
    acknowledged.push("last".to_owned());
    journal.close().unwrap();
    let (records, reports) = verify(&dir);
    assert!(reports.iter().all(|report| !report.torn));
    let tools: Vec<&str> = records.iter().filter_map(|record| record.get("tool")?.as_str()).collect();
    assert_eq!(tools, acknowledged);
    assert!(kinds(&records).iter().filter(|kind| **kind == "recovery").count() >= 3, "{:?}", kinds(&records));
    drop(journal);
    Journal::open(&dir, "gw", key()).unwrap().close().unwrap();
    verify(&dir);
}

/// Processor time of this thread so far: a busy machine does not count.
fn spent() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Not a test: `cargo test -p ostiary-proxy --test journal -- --ignored --nocapture figures`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn figures() {
    const TIMES: u32 = 20_000;
    let folder = Folder::new();
    let journal = Arc::new(Journal::open(&folder.audit(), "gw", key()).unwrap());
    let args = parse(br#"{"text":"hello there","path":"/a/b/c","n":5}"#, &Limits::DEFAULT).unwrap();
    let id = new_id();
    let record =
        || Record { args: Json::Value(&args), ..Record::new(Kind::Intent, &id, now_ms(), "gw", "snap") }.draft();
    let begin = spent();
    for _ in 0..TIMES {
        std::hint::black_box(record());
    }
    println!("lay out: {:?}", spent().saturating_sub(begin) / TIMES);
    let begin = spent();
    for _ in 0..TIMES {
        journal.append_os(record()).unwrap();
    }
    println!("lay out and append_os: {:?}", spent().saturating_sub(begin) / TIMES);
    let syncs = journal.stats().syncs;
    let begin = Instant::now();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let journal = Arc::clone(&journal);
            tokio::spawn(async move {
                for _ in 0..100 {
                    journal.append_disk(draft("disk")).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let each = begin.elapsed() / 6_400;
    println!("append_disk with 64 waiting: {each:?} each by the clock, {} syncs", journal.stats().syncs - syncs);
    journal.close().unwrap();
}
