//! Large objects on Ceph's gateway, as far as it differs from Swift, in a server that does as the gateway does: it
//! refuses a manifest with an ETag (422), and shows no manifest (an empty body).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup_core::{ErrorKind, Repository};
use backup_swift::SwiftRepository;
use md5::{Digest, Md5};

use crate::fake::{Fake, Reply};
use crate::servers::{container, key, noise};

const MIB: usize = 1 << 20;

#[derive(Debug, Clone)]
struct Segment {
    name: String,
    etag: String,
}

/// What the gateway holds, and what it was sent.
#[derive(Debug, Default)]
struct Gateway {
    segments: Vec<Segment>,
    /// The ETag of the only object, where it is there.
    object: Option<String>,
    manifests_with_etag: usize,
    manifests_without: usize,
    /// Stores another manifest than was sent, and shows the one that was.
    lies: bool,
}

impl Gateway {
    /// The ETag of what the last upload's segments make.
    fn of_segments(&self) -> String {
        let upload = |segment: &Segment| segment.name.rsplit_once('/').unwrap().0.to_owned();
        let last = upload(self.segments.last().unwrap());
        let mut sum = Md5::new();
        for segment in self.segments.iter().filter(|s| upload(s) == last) {
            sum.update(&segment.etag);
        }
        hex::encode(sum.finalize())
    }

    fn answer(&mut self, head: &str) -> Reply {
        let (method, rest) = head.split_once(' ').unwrap();
        let (target, _) = rest.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.strip_prefix("/v1/auth_me/").unwrap();
        let sent = head.lines().find_map(|l| l.strip_prefix("etag: "));
        let etag_of = |etag: &str| format!("etag: \"{etag}\"\r\n");
        match (method, path.strip_prefix("c_segments/")) {
            ("put", Some(name)) => {
                let etag = sent.unwrap().to_owned();
                let reply = Reply::Headers(201, etag_of(&etag), String::new());
                self.segments.push(Segment {
                    name: name.into(),
                    etag,
                });
                return reply;
            }
            ("delete", Some(name)) => {
                self.segments.retain(|segment| segment.name != name);
                return Reply::Whole(204, "", String::new());
            }
            _ => {}
        }
        match (method, path) {
            ("put", "c/k") if query.contains("multipart-manifest=put") => {
                if sent.is_some() {
                    self.manifests_with_etag += 1;
                    return Reply::Whole(422, "", String::new());
                }
                self.manifests_without += 1;
                let etag = if self.lies {
                    "0".repeat(32)
                } else {
                    self.of_segments()
                };
                self.object = Some(etag.clone());
                Reply::Headers(201, etag_of(&etag), String::new())
            }
            ("head", "c/k") => match &self.object {
                Some(etag) => {
                    let large = format!("x-static-large-object: true\r\n{}", etag_of(etag));
                    Reply::Headers(200, large, "length".into())
                }
                None => Reply::Whole(404, "", String::new()),
            },
            ("get", "c/k") if self.lies => {
                let entry = |s: &Segment| format!("{{\"name\": \"/c_segments/{}\"}}", s.name);
                let entries: Vec<_> = self.segments.iter().map(entry).collect();
                Reply::Whole(200, "", format!("[{}]", entries.join(", ")))
            }
            ("get", "c/k") => Reply::Whole(200, "", String::new()),
            ("get", "c_segments") if !query.contains("marker=") => {
                let entry = |s: &Segment| {
                    let (name, etag) = (&s.name, &s.etag);
                    format!("{{\"name\": \"{name}\", \"bytes\": 1, \"hash\": \"{etag}\"}}")
                };
                let mut entries: Vec<_> = self.segments.iter().map(entry).collect();
                entries.sort();
                Reply::Whole(200, "", format!("[{}]", entries.join(", ")))
            }
            ("get", _) => Reply::Whole(200, "", "[]".into()),
            _ => Reply::Whole(204, "", String::new()),
        }
    }
}

