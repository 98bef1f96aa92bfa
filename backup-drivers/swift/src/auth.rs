//! Tokens: who signs in, when a token is renewed, and that it is renewed once for all who wait for it.

mod catalogue;
mod keystone;
mod v1;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backup_core::{ErrorKind, Secret};
use http::HeaderValue;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::config::{Given, Interface, Login, SwiftConfig, Way};
use crate::error::{CERTIFICATE, Failure, shorten};
use crate::retry::Retry;
use crate::transport::Transport;

/// Longest answer of a server that signs us in: a catalogue of hundreds of services fits.
const LONGEST_ANSWER: usize = 4 << 20;
/// A token is renewed so long before its end, or a tenth of its life before it, where that is shorter.
const EARLY: Duration = Duration::from_mins(1);

/// An account's address and a token for it.
#[derive(Debug)]
pub(crate) struct Session {
    /// Without a slash at the end.
    pub(crate) storage: String,
    /// Marked as sensitive, so that no log shows it.
    pub(crate) token: HeaderValue,
    number: u64,
    renew: Option<Instant>,
    ends: Option<Instant>,
}

impl Session {
    /// Whether its token's time is over, as far as the server told.
    pub(crate) fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= Instant::now())
    }
}

/// What signing in gives.
struct Signed {
    storage: Url,
    token: HeaderValue,
    /// How long it lasts from when it was asked for, where the server tells.
    life: Option<Duration>,
    /// Whether asking again gives a token that lasts longer.
    fresh: bool,
}

/// Which service of the catalogue is ours.
#[derive(Debug, Clone)]
struct Wanted {
    service_type: String,
    service_name: Option<String>,
    region: Option<String>,
    interface: Interface,
}

/// Signs in.
#[derive(Debug)]
pub(crate) struct Account {
    transport: Transport,
    way: Way,
    wanted: Wanted,
    storage: Option<Url>,
    retry: Retry,
    /// Attempts to sign in that have ended.
    ended: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Arc<Session>>,
    /// The last attempt, if it failed, and its number.
    failed: Option<(u64, Failure)>,
}

impl Account {
    pub(crate) fn new(
        config: &SwiftConfig,
        transport: Transport,
        retry: Retry,
    ) -> backup_core::Result<Self> {
        Ok(Self {
            transport,
            way: config.way()?,
            wanted: Wanted {
                service_type: config.service_type.clone(),
                service_name: config.service_name.clone(),
                region: config.region_name.clone(),
                interface: config.interface,
            },
            storage: config.storage()?,
            retry,
            ended: AtomicU64::new(0),
            state: Mutex::default(),
        })
    }

    /// Where it is found, for messages.
    pub(crate) fn address(&self) -> &Url {
        match &self.way {
            Way::V1 { url, .. } => url,
            Way::V3(login) => &login.url,
            Way::Given(given) => &given.storage,
        }
    }

    /// A session whose token should last a while.
    pub(crate) async fn session(&self) -> Result<Arc<Session>, Failure> {
        self.not(|session| session.renew.is_some_and(|renew| renew <= Instant::now()))
            .await
    }

    /// Another session than `refused`, whose token the server did not accept.
    pub(crate) async fn renewed(&self, refused: &Session) -> Result<Arc<Session>, Failure> {
        self.not(|session| session.number == refused.number).await
    }

    /// The session, unless it is `unfit`. One signs in; all who came while it did share what came of it, also a
    /// failure: a server in trouble is not asked once for each of them.
    async fn not(&self, unfit: impl Fn(&Session) -> bool) -> Result<Arc<Session>, Failure> {
        let seen = self.ended.load(Ordering::SeqCst);
        let mut state = self.state.lock().await;
        if let Some(session) = state.session.as_ref().filter(|s| !unfit(s)) {
            return Ok(Arc::clone(session));
        }
        if let Some((number, failure)) = &state.failed
            && *number > seen
        {
            return Err(failure.clone());
        }
        if matches!(self.way, Way::Given(_)) && state.session.is_some() {
            return Err(refused_for_good());
        }
        // The very first word is kept short: its address may be mistyped.
        let retry = match state.session {
            None => self.retry.brief(),
            Some(_) => self.retry,
        };
        let begun = Instant::now();
        let signed = self.sign_in(retry).await;
        let number = self.ended.fetch_add(1, Ordering::SeqCst) + 1;
        match signed {
            Ok(signed) => {
                let session = Arc::new(session(signed, number, begun));
                *state = State {
                    session: Some(Arc::clone(&session)),
                    failed: None,
                };
                Ok(session)
            }
            Err(failure) => {
                state.failed = Some((number, failure.clone()));
                Err(failure)
            }
        }
    }

