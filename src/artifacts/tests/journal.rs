use super::*;
use crate::artifacts::journal::{Journal, next_line, read, segment_path};
use proptest::prelude::*;
use std::{
    io::{self, Read},
    path::PathBuf,
    sync::OnceLock,
};

/// A journal's directory with one segment of these batches, and the number of
/// bytes after each batch.
fn written(batches: &[Vec<Prediction>]) -> (tempfile::TempDir, PathBuf, Vec<usize>) {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(directory.path(), 1, &[]).unwrap();
    let path = segment_path(directory.path(), 1);
    let mut ends = Vec::new();
    for batch in batches {
        journal.append(batch).unwrap();
        ends.push(fs::metadata(&path).unwrap().len() as usize);
    }
    (directory, path, ends)
}

/// No record that was not written, character for character.
fn never_lies(found: &JournalContents, written: &[Prediction]) {
    for (idx, record) in &found.best {
        assert_eq!(*idx, record.idx);
        assert!(written.contains(record), "invented: {record:?}");
    }
}

/// The same ten records in a segment, without waiting for the disk.
fn ten_on_disk() -> (tempfile::TempDir, PathBuf) {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let (_directory, path, _) = written(&[ten()]);
        fs::read(path).unwrap()
    });
    let directory = tempfile::tempdir().unwrap();
    let path = segment_path(directory.path(), 1);
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

fn ten() -> Vec<Prediction> {
    (0..10)
        .map(|idx| {
            if idx % 3 == 2 {
                failure(idx, "Error launch failed\n  at line 380")
            } else {
                answer(idx)
            }
        })
        .collect()
}

#[test]
fn what_was_appended_is_read_back_and_nothing_is_damaged() {
    let records = ten();
    let (directory, _, _) = written(&[records[..4].to_vec(), records[4..].to_vec()]);
    let found = read(directory.path()).unwrap();
    assert_eq!(found.best, by_idx(records));
    assert_eq!(found.records, 10);
    assert_eq!(found.segments, [1]);
    assert_eq!(found.damaged, []);
}

#[test]
fn every_prefix_of_the_bytes_opens_and_keeps_every_whole_line() {
    let records = ten();
    let (directory, path, _) = written(std::slice::from_ref(&records));
    let bytes = fs::read(&path).unwrap();
    for length in 0..=bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let found = read(directory.path()).unwrap();
        never_lies(&found, &records);
        let whole = bytes[..length].iter().filter(|b| **b == b'\n').count();
        // A line is whole as soon as only its line break is missing.
        let end_is_whole = length < bytes.len() && bytes[length] == b'\n';
        let expected = whole + usize::from(end_is_whole);
        assert_eq!(found.best.len(), expected, "at {length}");
        let rest_is_torn = !end_is_whole && length > 0 && bytes[length - 1] != b'\n';
        assert_eq!(
            found.damaged.len(),
            usize::from(rest_is_torn),
            "at {length}"
        );
    }
}

#[test]
fn a_torn_line_costs_only_its_own_question() {
    let records = ten();
    let (directory, path, _) = written(std::slice::from_ref(&records));
    let text = String::from_utf8(fs::read(&path).unwrap()).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let half = lines[3].len() / 2;
    while !lines[3].is_char_boundary(half) {
        lines[3].push(' ');
    }
    lines[3].truncate(half);
    fs::write(&path, lines.join("\n")).unwrap();
    let found = read(directory.path()).unwrap();
    let mut expected = by_idx(records);
    expected.remove(&3);
    assert_eq!(found.best, expected);
    assert_eq!(found.damaged.len(), 1);
    assert_eq!(found.damaged[0].line, 4);
    assert!(
        found.damaged[0]
            .to_string()
            .contains("000001.jsonl line 4: it is torn"),
        "{}",
        found.damaged[0]
    );
}

#[test]
fn zeros_at_the_end_after_a_power_cut_cost_nothing() {
    let records = ten();
    let (directory, path, _) = written(std::slice::from_ref(&records));
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([0; 4096]);
    fs::write(&path, &bytes).unwrap();
    let found = read(directory.path()).unwrap();
    assert_eq!(found.best, by_idx(records));
    assert_eq!(found.damaged.len(), 1);
    assert!(found.damaged[0].why.contains("4096 zero bytes"));
}

#[test]
fn invalid_utf8_and_foreign_lines_are_passed_over_and_said() {
    let records = ten();
    let (directory, path, _) = written(std::slice::from_ref(&records));
    let mut bytes = b"\xff\xfe\n{\"idx\":3,\"prediction\":\"forged\"}\n\n[]\n".to_vec();
    bytes.extend(fs::read(&path).unwrap());
    fs::write(&path, &bytes).unwrap();
    let found = read(directory.path()).unwrap();
    assert_eq!(found.best, by_idx(records));
    let lines: Vec<usize> = found.damaged.iter().map(|line| line.line).collect();
    assert_eq!(lines, [1, 2, 4]);
}