async fn gateway() -> (Arc<Mutex<Gateway>>, Fake) {
    let state = Arc::new(Mutex::new(Gateway::default()));
    let answering = Arc::clone(&state);
    let fake = Fake::start(move |_, head| answering.lock().unwrap().answer(head)).await;
    (state, fake)
}

fn repository(fake: &Fake) -> SwiftRepository {
    let mut config = fake.config().with_container("c");
    (config.max_object_size, config.segment_size) = (Some(2 << 20), 1 << 20);
    SwiftRepository::open(&config).unwrap()
}

async fn upload(repository: &SwiftRepository) -> backup_core::Result<()> {
    let mut upload = repository
        .begin(&key(&container("c"), "k"), None)
        .await
        .unwrap();
    upload.part(noise(3 * MIB, 1)).await.unwrap();
    upload.complete().await
}

async fn lost(repository: &SwiftRepository) -> usize {
    let of = container("c");
    let found = repository.unfinished_uploads(&of, "", Duration::ZERO);
    found.await.unwrap().len()
}

#[tokio::test]
async fn a_manifest_that_is_refused_with_an_etag_is_put_without_and_the_next_one_at_once() {
    let (state, fake) = gateway().await;
    let repository = repository(&fake);
    upload(&repository).await.unwrap();
    {
        let state = state.lock().unwrap();
        assert_eq!(
            (state.manifests_with_etag, state.manifests_without),
            (1, 1),
            "{state:?}"
        );
        assert_eq!(state.segments.len(), 2);
    }
    // It replaces the first, whose segments go.
    upload(&repository).await.unwrap();
    let state = state.lock().unwrap();
    assert_eq!((state.manifests_with_etag, state.manifests_without), (1, 2));
    assert_eq!(state.segments.len(), 2, "{state:?}");
    assert_eq!(state.object, Some(state.of_segments()));
}

#[tokio::test]
async fn segments_are_never_called_lost_while_they_may_be_those_of_an_object_that_lives() {
    let (state, fake) = gateway().await;
    let repository = repository(&fake);
    upload(&repository).await.unwrap();
    assert_eq!(lost(&repository).await, 0);
    // An upload of other bytes that was killed is lost.
    let other = |n: usize| Segment {
        name: format!("c/k/0000000000000001-00000001/{n:08}"),
        etag: format!("{n:032}"),
    };
    state.lock().unwrap().segments.extend([other(1), other(2)]);
    assert_eq!(lost(&repository).await, 1);
    // One of the same bytes has the same ETag: which of the two is in use cannot be told.
    let copies: Vec<_> = {
        let state = state.lock().unwrap();
        let own = state.segments[..2].iter().enumerate();
        own.map(|(n, segment)| Segment {
            name: format!("c/k/0000000000000002-00000002/{:08}", n + 1),
            etag: segment.etag.clone(),
        })
        .collect()
    };
    state.lock().unwrap().segments.extend(copies);
    assert_eq!(lost(&repository).await, 0);
    // Without the object all are lost.
    state.lock().unwrap().object = None;
    assert_eq!(lost(&repository).await, 3);
}

#[tokio::test]
async fn a_manifest_known_to_be_wrong_is_a_failure_whatever_the_server_shows_then() {
    let (state, fake) = gateway().await;
    let repository = repository(&fake);
    state.lock().unwrap().lies = true;
    let error = upload(&repository).await.unwrap_err();
    assert!(error.to_string().contains("another manifest"), "{error}");
    assert_ne!(error.kind(), ErrorKind::NotFound);
    // Nor does such a server count as one that wants no ETag.
    let before = state.lock().unwrap().manifests_with_etag;
    state.lock().unwrap().lies = false;
    state.lock().unwrap().object = None;
    upload(&repository).await.unwrap();
    assert_eq!(state.lock().unwrap().manifests_with_etag, before + 1);
}
