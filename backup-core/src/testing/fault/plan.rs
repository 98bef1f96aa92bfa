//! What is to go wrong, and when.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::error::{Error, ErrorKind};

/// Kinds of calls to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// [`Repository::containers`](crate::Repository::containers).
    Containers,
    /// [`Repository::ensure_container`](crate::Repository::ensure_container).
    EnsureContainer,
    /// [`Repository::put`](crate::Repository::put).
    Put,
    /// [`Repository::begin`](crate::Repository::begin).
    Begin,
    /// [`Upload::part`](crate::Upload::part).
    Part,
    /// [`Upload::complete`](crate::Upload::complete).
    Complete,
    /// [`Upload::abort`](crate::Upload::abort).
    Abort,
    /// [`Repository::get`](crate::Repository::get), its body included.
    Get,
    /// [`Repository::list`](crate::Repository::list), its entries included.
    List,
    /// [`Repository::copy`](crate::Repository::copy).
    Copy,
    /// [`Repository::delete`](crate::Repository::delete), whatever the number of keys.
    Delete,
    /// [`Repository::barrier`](crate::Repository::barrier).
    Barrier,
    /// [`Repository::clear_leftovers`](crate::Repository::clear_leftovers).
    ClearLeftovers,
}

impl Call {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::Containers,
        Self::EnsureContainer,
        Self::Put,
        Self::Begin,
        Self::Part,
        Self::Complete,
        Self::Abort,
        Self::Get,
        Self::List,
        Self::Copy,
        Self::Delete,
        Self::Barrier,
        Self::ClearLeftovers,
    ];

    fn has_content(self) -> bool {
        matches!(
            self,
            Self::Put | Self::Part | Self::Get | Self::List | Self::Delete
        )
    }

    fn has_bytes(self) -> bool {
        matches!(self, Self::Put | Self::Part | Self::Get)
    }
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and an error of this kind comes back.
    Fail(ErrorKind),
    /// It is done, but an error of this kind comes back. For get and list the same as `Fail`.
    LoseAnswer(ErrorKind),
    /// It is done this much later.
    Delay(Duration),
    /// It is done at once, but its answer comes this much later: for who gives up meanwhile, it has happened.
    DelayAnswer(Duration),
    /// It stops early and says nothing of it: a body or the stored object is cut behind this many bytes, a listing
    /// behind this many entries. A delete reaches only this many keys and fails for the others.
    Truncate {
        /// Bytes, entries or keys.
        after: u64,
    },
    /// It stops early with [`Unavailable`](ErrorKind::Unavailable): a body or listing ends so, a put or part stored
    /// this many bytes, a delete reached this many keys.
    Break {
        /// Bytes, entries or keys.
        after: u64,
    },
    /// The bytes that are read or stored differ by this mask at this offset, counted from the first byte that the
    /// call asks for; where they are fewer, the last one differs.
    Corrupt {
        /// Offset of the damaged byte.
        at: u64,
        /// The bits that flip. 0 damages nothing.
        mask: u8,
    },
    /// This many bytes too many are read or stored at the end. Of a body that is read, the announced length stays.
    Extend {
        /// Bytes.
        by: u64,
    },
}

impl Fault {
    /// Whether it can happen to such a call: only what has bytes or entries can be cut, only what has bytes damaged.
    /// A rule whose fault cannot is passed over.
    pub fn fits(self, call: Call) -> bool {
        match self {
            Self::Fail(_) | Self::LoseAnswer(_) | Self::Delay(_) | Self::DelayAnswer(_) => true,
            Self::Truncate { .. } | Self::Break { .. } => call.has_content(),
            Self::Corrupt { .. } | Self::Extend { .. } => call.has_bytes(),
        }
    }

    pub(in crate::testing) fn kind(self) -> ErrorKind {
        match self {
            Self::Fail(kind) | Self::LoseAnswer(kind) => kind,
            _ => ErrorKind::Unavailable,
        }
    }