#[test]
fn a_line_of_the_size_of_a_disk_is_passed_over_without_being_held() {
    let records = ten();
    let (directory, path, _) = written(std::slice::from_ref(&records));
    let kept = fs::read(&path).unwrap();
    let mut bytes = vec![b'x'; (64 << 20) + 1];
    bytes.push(b'\n');
    bytes.extend(&kept);
    fs::write(&path, &bytes).unwrap();
    let found = read(directory.path()).unwrap();
    assert_eq!(found.best, by_idx(records));
    assert!(found.damaged[0].why.contains("67108865 bytes long"));
}

#[test]
fn an_answer_wins_over_a_failure_and_then_the_first_wins() {
    let directory = tempfile::tempdir().unwrap();
    let second = |mut record: Prediction| {
        record.attempt = 2;
        record
    };
    let mut first_owner = Journal::create(directory.path(), 3, &[]).unwrap();
    first_owner
        .append(&[failure(0, "first"), answer(1), failure(2, "first")])
        .unwrap();
    let mut second_owner = Journal::create(directory.path(), 11, &[]).unwrap();
    second_owner
        .append(&[
            second(answer(0)),
            second(answer(1)),
            second(failure(2, "second")),
            second(failure(1, "late")),
        ])
        .unwrap();
    let found = read(directory.path()).unwrap();
    assert_eq!(found.segments, [3, 11]);
    assert_eq!(found.records, 7);
    assert_eq!(found.best[&0], second(answer(0)));
    assert_eq!(found.best[&1], answer(1));
    assert_eq!(found.best[&2], failure(2, "first"));
}

#[test]
fn a_new_owner_never_touches_an_older_segment() {
    let records = ten();
    let (directory, path, _) = written(&[records[..5].to_vec()]);
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 7);
    fs::write(&path, &bytes).unwrap();
    let mut journal = Journal::create(directory.path(), 2, &[]).unwrap();
    journal.append(&records[4..]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(read(directory.path()).unwrap().best, by_idx(records));
}

#[test]
fn a_segment_can_not_be_started_twice() {
    let records = ten();
    let (directory, path, _) = written(&[records]);
    let before = fs::read(&path).unwrap();
    let error = Journal::create(directory.path(), 1, &[answer(77)]).unwrap_err();
    assert!(matches!(error, ArtifactError::LeaseLost { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn keys_of_other_versions_and_odd_scores_survive() {
    let directory = tempfile::tempdir().unwrap();
    let mut record = answer(4);
    record.extra.insert("sum".to_owned(), json!("of all parts"));
    record
        .extra
        .insert("query".to_owned(), json!("another name"));
    record
        .extra
        .insert("steps".to_owned(), json!([1, {"a": null}]));
    record.retrieved[0].score = f64::NAN;
    let mut journal = Journal::create(directory.path(), 1, &[]).unwrap();
    journal.append(&[record]).unwrap();
    let found = read(directory.path()).unwrap();
    assert_eq!(found.damaged, []);
    let found = &found.best[&4];
    assert_eq!(found.extra["sum"], "of all parts");
    assert_eq!(found.extra["steps"], json!([1, {"a": null}]));
    assert_eq!(found.question, answer(4).question);
    assert_eq!(found.retrieved[0].score, 0.0);
}

#[test]
fn one_oddity_is_enough_to_be_put_right() {
    let mut score = answer(1);
    score.retrieved[0].score = f64::INFINITY;
    let mut key = answer(2);
    key.extra.insert("query".to_owned(), json!("another name"));
    let (directory, _, _) = written(&[vec![score, key]]);
    let found = read(directory.path()).unwrap();
    assert_eq!(found.damaged, []);
    assert_eq!(found.best[&1].retrieved[0].score, 0.0);
    assert_eq!(found.best[&2], answer(2));
}

/// A reader that a signal interrupts before each of its pieces.
struct Interrupted<'a> {
    pieces: Vec<&'a [u8]>,
    calls: usize,
}

impl Read for Interrupted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls % 2 == 1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut piece = match self.pieces.is_empty() {
            true => &[][..],
            false => self.pieces.remove(0),
        };
        piece.read(buffer)
    }
}

#[test]
fn a_line_that_comes_in_pieces_between_signals_is_one_line() {
    let mut reader = io::BufReader::new(Interrupted {
        pieces: vec![b"fir", b"st\nsec", b"ond"],
        calls: 0,
    });
    let mut line = Vec::new();
    assert_eq!(next_line(&mut reader, &mut line).unwrap(), Some(5));
    assert_eq!(line, b"first");
    assert_eq!(next_line(&mut reader, &mut line).unwrap(), Some(6));
    assert_eq!(line, b"second");
    assert_eq!(next_line(&mut reader, &mut line).unwrap(), None);
}

#[test]
fn files_that_are_no_segments_are_left_alone() {
    let records = ten();
    let (directory, _, _) = written(std::slice::from_ref(&records));
    for name in [
        "1.jsonl",
        "000002.jsonl.bak",
        ".000003.jsonl.x.partial",
        "abc.jsonl",
    ] {
        fs::write(directory.path().join(name), "no journal").unwrap();
    }
    let found = read(directory.path()).unwrap();
    assert_eq!(found.segments, [1]);
    assert_eq!(found.damaged, []);
}

#[test]
fn an_empty_append_writes_nothing() {
    let (directory, path, _) = written(&[Vec::new()]);
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    assert_eq!(read(directory.path()).unwrap().records, 0);
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,40}",
        Just("\",\"sum\":\"0123456789abcdef\"}\n".to_owned()),
        Just("\u{0}\u{2028}\r\n\\u0000".to_owned()),
    ]
}