    async fn sign_in(&self, retry: Retry) -> Result<Signed, Failure> {
        let mut tries = retry.start();
        loop {
            let signed = match &self.way {
                Way::V1 { url, user, key } => self.v1(url, user, key).await,
                Way::V3(login) => self.keystone(login).await,
                Way::Given(account) => given(account),
            };
            match signed {
                Ok(signed) => return Ok(signed),
                Err(failure) => match tries.after(failure).await {
                    Ok(()) => {}
                    Err(failure) => return Err(self.failed(failure)),
                },
            }
        }
    }
}

impl Account {
    async fn keystone(&self, login: &Login) -> Result<Signed, Failure> {
        let token = keystone::sign_in(&self.transport, login).await?;
        let storage = match &self.storage {
            Some(storage) => storage.clone(),
            None => catalogue::find(&token.catalogue, &self.wanted)?,
        };
        Ok(Signed {
            storage,
            token: token.value,
            life: token.life,
            fresh: true,
        })
    }

    /// The account's address in the settings goes before what the server tells: behind a proxy that one may be wrong.
    async fn v1(&self, url: &Url, user: &str, key: &Secret) -> Result<Signed, Failure> {
        let mut signed = v1::sign_in(&self.transport, url, user, key).await?;
        if let Some(storage) = &self.storage {
            signed.storage = storage.clone();
        }
        Ok(signed)
    }

    /// The failure of signing in, told with its address.
    fn failed(&self, failure: Failure) -> Failure {
        if matches!(failure, Failure::SignIn { .. }) {
            return failure;
        }
        let hint = match &failure {
            Failure::Broken { .. } if failure.is(ErrorKind::PermissionDenied) => CERTIFICATE,
            Failure::Broken { .. } => "check auth_url, and that the server runs and can be reached",
            Failure::Answer { .. } if failure.is_passing() => {
                "the server that signs in is in trouble; try again later"
            }
            _ => "check auth_url",
        };
        Failure::SignIn {
            kind: failure.kind(),
            reason: format!("signing in at {} failed: {failure}", self.address()),
            hint: hint.into(),
        }
    }
}

fn given(given: &Given) -> Result<Signed, Failure> {
    Ok(Signed {
        storage: given.storage.clone(),
        token: header(given.token.expose(), "token")?,
        life: None,
        fresh: false,
    })
}

fn refused_for_good() -> Failure {
    Failure::SignIn {
        kind: ErrorKind::Unauthenticated,
        reason:
            "the given token is not accepted: it has expired, was revoked, or is another account's"
                .into(),
        hint: "give a new token of a user of that account".into(),
    }
}

fn session(signed: Signed, number: u64, begun: Instant) -> Session {
    let ends = signed.life.and_then(|life| begun.checked_add(life));
    let early = signed
        .life
        .map_or(Duration::ZERO, |life| EARLY.min(life / 10));
    let renew = if signed.fresh {
        ends.and_then(|ends| ends.checked_sub(early))
    } else {
        ends
    };
    Session {
        storage: signed.storage.as_str().trim_end_matches('/').to_owned(),
        token: signed.token,
        number,
        renew,
        ends,
    }
}

/// A secret as a header's value, which no log shows.
fn header(text: &str, setting: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Failure::SignIn {
        kind: ErrorKind::InvalidInput,
        reason: format!("{setting} holds a character that cannot be sent"),
        hint: format!("check {setting}").into(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// An account's address as a server tells it.
fn storage_url(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text.trim()).ok();
    let fits = url.filter(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none()
    });
    fits.ok_or_else(|| Failure::malformed(format!("{:?} is no account's address", shorten(text))))
}
