//! Why a server gave no connection, told for whoever has to set it right.

use backup_core::{Error, ErrorKind};
use nfs_rs::NfsError;

use super::failure::{Failure, Verdict, into_root, judge, kind, may_not_bind, root, told};
use super::options::Version;

const CONNECT: &str = "connect to the NFS server";

const UNPRIVILEGED: &str = "see whether it is exported for this host. The request came from a port above 1023, as those of a \
                            process without privileges must: where servers refuse such, or hide the export from them, it \
                            needs the option `insecure` (ganesha: PrivilegedPort = false), or this process root";
const REFUSED: &str =
    "see whether the export is for this host, and the owner and the mode of its folders";
const NO_PORT: &str = "leave resvport out of mount_options, or run this as root";
const NOT_EXPORTED: &str = "see what the server exports, and make the folder that `folder` names";
pub(super) const UNREACHABLE: &str = "see whether the NFS server runs and can be reached from here (version 3 also needs \
                                      its rpcbind, or port= and mountport= in mount_options); then run it again";

/// Why there is no connection, and whether waiting does not help.
pub(super) struct Unreached {
    pub(super) error: Error,
    pub(super) lasting: bool,
}

/// How the server refused one version.
pub(super) struct Refusal {
    pub(super) version: Version,
    /// Whether we came from a port below 1024.
    pub(super) reserved: bool,
    pub(super) failure: Failure,
}

impl Refusal {
    /// What a server that comes up again may say for a while: it is not there, has no such export yet, or is busy.
    /// `known`: it has served us before.
    fn may_pass(&self, known: bool) -> bool {
        match &self.failure {
            Failure::Told(_) => false,
            Failure::Nfs(_) if known => true,
            Failure::Nfs(error) => !denies_sign_in(error) && judge(error) != Verdict::Final,
        }
    }

    fn kind(&self) -> ErrorKind {
        match &self.failure {
            Failure::Told(error) => error.kind(),
            Failure::Nfs(error) if denies_sign_in(error) => ErrorKind::PermissionDenied,
            Failure::Nfs(error) => kind(error),
        }
    }

    /// The smaller, the more it tells.
    fn rank(&self) -> u8 {
        match self.kind() {
            ErrorKind::Unsupported => 3,
            ErrorKind::Unavailable | ErrorKind::Timeout => 2,
            ErrorKind::NotFound => 1,
            _ => 0,
        }
    }

    fn text(&self) -> String {
        let text = match &self.failure {
            Failure::Told(error) => error.to_string(),
            Failure::Nfs(error) => root(error).to_string(),
        };
        format!("by version {}: {text}", self.version.name())
    }
}

/// Whether the server denied the RPC itself. The library has no better word for it.
fn denies_sign_in(error: &NfsError) -> bool {
    matches!(root(error), NfsError::Rpc(text) if text.contains("bad status"))
}

/// What to say where no version gave a connection to `place`. `waited`: a server that never answered has had its time.
pub(super) fn unreached(
    refusals: Vec<Refusal>,
    place: &str,
    known: bool,
    waited: bool,
) -> Unreached {
    let passing = refusals.iter().any(|refusal| refusal.may_pass(known));
    let texts: Vec<String> = refusals.iter().map(Refusal::text).collect();
    let Some(telling) = refusals.into_iter().min_by_key(Refusal::rank) else {
        return Unreached {
            error: Error::internal(CONNECT, "there was no version to try"),
            lasting: true,
        };
    };
    let (kind, reserved) = (telling.kind(), telling.reserved);
    let no_port = matches!(&telling.failure, Failure::Nfs(error) if may_not_bind(error));
    let error = match telling.failure {
        Failure::Told(error) if texts.len() == 1 => error,
        Failure::Nfs(error) if texts.len() == 1 && denies_sign_in(&error) => {
            Error::new(kind, CONNECT)
                .on(place)
                .because("the server does not take requests of this sender")
                .caused_by(into_root(error))
        }
        Failure::Nfs(error) if texts.len() == 1 => told(CONNECT, place, error),
        _ => Error::new(kind, CONNECT)
            .on(place)
            .because(texts.join("; ")),
    };
    let error = match kind {
        ErrorKind::PermissionDenied if no_port => error.hint(NO_PORT),
        ErrorKind::PermissionDenied | ErrorKind::NotFound if !reserved => error.hint(UNPRIVILEGED),
        ErrorKind::PermissionDenied => error.hint(REFUSED),
        ErrorKind::NotFound => error.hint(NOT_EXPORTED),
        ErrorKind::Unavailable | ErrorKind::Timeout => error.hint(UNREACHABLE),
        _ => error,
    };
    Unreached {
        error,
        lasting: !passing || (!known && waited),
    }
}

#[cfg(test)]
mod tests {
    use nfs_rs::{Nfs3MountErrorCode, Nfs4ErrorCode};

    use super::*;

    fn refusal(version: Version, reserved: bool, error: NfsError) -> Refusal {
        Refusal {
            version,
            reserved,
            failure: Failure::Nfs(error),
        }
    }

    fn away() -> NfsError {
        std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into()
    }

    #[test]
    fn a_refused_port_is_explained_with_the_option_that_helps() {
        for error in [
            NfsError::Nfs4(Nfs4ErrorCode::NFS4ERR_PERM),
            NfsError::Mount(Nfs3MountErrorCode::MNT3ERR_ACCES),
            NfsError::Rpc("could not parse response due to bad status".into()),
        ] {
            let refusals = vec![refusal(Version::V4p1, false, error)];
            let Unreached { error, lasting } = unreached(refusals, "nas:/x", false, false);
            assert!(lasting, "{error}");
            assert!(error.is(ErrorKind::PermissionDenied), "{error}");
            assert!(error.hint_text().unwrap().contains("`insecure`"), "{error}");
        }
    }

    #[test]
    fn the_most_telling_refusal_names_the_kind_and_all_are_told() {
        let refusals = vec![
            refusal(
                Version::V4p1,
                true,
                NfsError::Nfs4(Nfs4ErrorCode::NFS4ERR_NOENT),
            ),
            refusal(Version::V3, true, away()),
        ];
        let Unreached { error, lasting } = unreached(refusals, "nas:/x", false, false);
        assert!(!lasting, "version 3 may answer later");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let text = error.to_string();
        assert!(
            text.contains("version 4.1") && text.contains("version 3"),
            "{text}"
        );
    }

    #[test]
    fn a_server_that_never_answered_is_given_up_sooner_than_one_that_did() {
        let gone = || vec![refusal(Version::V3, true, away())];
        assert!(!unreached(gone(), "nas:/x", false, false).lasting);
        assert!(unreached(gone(), "nas:/x", false, true).lasting);
        assert!(!unreached(gone(), "nas:/x", true, true).lasting);
        // While a known server comes up, its export may not be there yet.
        let not_yet = NfsError::Mount(Nfs3MountErrorCode::MNT3ERR_NOENT);
        assert!(
            !unreached(
                vec![refusal(Version::V3, true, not_yet)],
                "nas:/x",
                true,
                true
            )
            .lasting
        );
    }
}