fn any_record() -> impl Strategy<Value = Prediction> {
    (0_usize..20, any_text(), any_text(), any::<bool>()).prop_map(
        |(idx, question, prediction, failed)| {
            let mut record = if failed {
                failure(idx, &prediction)
            } else {
                answer(idx)
            };
            record.question = question;
            if !failed {
                record.prediction = prediction;
            }
            record
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_comes_back_as_it_was(records in prop::collection::vec(any_record(), 0..12)) {
        let (directory, _, _) = written(std::slice::from_ref(&records));
        let found = read(directory.path()).unwrap();
        prop_assert_eq!(&found.damaged, &[]);
        prop_assert_eq!(found.records, records.len());
        never_lies(&found, &records);
        for record in &records {
            prop_assert!(found.best.contains_key(&record.idx));
        }
    }

    #[test]
    fn one_changed_byte_never_invents_and_costs_two_lines_at_most(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let records = ten();
        let (directory, path) = ten_on_disk();
        let mut bytes = fs::read(&path).unwrap();
        let place = place.index(bytes.len());
        let unchanged = bytes[place] == byte;
        let was_break = bytes[place] == b'\n';
        bytes[place] = byte;
        fs::write(&path, &bytes).unwrap();
        let found = read(directory.path()).unwrap();
        never_lies(&found, &records);
        let lost = records.len() - found.best.len();
        if unchanged {
            prop_assert_eq!(lost, 0);
        } else if was_break {
            prop_assert!(lost <= 2, "{} lost", lost);
        } else {
            prop_assert_eq!(lost, 1);
            prop_assert!(!found.damaged.is_empty());
        }
    }

    #[test]
    fn damage_of_any_kind_opens_and_never_invents(
        cuts in prop::collection::vec(
            (any::<prop::sample::Index>(), 0_usize..600, 0_u8..4), 1..6),
    ) {
        let records = ten();
        let (directory, path) = ten_on_disk();
        let mut bytes = fs::read(&path).unwrap();
        for (place, length, kind) in cuts {
            if bytes.is_empty() {
                break;
            }
            let start = place.index(bytes.len());
            let end = (start + length).min(bytes.len());
            match kind {
                0 => bytes[start..end].fill(0),
                1 => { bytes.drain(start..end); }
                2 => {
                    let part = bytes[start..end].to_vec();
                    bytes.extend(part);
                }
                _ => bytes[start..end].reverse(),
            }
        }
        fs::write(&path, &bytes).unwrap();
        never_lies(&read(directory.path()).unwrap(), &records);
    }

    /// Between two fsyncs a disk may keep any of the sectors of what was
    /// written, and the new length with or without them.
    #[test]
    fn a_power_cut_in_the_last_batch_costs_nothing_acknowledged(
        batch in 1_usize..4,
        kept in prop::collection::vec(any::<bool>(), 64),
        length in any::<prop::sample::Index>(),
    ) {
        const SECTOR: usize = 512;
        let records = ten();
        let batches: Vec<Vec<Prediction>> =
            records.chunks(10 / (batch + 1)).map(<[Prediction]>::to_vec).collect();
        let (directory, path, ends) = written(&batches);
        let bytes = fs::read(&path).unwrap();
        let synced = ends[ends.len() - 2];
        let end = synced + length.index(bytes.len() - synced + 1);
        let mut disk = bytes[..end].to_vec();
        for (sector, kept) in kept.iter().enumerate() {
            let start = (sector * SECTOR).max(synced).min(end);
            let stop = ((sector + 1) * SECTOR).min(end).max(start);
            if !kept {
                disk[start..stop].fill(0);
            }
        }
        fs::write(&path, &disk).unwrap();
        let found = read(directory.path()).unwrap();
        never_lies(&found, &records);
        for record in batches[..batches.len() - 1].iter().flatten() {
            prop_assert_eq!(found.best.get(&record.idx), Some(record));
        }
    }
}