    /// What becomes of `data`, whose first byte is at offset `at` of the whole.
    pub(super) fn change(self, data: Bytes, at: u64) -> Bytes {
        match self {
            Self::Truncate { after } | Self::Break { after } => {
                let left = usize::try_from(after.saturating_sub(at)).unwrap_or(usize::MAX);
                data.slice(..left.min(data.len()))
            }
            Self::Corrupt { at: damaged, mask } if !data.is_empty() => {
                let index = damaged.saturating_sub(at);
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                let index = index.min(data.len() - 1);
                let mut changed = BytesMut::from(&data[..]);
                changed[index] ^= mask;
                changed.freeze()
            }
            Self::Extend { by } => {
                let mut longer = BytesMut::from(&data[..]);
                longer.resize(
                    data.len()
                        .saturating_add(usize::try_from(by).unwrap_or(usize::MAX)),
                    0xEE,
                );
                longer.freeze()
            }
            _ => data,
        }
    }
}

/// The error of a planned fault, which says so.
pub(super) fn injected(kind: ErrorKind, call: Call, name: &str) -> Error {
    Error::new(kind, format!("call {call:?} of"))
        .on(name)
        .because("failed as the test asked")
}

/// Which calls a rule is for.
#[derive(Debug, Clone)]
pub struct When {
    call: Option<Call>,
    name: Option<String>,
    first: u64,
    times: u64,
}

impl When {
    /// Every call of any kind.
    pub fn any() -> Self {
        Self {
            call: None,
            name: None,
            first: 0,
            times: u64::MAX,
        }
    }

    /// Every call of this kind.
    pub fn call(call: Call) -> Self {
        Self {
            call: Some(call),
            ..Self::any()
        }
    }

    /// Only where `container/object` (of a listing: `container/prefix`; of a delete: its first key) holds `part`.
    pub fn named(mut self, part: impl Into<String>) -> Self {
        self.name = Some(part.into());
        self
    }

    /// Only the `n`-th such call, from 0; see [`times`](Self::times) for more.
    pub fn nth(self, n: u64) -> Self {
        Self {
            first: n,
            times: 1,
            ..self
        }
    }

    /// This many of them in a row, from the `n`-th on.
    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }

    fn fits(&self, call: Call, name: &str) -> bool {
        self.call.is_none_or(|c| c == call)
            && self.name.as_deref().is_none_or(|part| name.contains(part))
    }
}

/// What goes wrong: rules, of which the first that fits a call counts.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    rules: Vec<(When, Fault)>,
}

impl FaultPlan {
    /// Nothing goes wrong; calls are counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// The `n`-th call of any kind goes wrong, from 0.
    pub fn nth(n: u64, fault: Fault) -> Self {
        Self::new().rule(When::any().nth(n), fault)
    }

    /// Adds a rule.
    pub fn rule(mut self, when: When, fault: Fault) -> Self {
        self.rules.push((when, fault));
        self
    }
}

/// How far a plan has come.
#[derive(Default)]
pub(super) struct Progress {
    rules: Vec<(When, Fault, u64)>, // the last: calls that fitted so far
    counts: [u64; Call::ALL.len()],
    hits: Vec<(Call, String)>,
    in_flight: usize,
    most_in_flight: usize,
}

impl Progress {
    pub(super) fn new(plan: FaultPlan) -> Self {
        Self {
            rules: plan.rules.into_iter().map(|(w, f)| (w, f, 0)).collect(),
            ..Self::default()
        }
    }

    pub(super) fn enter(&mut self, call: Call, name: &str) -> Option<Fault> {
        self.counts[call as usize] += 1;
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        let mut due = None;
        for (when, fault, seen) in &mut self.rules {
            if !when.fits(call, name) {
                continue;
            }
            let index = *seen;
            *seen += 1;
            let hit = index >= when.first && index - when.first < when.times;
            if hit && due.is_none() && fault.fits(call) {
                due = Some(*fault);
            }
        }
        if due.is_some() {
            self.hits.push((call, name.to_owned()));
        }
        due
    }

    pub(super) fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn count(&self, call: Call) -> u64 {
        self.counts[call as usize]
    }

    pub(super) fn hits(&self) -> &[(Call, String)] {
        &self.hits
    }

    pub(super) fn most_in_flight(&self) -> usize {
        self.most_in_flight
    }
}
