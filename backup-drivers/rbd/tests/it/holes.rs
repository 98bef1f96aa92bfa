//! Answers of objects about their holes, put together. Needs no cluster.

use backup_core::ByteRange;
use backup_rbd::{Diff, DiffExtent};

/// Ranges of an answer; the layer itself takes more.
const LIMIT: usize = 10;

mod errno {
    pub(super) const ENOENT: i32 = 2;
    pub(super) const EIO: i32 = 5;
}

#[path = "../../src/image/holes/told.rs"]
mod told;

use told::{Told, candidates, cut_off, narrowed};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).unwrap()
}

fn data(start: u64, end: u64) -> DiffExtent {
    DiffExtent {
        range: range(start, end),
        data: true,
    }
}

fn hole(start: u64, end: u64) -> DiffExtent {
    DiffExtent {
        data: false,
        ..data(start, end)
    }
}

fn diff(extents: Vec<DiffExtent>, end: u64) -> Diff {
    Diff { extents, end }
}

#[test]
fn only_objects_that_are_worth_it_are_asked_however_long_the_extent_is() {
    let told = vec![
        data(MIB, 9 * MIB),
        hole(9 * MIB, 10 * MIB),
        data(10 * MIB, 11 * MIB),
        data(12 * MIB, 12 * MIB + 64 * KIB),
    ];
    assert_eq!(candidates(&diff(told, 16 * MIB), 4 * MIB), [0, 1, 2]);
    // Objects of 64 KiB: reading one costs as much as asking it.
    let small = diff(vec![data(0, 64 << 30)], 64 << 30);
    assert_eq!(candidates(&small, 64 * KIB), [0; 0]);
    assert_eq!(
        candidates(&diff(vec![data(0, MIB)], MIB), 128 * KIB).len(),
        8
    );
    assert_eq!(
        candidates(&diff(vec![hole(0, MIB)], MIB), 128 * KIB).len(),
        0
    );
}

/// Asks one object after the other, as the threads do.
fn ask(told: &mut Told, objects: &[u64], answer: impl Fn(u64) -> Result<Vec<ByteRange>, i32>) {
    let mut next = 0;
    while let Some(number) = told.next(objects, &mut next) {
        if !told.take(number, answer(number)) {
            break;
        }
    }
}

#[test]
fn an_answer_ends_at_the_first_object_that_was_not_asked_once_there_are_enough_ranges() {
    let objects: Vec<u64> = (0..100).collect();
    let scattered = |_| {
        Ok((0..4)
            .map(|n| range(n * 16 * KIB, n * 16 * KIB + KIB))
            .collect())
    };
    let mut told = Told::default();
    ask(&mut told, &objects, scattered);
    assert_eq!(told.enough, Some(3), "12 ranges are more than {LIMIT}");
    let whole = diff(vec![data(0, 100 * MIB)], 100 * MIB);
    let cut = cut_off(whole, 3 * MIB);
    assert_eq!(cut, diff(vec![data(0, 3 * MIB)], 3 * MIB));
    let narrow = narrowed(cut.extents, MIB, &told.known);
    assert_eq!(narrow.iter().filter(|e| e.data).count(), 12);
    assert_eq!(narrow.last(), Some(&hole(2 * MIB + 49 * KIB, 3 * MIB)));
    let covered: u64 = narrow.iter().map(|e| e.range.len()).sum();
    assert_eq!(covered, 3 * MIB);

    // One object alone has more than an answer's room: the answer is that object, and the next one goes on.
    let mut told = Told::default();
    ask(&mut told, &objects, |_| {
        Ok((0..50)
            .map(|n| range(n * 2 * KIB, n * 2 * KIB + KIB))
            .collect())
    });
    assert_eq!(told.enough, Some(1));
}

#[test]
fn an_answer_that_is_cut_keeps_what_lies_before_and_nothing_behind() {
    let all = || diff(vec![data(0, 10), hole(20, 30), data(40, 50)], 60);
    assert_eq!(cut_off(all(), 60), all());
    assert_eq!(
        cut_off(all(), 25),
        diff(vec![data(0, 10), hole(20, 25)], 25)
    );
    assert_eq!(cut_off(all(), 20), diff(vec![data(0, 10)], 20));
}

#[test]
fn an_object_that_cannot_be_read_ends_the_asking_and_one_that_is_missing_does_not() {
    let objects = [4, 5, 6, 7];
    let mut told = Told::default();
    ask(&mut told, &objects, |number| match number {
        4 => Err(-errno::ENOENT),
        6 => Err(-errno::EIO),
        _ => Ok(vec![range(0, KIB)]),
    });
    assert_eq!(told.known.keys().copied().collect::<Vec<_>>(), [5]);
    assert_eq!((told.failed, told.enough), (Some(-errno::EIO), None));
    // What is not known is taken as data.
    let all = narrowed(vec![data(4 * MIB, 8 * MIB)], MIB, &told.known);
    assert_eq!(
        all,
        [
            data(4 * MIB, 5 * MIB + KIB),
            hole(5 * MIB + KIB, 6 * MIB),
            data(6 * MIB, 8 * MIB)
        ]
    );
}
